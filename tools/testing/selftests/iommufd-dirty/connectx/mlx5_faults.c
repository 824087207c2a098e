// SPDX-License-Identifier: GPL-2.0
/*
 * Each fault of mlx5-model at each step of START, READ and STOP: an error that is
 * clear, no page lost, no wait without a bound, and then it works again.
 */
#include "mlx5_faults.h"

FIXTURE(faults)
{
	struct faulty faulty;
};

FIXTURE_VARIANT(faults)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(faults, log)
{
	.way = WAY_LOG,
};

FIXTURE_VARIANT_ADD(faults, context)
{
	.way = WAY_CONTEXT,
};

FIXTURE_SETUP(faults)
{
	test_faulty_open(&self->faulty, variant->way);
}

FIXTURE_TEARDOWN(faults)
{
	faulty_close(&self->faulty);
}

/* What the C driver does wrong is told; ours fails the test. */
#define EXPECT_OF_OURS(good, name)                              \
	({                                                      \
		if (is_our_driver())                            \
			EXPECT_TRUE(good)                       \
			{                                       \
				TH_LOG("after %s", name);       \
			}                                       \
	})

static const struct command {
	const char *name;
	unsigned int opcode;
	/* It may be done already: another start has left what it makes. */
	bool may_be_left_out;
} start_commands[] = {
	{ .name = "ALLOC_UAR", .opcode = ALLOC_UAR, .may_be_left_out = true },
	{ .name = "ALLOC_PD", .opcode = ALLOC_PD },
	{ .name = "CREATE_CQ", .opcode = CREATE_CQ },
	{ .name = "CREATE_QP", .opcode = CREATE_QP },
	{ .name = "CREATE_MKEY", .opcode = CREATE_MKEY },
	{ .name = "RST2INIT_QP", .opcode = RST2INIT_QP },
	{ .name = "INIT2RTR_QP", .opcode = INIT2RTR_QP },
	{ .name = "RTR2RTS_QP", .opcode = RTR2RTS_QP },
	{ .name = "CREATE_GENERAL_OBJECT", .opcode = CREATE_GENERAL_OBJECT },
}, stop_commands[] = {
	{ .name = "DESTROY_GENERAL_OBJECT", .opcode = DESTROY_GENERAL_OBJECT },
	{ .name = "DESTROY_QP", .opcode = DESTROY_QP },
	{ .name = "DESTROY_CQ", .opcode = DESTROY_CQ },
	{ .name = "DESTROY_MKEY", .opcode = DESTROY_MKEY },
	{ .name = "DEALLOC_PD", .opcode = DEALLOC_PD },
	{ .name = "DEALLOC_UAR", .opcode = DEALLOC_UAR },
};

static bool is_clear(int err)
{
	switch (-err) {
	case EIO:
	case EREMOTEIO:
	case ETIMEDOUT:
	case ENOMEM:
	case ENOSPC:
	case EAGAIN:
	case EBUSY:
	case EINVAL:
		return true;
	default:
		return false;
	}
}

/* The planned fault is met by one command of a START, and the START fails. */
static void start_fails(struct __test_metadata *_metadata, struct faulty *faulty,
			const struct command *command, const char *fault)
{
	const char *wrong;
	char name[64];
	int err;

	snprintf(name, sizeof(name), "%s-%s", fault, command->name);
	err = run_bounded(_metadata, faulty, op_start);
	tell(faulty, "START", name, err, 0, faulty->hung, faulty->ms);
	if (!err) {
		EXPECT_TRUE(command->may_be_left_out)
		{
			TH_LOG("START worked with %s", name);
		}
		ASSERT_EQ(0, op_stop(faulty));
	}
	ASSERT_TRUE(control_do(faulty->control, "forget"));
	EXPECT_TRUE(!err || is_clear(err))
	{
		TH_LOG("%s: %s", name, strerror(-err));
	}
	EXPECT_EQ(0, new_trackers(faulty))
	{
		TH_LOG("after %s", name);
	}
	wrong = is_well(_metadata, faulty);
	ASSERT_EQ(NULL, wrong)
	{
		TH_LOG("after %s: %s", name, wrong);
	}
}

