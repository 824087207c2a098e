// SPDX-License-Identifier: GPL-2.0
/*
 * Functions of mlx5-model that are reset or go away while they are tracked, and a PF
 * that does. A test that takes the functions away brings them back.
 */
#include <sys/wait.h>

#include "mlx5_faults.h"
#include "mlx5_migration.h"

#define PF_NAME "0000:00:04.0"
#define PF "/sys/bus/pci/devices/" PF_NAME
#define PF_DRIVER "/sys/bus/pci/drivers/mlx5_core"
/* Milliseconds: mlx5_core looks after its health every two seconds, and then recovers. */
#define RECOVERY 60000

FIXTURE(removal)
{
	struct faulty faulty;
};

FIXTURE_VARIANT(removal)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(removal, log)
{
	.way = WAY_LOG,
};

FIXTURE_VARIANT_ADD(removal, context)
{
	.way = WAY_CONTEXT,
};

FIXTURE_SETUP(removal)
{
	test_faulty_open(&self->faulty, variant->way);
}

FIXTURE_TEARDOWN(removal)
{
	if (is_our_driver())
		EXPECT_EQ(0, self->faulty.hung);
	faulty_close(&self->faulty);
}

static int set(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret;

	if (fd == -1)
		return -1;
	ret = write(fd, value, strlen(value)) == (ssize_t)strlen(value) ? 0 : -1;
	close(fd);
	return ret;
}

/* As the stage has done it. */
static int make_functions(void)
{
	char path[64], target[256], *name;
	unsigned int vf;
	ssize_t len;

	if (set(PF "/sriov_drivers_autoprobe", "0") || set(PF "/sriov_numvfs", "2"))
		return -1;
	for (vf = 0; vf < 2; vf++) {
		snprintf(path, sizeof(path), PF "/virtfn%u/driver_override", vf);
		if (set(path, vf_driver()))
			return -1;
		snprintf(path, sizeof(path), PF "/virtfn%u", vf);
		len = readlink(path, target, sizeof(target) - 1);
		if (len < 0)
			return -1;
		target[len] = '\0';
		name = strrchr(target, '/');
		if (!name || set("/sys/bus/pci/drivers_probe", name + 1))
			return -1;
	}
	return 0;
}

/* mlx5_core recovers once a minute: for the next test it starts anew. */
static void renew(struct __test_metadata *_metadata, struct faulty *faulty)
{
	enum way way = faulty->tracking.way;

	control_do(faulty->control, "forget");
	tracking_close(&faulty->tracking);
	vf_close(&faulty->vf);
	set(PF "/sriov_numvfs", "0");
	ASSERT_EQ(0, set(PF_DRIVER "/unbind", PF_NAME));
	ASSERT_EQ(0, set(PF_DRIVER "/bind", PF_NAME));
	faulty->left = 0;
	ASSERT_EQ(0, make_functions());
	vf_open(_metadata, &faulty->vf, 0);
	ASSERT_EQ(0, tracking_open(&faulty->tracking, way, &faulty->vf, POLICY_FAIL));
}

static int op_disable(struct faulty *faulty)
{
	(void)faulty;
	return set(PF "/sriov_numvfs", "0");
}

static int op_unbind(struct faulty *faulty)
{
	(void)faulty;
	return set(PF_DRIVER "/unbind", PF_NAME);
}

/* What a tracker that may have lost pages tells: an error, or each of the marks. */
static void expect_no_loss(struct __test_metadata *_metadata, struct faulty *faulty)
{
	int err;

	memset(faulty->bitmap, 0, BYTES);
	err = run_bounded(_metadata, faulty, op_read);
	EXPECT_TRUE(err || marks_in(faulty->bitmap) == 3)
	{
		TH_LOG("%u of 3 pages", marks_in(faulty->bitmap));
	}
	if (faulty->tracking.way == WAY_LOG)
		return;
	EXPECT_TRUE(!err || err == -EIO || err == -ESHUTDOWN)
	{
		TH_LOG("%s", strerror(-err));
	}
	if (err)
		EXPECT_TRUE(is_lost(faulty));
}

static void start_and_mark(struct __test_metadata *_metadata, struct faulty *faulty)
{
	ASSERT_EQ(0, run_bounded(_metadata, faulty, op_start));
	ASSERT_EQ(0, write_mark(faulty));
}