TEST_F_TIMEOUT(faults, start_refused, 600)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(start_commands); i++) {
		ASSERT_TRUE(control_do(self->faulty.control, "refuse %x %x 1",
				       start_commands[i].opcode, STATUS_INT_ERR));
		start_fails(_metadata, &self->faulty, &start_commands[i], "refused");
	}
	EXPECT_EQ(0, self->faulty.hung);
}

/* mlx5_core has no use any more for the entry of such a command: only a few of them. */
TEST_F_TIMEOUT(faults, start_not_answered, 600)
{
	static const unsigned int which[] = { 2, 8 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(which); i++) {
		ASSERT_TRUE(control_do(self->faulty.control, "swallow %x 1",
				       start_commands[which[i]].opcode));
		start_fails(_metadata, &self->faulty, &start_commands[which[i]], "swallowed");
	}
	EXPECT_EQ(0, self->faulty.hung);
}

/* The last tracker of the firmware is another's: that is no failure of the device. */
TEST_F(faults, start_without_a_slot)
{
	ASSERT_TRUE(control_do(self->faulty.control, "refuse %x %x 1", CREATE_GENERAL_OBJECT,
			       STATUS_LIM_ERR));
	EXPECT_OF_OURS(run_bounded(_metadata, &self->faulty, op_start) == -ENOSPC, "a limit");
	ASSERT_TRUE(control_do(self->faulty.control, "forget"));
	op_stop(&self->faulty);
	EXPECT_EQ(0, new_trackers(&self->faulty));
}

/**
 * struct read_fault - What goes wrong with a READ
 * @before: Command to the model before the READ; %x is the function
 * @during: One while it waits, or NULL
 * @works: The READ succeeds nevertheless
 * @goes_on: The READ fails, and the next one succeeds
 */
static const struct read_fault {
	const char *name;
	const char *before;
	const char *during;
	bool works;
	bool goes_on;
} read_faults[] = {
	{ .name = "refused-1", .before = "refuse a01 1 1" },
	{ .name = "refused-9", .before = "refuse a01 9 1", .goes_on = true },
	{ .name = "swallowed", .before = "swallow a01 1" },
	{ .name = "slow", .before = "slow a01 c8 1", .works = true },
	{ .name = "delayed", .before = "report-delay c8", .works = true },
	{ .name = "mute", .before = "mute 1" },
	{ .name = "cut-0", .before = "cut 1 0" },
	{ .name = "cut-1", .before = "cut 1 1" },
	{ .name = "tracker-error-before", .before = "fail-tracker %x" },
	{ .name = "overrun-before", .before = "overrun %x" },
	{ .name = "qp-error-before", .before = "qp-error %x" },
	{ .name = "tracker-error-during", .before = "report-delay 1388",
	  .during = "fail-tracker %x" },
	{ .name = "overrun-during", .before = "report-delay 1388", .during = "overrun %x" },
	{ .name = "qp-error-during", .before = "report-delay 1388", .during = "qp-error %x" },
	{ .name = "tracker-error-mute", .before = "mute 1", .during = "fail-tracker %x" },
};

static int read_with(struct __test_metadata *_metadata, struct faulty *faulty,
		     const struct read_fault *fault)
{
	struct operation operation;

	begin(_metadata, &operation, faulty, op_read);
	if (fault->during) {
		ends_within(&operation, 500);
		control_do(faulty->control, fault->during, faulty->vf.number + 1);
	}
	return end(_metadata, &operation);
}