/* The firmware comes back after a while. */
static void expect_recovery(struct __test_metadata *_metadata, struct faulty *faulty)
{
	unsigned int began = now_ms();
	int err;

	run_bounded(_metadata, faulty, op_stop);
	do {
		err = run_bounded(_metadata, faulty, op_start);
		if (!err)
			break;
		usleep(100000);
	} while (now_ms() - began < RECOVERY);
	ASSERT_EQ(0, err)
	{
		TH_LOG("after %u ms: %s", now_ms() - began, strerror(-err));
	}
	ASSERT_EQ(0, run_bounded(_metadata, faulty, op_stop));
	ASSERT_EQ(NULL, is_well(_metadata, faulty));
}

TEST_F_TIMEOUT(removal, function_is_reset, 120)
{
	struct faulty *faulty = &self->faulty;

	start_and_mark(_metadata, faulty);
	ASSERT_EQ(0, ioctl(faulty->vf.device, VFIO_DEVICE_RESET));
	expect_no_loss(_metadata, faulty);
	run_bounded(_metadata, faulty, op_stop);
	EXPECT_EQ(0, new_trackers(faulty));
	ASSERT_EQ(0, _vfio_enable_dma(faulty->vf.device));
	ASSERT_EQ(NULL, is_well(_metadata, faulty));
}

/*
 * While somebody has a function open, it stays, and so does its tracker: @remove waits
 * for its end. Leaves everything as it was.
 */
static void open_function_stays(struct __test_metadata *_metadata, struct faulty *faulty,
				step_fn remove, enum way way)
{
	struct operation operation;

	start_and_mark(_metadata, faulty);
	begin(_metadata, &operation, faulty, remove);
	EXPECT_FALSE(ends_within(&operation, 1000));
	expect_no_loss(_metadata, faulty);
	vf_close(&faulty->vf);
	EXPECT_TRUE(ends_within(&operation, BOUND));
	pthread_join(operation.thread, NULL);
	EXPECT_EQ(0, operation.ret);
	if (way == WAY_CONTEXT)
		EXPECT_EQ(-ESHUTDOWN, run_bounded(_metadata, faulty, op_read));
	tracking_close(&faulty->tracking);
	if (remove == op_unbind) {
		ASSERT_EQ(0, set(PF_DRIVER "/bind", PF_NAME));
		/* Nothing survives that. */
		faulty->left = 0;
	}
	EXPECT_EQ(0, new_trackers(faulty));
	ASSERT_EQ(0, make_functions());
	vf_open(_metadata, &faulty->vf, 0);
	ASSERT_EQ(0, tracking_open(&faulty->tracking, way, &faulty->vf, POLICY_FAIL));
	ASSERT_EQ(NULL, is_well(_metadata, faulty));
}

TEST_F_TIMEOUT(removal, functions_are_disabled, 180)
{
	open_function_stays(_metadata, &self->faulty, op_disable, variant->way);
}

TEST_F_TIMEOUT(removal, pf_loses_its_driver, 180)
{
	open_function_stays(_metadata, &self->faulty, op_unbind, variant->way);
}

/* The firmware starts anew: it has forgotten the tracker, and that the function was stopped. */
TEST_F_TIMEOUT(removal, pf_is_reset, 300)
{
	struct faulty *faulty = &self->faulty;

	start_and_mark(_metadata, faulty);
	ASSERT_EQ(0, set_state(&faulty->vf, VFIO_DEVICE_STATE_STOP));
	ASSERT_TRUE(control_do(faulty->control, "reset-pf"));
	expect_no_loss(_metadata, faulty);
	expect_recovery(_metadata, faulty);
	if (is_our_driver()) {
		EXPECT_EQ(VFIO_DEVICE_STATE_RUNNING, mig_state(&faulty->vf));
		EXPECT_EQ(0, set_state(&faulty->vf, VFIO_DEVICE_STATE_STOP));
		EXPECT_EQ(0, set_state(&faulty->vf, VFIO_DEVICE_STATE_RUNNING));
	}
	renew(_metadata, faulty);
}

/* The firmware is at something that it will never finish. */
TEST_F_TIMEOUT(removal, pf_is_reset_during_save, 300)
{
	struct faulty *faulty = &self->faulty;
	char bytes[64];
	int fd;

	start_and_mark(_metadata, faulty);
	ASSERT_TRUE(control_do(faulty->control, "swallow 118 1"));
	fd = set_state(&faulty->vf, VFIO_DEVICE_STATE_PRE_COPY);
	ASSERT_LT(0, fd);
	ASSERT_TRUE(control_do(faulty->control, "reset-pf"));
	while (read(fd, bytes, sizeof(bytes)) > 0)
		continue;
	/* That the save went wrong, or that there is no more to be had. */
	EXPECT_TRUE(errno == ENODEV || errno == ENOLINK)
	{
		TH_LOG("%s", strerror(errno));
	}
	expect_no_loss(_metadata, faulty);
	expect_recovery(_metadata, faulty);
	if (is_our_driver()) {
		EXPECT_EQ(VFIO_DEVICE_STATE_RUNNING, mig_state(&faulty->vf));
		EXPECT_EQ(-1, read(fd, bytes, sizeof(bytes)));
		EXPECT_EQ(ENODEV, errno);
	}
	EXPECT_EQ(0, close(fd));
	renew(_metadata, faulty);
	fd = set_state(&faulty->vf, VFIO_DEVICE_STATE_PRE_COPY);
	ASSERT_LT(0, fd);
	ASSERT_EQ(0, set_state(&faulty->vf, VFIO_DEVICE_STATE_STOP_COPY));
	while (read(fd, bytes, sizeof(bytes)) > 0)
		continue;
	ASSERT_EQ(0, set_state(&faulty->vf, VFIO_DEVICE_STATE_RUNNING));
	ASSERT_EQ(0, close(fd));
}

TEST_F_TIMEOUT(removal, pf_is_reset_during_read, 300)
{
	struct faulty *faulty = &self->faulty;
	struct operation operation;
	int err;

	start_and_mark(_metadata, faulty);
	memset(faulty->bitmap, 0, BYTES);
	ASSERT_TRUE(control_do(faulty->control, "report-delay ea60"));
	begin(_metadata, &operation, faulty, op_read);
	EXPECT_FALSE(ends_within(&operation, 500));
	ASSERT_TRUE(control_do(faulty->control, "reset-pf"));
	ASSERT_TRUE(control_do(faulty->control, "forget"));
	err = end(_metadata, &operation);
	EXPECT_TRUE(err || marks_in(faulty->bitmap) == 3);
	run_bounded(_metadata, faulty, op_stop);
	renew(_metadata, faulty);
	ASSERT_EQ(NULL, is_well(_metadata, faulty));
}

TEST_F_TIMEOUT(removal, pf_is_unwell, 300)
{
	struct faulty *faulty = &self->faulty;

	start_and_mark(_metadata, faulty);
	ASSERT_TRUE(control_do(faulty->control, "health 1"));
	sleep(5);
	ASSERT_TRUE(control_do(faulty->control, "health 0"));
	expect_no_loss(_metadata, faulty);
	run_bounded(_metadata, faulty, op_stop);
	renew(_metadata, faulty);
	ASSERT_EQ(NULL, is_well(_metadata, faulty));
}

/* Pulled out: nothing that it has is there any more, and nothing hangs. */
TEST_F_TIMEOUT(removal, function_is_unplugged, 180)
{
	struct faulty *faulty = &self->faulty;
	unsigned int n = faulty->vf.number + 1;

	start_and_mark(_metadata, faulty);
	ASSERT_TRUE(control_do(faulty->control, "unplug %x", n));
	EXPECT_NE(0, write_mark(faulty));
	/* The PF knows what it wrote before. */
	expect_no_loss(_metadata, faulty);
	run_bounded(_metadata, faulty, op_stop);
	ASSERT_TRUE(control_do(faulty->control, "plug %x", n));
	EXPECT_EQ(0, new_trackers(faulty));
	tracking_close(&faulty->tracking);
	vf_close(&faulty->vf);
	vf_open(_metadata, &faulty->vf, 0);
	ASSERT_EQ(0, tracking_open(&faulty->tracking, variant->way, &faulty->vf, POLICY_FAIL));
	ASSERT_EQ(NULL, is_well(_metadata, faulty));
}