TEST_F_TIMEOUT(faults, read, 900)
{
	struct faulty *faulty = &self->faulty;
	unsigned int i, lost, hung, ms;
	int err, again;

	for (i = 0; i < ARRAY_SIZE(read_faults); i++) {
		const struct read_fault *fault = &read_faults[i];

		ASSERT_EQ(0, run_bounded(_metadata, faulty, op_start));
		ASSERT_EQ(0, write_mark(faulty));
		memset(faulty->bitmap, 0, BYTES);
		hung = faulty->hung;
		ASSERT_TRUE(control_do(faulty->control, fault->before, faulty->vf.number + 1));
		err = read_with(_metadata, faulty, fault);
		hung = faulty->hung - hung;
		ms = faulty->ms;
		control_do(faulty->control, "forget");
		/* The pages are told by a later READ, or none of this session can succeed. */
		again = err ? run_bounded(_metadata, faulty, op_read) : 0;
		lost = again ? 0 : 3 - marks_in(faulty->bitmap);
		tell(faulty, "READ", fault->name, err, lost, hung, ms);

		EXPECT_OF_OURS(!hung, fault->name);
		EXPECT_OF_OURS(!lost, fault->name);
		EXPECT_OF_OURS(!fault->goes_on || (err && !again), fault->name);
		if (fault->works) {
			EXPECT_EQ(0, err)
			{
				TH_LOG("%s", fault->name);
			}
			EXPECT_EQ(3, dirty_in(faulty->bitmap));
		} else if (variant->way == WAY_CONTEXT) {
			EXPECT_EQ(-EIO, err)
			{
				TH_LOG("%s: %s", fault->name, strerror(-err));
			}
		} else {
			EXPECT_OF_OURS(is_clear(err), fault->name);
		}
		if (err && variant->way == WAY_CONTEXT) {
			/* Whoever wants to go on takes all for dirty. */
			EXPECT_EQ(0, _test_cmd_set_policy(faulty->tracking.fd,
							  faulty->tracking.id,
							  POLICY_ALL_DIRTY));
			EXPECT_EQ(0, run_bounded(_metadata, faulty, op_read));
			EXPECT_EQ(3, marks_in(faulty->bitmap));
			EXPECT_TRUE(!is_lost(faulty) || dirty_in(faulty->bitmap) == PAGES)
			{
				TH_LOG("%s", fault->name);
			}
			EXPECT_EQ(0, _test_cmd_set_policy(faulty->tracking.fd,
							  faulty->tracking.id, POLICY_FAIL));
		}
		run_bounded(_metadata, faulty, op_stop);
		EXPECT_EQ(0, new_trackers(faulty))
		{
			TH_LOG("after %s", fault->name);
		}
	}
	EXPECT_OF_OURS(!faulty->hung, "all of them");
	ASSERT_EQ(NULL, is_well(_metadata, faulty));
}

/* The policy is known before the fault: the READ itself tells all. */
TEST_F_TIMEOUT(faults, read_all_dirty, 600)
{
	struct faulty *faulty = &self->faulty;
	unsigned int i, hung;

	if (variant->way == WAY_LOG)
		SKIP(return, "VFIO has no policies");
	test_cmd_set_policy(faulty->tracking.fd, faulty->tracking.id, POLICY_ALL_DIRTY);
	for (i = 0; i < ARRAY_SIZE(read_faults); i++) {
		const struct read_fault *fault = &read_faults[i];

		hung = faulty->hung;
		ASSERT_EQ(0, run_bounded(_metadata, faulty, op_start));
		ASSERT_EQ(0, write_mark(faulty));
		memset(faulty->bitmap, 0, BYTES);
		ASSERT_TRUE(control_do(faulty->control, fault->before, faulty->vf.number + 1));
		EXPECT_EQ(0, read_with(_metadata, faulty, fault));
		EXPECT_EQ(fault->works ? 3 : PAGES, dirty_in(faulty->bitmap))
		{
			TH_LOG("%s", fault->name);
		}
		EXPECT_OF_OURS(faulty->hung == hung, fault->name);
		control_do(faulty->control, "forget");
		/* What is reported dirty was not taken for delivered. */
		memset(faulty->bitmap, 0, BYTES);
		ASSERT_EQ(0, write_mark(faulty));
		EXPECT_EQ(0, run_bounded(_metadata, faulty, op_read));
		EXPECT_EQ(3, marks_in(faulty->bitmap));
		run_bounded(_metadata, faulty, op_stop);
	}
	EXPECT_EQ(0, new_trackers(faulty));
}