TEST_F_TIMEOUT(removal, pf_is_unplugged_during_read, 300)
{
	struct faulty *faulty = &self->faulty;
	struct operation operation;
	int err;

	start_and_mark(_metadata, faulty);
	memset(faulty->bitmap, 0, BYTES);
	ASSERT_TRUE(control_do(faulty->control, "report-delay ea60"));
	begin(_metadata, &operation, faulty, op_read);
	EXPECT_FALSE(ends_within(&operation, 500));
	ASSERT_TRUE(control_do(faulty->control, "unplug 0"));
	ASSERT_TRUE(control_do(faulty->control, "forget"));
	err = end(_metadata, &operation);
	EXPECT_TRUE(err || marks_in(faulty->bitmap) == 3);
	/* The firmware does not answer: neither do START and STOP wait for ever. */
	run_bounded(_metadata, faulty, op_stop);
	EXPECT_NE(0, run_bounded(_metadata, faulty, op_start));
	run_bounded(_metadata, faulty, op_stop);
	tracking_close(&faulty->tracking);
	vf_close(&faulty->vf);
	/* As a slot would tell it. */
	ASSERT_EQ(0, set(PF "/remove", "1"));
	ASSERT_TRUE(control_do(faulty->control, "plug 0"));
	ASSERT_EQ(0, set("/sys/bus/pci/rescan", "1"));
	faulty->left = 0;
	ASSERT_EQ(0, make_functions());
	vf_open(_metadata, &faulty->vf, 0);
	ASSERT_EQ(0, tracking_open(&faulty->tracking, variant->way, &faulty->vf, POLICY_FAIL));
	ASSERT_EQ(NULL, is_well(_metadata, faulty));
}

static int op_run(struct faulty *faulty)
{
	return set_state(&faulty->vf, VFIO_DEVICE_STATE_RUNNING);
}

TEST_F_TIMEOUT(removal, pf_is_unplugged_during_save, 300)
{
	struct faulty *faulty = &self->faulty;
	char bytes[64];
	int fd;

	if (!is_our_driver())
		SKIP(return, "what the C driver does then is not looked at");
	start_and_mark(_metadata, faulty);
	ASSERT_TRUE(control_do(faulty->control, "swallow 118 1"));
	fd = set_state(&faulty->vf, VFIO_DEVICE_STATE_PRE_COPY);
	ASSERT_LT(0, fd);
	ASSERT_TRUE(control_do(faulty->control, "unplug 0"));
	while (read(fd, bytes, sizeof(bytes)) > 0)
		continue;
	EXPECT_NE(0, errno);
	/* It may end the tracking, of which nobody knows any more. It does not wait for ever. */
	run_bounded(_metadata, faulty, op_run);
	EXPECT_EQ(0, close(fd));
	run_bounded(_metadata, faulty, op_stop);
	tracking_close(&faulty->tracking);
	vf_close(&faulty->vf);
	ASSERT_EQ(0, set(PF "/remove", "1"));
	ASSERT_TRUE(control_do(faulty->control, "forget"));
	ASSERT_TRUE(control_do(faulty->control, "plug 0"));
	ASSERT_EQ(0, set("/sys/bus/pci/rescan", "1"));
	faulty->left = 0;
	ASSERT_EQ(0, make_functions());
	vf_open(_metadata, &faulty->vf, 0);
	ASSERT_EQ(0, tracking_open(&faulty->tracking, variant->way, &faulty->vf, POLICY_FAIL));
	ASSERT_EQ(NULL, is_well(_metadata, faulty));
}

/* Who waits for the firmware can be killed. */
TEST_F_TIMEOUT(removal, reader_is_killed, 120)
{
	struct faulty *faulty = &self->faulty;
	unsigned int began;
	bool ended;
	pid_t pid;

	if (!is_our_driver())
		SKIP(return, "the C driver waits for ever, whatever happens to the reader");
	start_and_mark(_metadata, faulty);
	ASSERT_TRUE(control_do(faulty->control, "mute 1"));
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		op_read(faulty);
		_exit(0);
	}
	usleep(300000);
	kill(pid, SIGKILL);
	began = now_ms();
	do {
		usleep(1000);
		ended = waitpid(pid, NULL, WNOHANG) == pid;
	} while (!ended && now_ms() - began < BOUND);
	ASSERT_TRUE(ended);
	ASSERT_TRUE(control_do(faulty->control, "forget"));
	expect_no_loss(_metadata, faulty);
	run_bounded(_metadata, faulty, op_stop);
	ASSERT_EQ(NULL, is_well(_metadata, faulty));
}

TEST_HARNESS_MAIN