/* A tracker that fails while nobody reads: who polls is told. */
TEST_F_TIMEOUT(faults, poll_tells, 120)
{
	static const char *const events[] = { "fail-tracker %x", "overrun %x", "qp-error %x" };
	struct faulty *faulty = &self->faulty;
	struct pollfd pollfd = { .events = POLLPRI };
	struct iommufd_dirty_tracker_info info;
	unsigned int i;

	if (variant->way == WAY_LOG || !is_our_driver())
		SKIP(return, "it shows in the next READ only");
	pollfd.fd = faulty->tracking.fd;
	for (i = 0; i < ARRAY_SIZE(events); i++) {
		ASSERT_EQ(0, op_start(faulty));
		EXPECT_FALSE(is_lost(faulty));
		ASSERT_TRUE(control_do(faulty->control, events[i], faulty->vf.number + 1));
		EXPECT_EQ(1, poll(&pollfd, 1, BOUND / 3))
		{
			TH_LOG("%s", events[i]);
		}
		test_cmd_tracker_info(faulty->tracking.fd, faulty->tracking.id, &info);
		EXPECT_EQ(IOMMUFD_DIRTY_STATE_LOST, info.out_state);
		EXPECT_EQ(-EIO, run_bounded(_metadata, faulty, op_read));
		ASSERT_EQ(0, op_stop(faulty));
		EXPECT_FALSE(is_lost(faulty));
	}
	ASSERT_EQ(NULL, is_well(_metadata, faulty));
}

/*
 * What the firmware does not want to destroy stays with it; it can do no harm, and
 * tracking goes on with another one.
 */
TEST_F_TIMEOUT(faults, stop, 600)
{
	struct faulty *faulty = &self->faulty;
	unsigned int i, n;
	char name[64];
	int err, left;

	for (i = 0; i < ARRAY_SIZE(stop_commands); i++) {
		for (n = 0; n < 2; n++) {
			/* Not answered: only what is the tracker's. */
			if (n && i > 1)
				break;
			/* Also what the one before has left does no harm. */
			ASSERT_EQ(0, run_bounded(_metadata, faulty, op_start));
			ASSERT_EQ(0, write_mark(faulty));
			memset(faulty->bitmap, 0, BYTES);
			ASSERT_EQ(0, run_bounded(_metadata, faulty, op_read));
			EXPECT_EQ(3, marks_in(faulty->bitmap));
			EXPECT_EQ(3, dirty_in(faulty->bitmap));
			ASSERT_TRUE(n ? control_do(faulty->control, "swallow %x 1",
						   stop_commands[i].opcode) :
					control_do(faulty->control, "refuse %x %x 1",
						   stop_commands[i].opcode, STATUS_INT_ERR));
			snprintf(name, sizeof(name), "%s-%s", n ? "swallowed" : "refused",
				 stop_commands[i].name);
			err = run_bounded(_metadata, faulty, op_stop);
			tell(faulty, "STOP", name, err, 0, faulty->hung, faulty->ms);
			control_do(faulty->control, "forget");
			left = new_trackers(faulty);
			EXPECT_GE(stop_commands[i].opcode == DESTROY_GENERAL_OBJECT ? 1 : 0, left);
			/* Nothing but a reset of the PF can take it away. */
			faulty->left += left;
		}
	}
	EXPECT_EQ(0, faulty->hung);
	ASSERT_EQ(NULL, is_well(_metadata, faulty));
}

TEST_HARNESS_MAIN
