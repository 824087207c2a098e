// SPDX-License-Identifier: GPL-2.0
/*
 * The format that all ioctls share: sizes, tails, flags, reserved fields, user
 * pointers; and input that nobody would send in good faith.
 */
#include "model.h"

#define IOVA 0x100000UL
#define LENGTH 0x100000UL

union any_cmd {
	__u32 size;
	struct {
		__u32 size;
		__u32 flags;
	} head;
	struct iommufd_dirty_info info;
	struct iommufd_dirty_bind_hwpt bind_hwpt;
	struct iommufd_dirty_bind_untracked bind_untracked;
	struct iommufd_dirty_unbind unbind;
	struct iommufd_dirty_list list;
	struct iommufd_dirty_list_ranges list_ranges;
	struct iommufd_dirty_tracker_info tracker_info;
	struct iommufd_dirty_ranges ranges;
	struct iommufd_dirty_start start;
	struct iommufd_dirty_stop stop;
	struct iommufd_dirty_read read;
	struct iommufd_dirty_clear clear;
	struct iommufd_dirty_harvest harvest;
	struct iommufd_dirty_set_policy set_policy;
	struct iommufd_dirty_stats stats;
	__u8 bytes[512];
};

/**
 * struct command - What a test has to know about an ioctl
 * @size: Of its structure
 * @known_flags: Flags that it knows
 * @reserved: Offset of its reserved field, 0 if it has none
 * @writes: It writes to its structure
 * @started: It needs a session that is started, else one that is not
 */
struct command {
	const char *name;
	unsigned int nr;
	size_t size;
	__u32 known_flags;
	size_t reserved;
	bool writes;
	bool started;
};

static const struct command commands[] = {
	{ "INFO", IOMMUFD_DIRTY_INFO, sizeof(struct iommufd_dirty_info),
	  .writes = true },
	{ "BIND_UNTRACKED", IOMMUFD_DIRTY_BIND_UNTRACKED,
	  sizeof(struct iommufd_dirty_bind_untracked), .writes = true },
	{ "UNBIND", IOMMUFD_DIRTY_UNBIND, sizeof(struct iommufd_dirty_unbind),
	  .known_flags = IOMMUFD_DIRTY_UNBIND_KEEP,
	  .reserved = offsetof(struct iommufd_dirty_unbind, __reserved) },
	{ "LIST", IOMMUFD_DIRTY_LIST, sizeof(struct iommufd_dirty_list),
	  .reserved = offsetof(struct iommufd_dirty_list, __reserved),
	  .writes = true },
	{ "TRACKER_INFO", IOMMUFD_DIRTY_TRACKER_INFO,
	  sizeof(struct iommufd_dirty_tracker_info), .writes = true },
	{ "RANGES", IOMMUFD_DIRTY_RANGES, sizeof(struct iommufd_dirty_ranges),
	  .known_flags = IOMMUFD_DIRTY_RANGES_REMOVE |
			 IOMMUFD_DIRTY_RANGES_ASSUME_CLEAN },
	{ "LIST_RANGES", IOMMUFD_DIRTY_LIST_RANGES,
	  sizeof(struct iommufd_dirty_list_ranges), .writes = true },
	{ "START", IOMMUFD_DIRTY_START, sizeof(struct iommufd_dirty_start),
	  .known_flags = IOMMUFD_DIRTY_START_DRY_RUN |
			 IOMMUFD_DIRTY_START_EXACT,
	  .writes = true },
	{ "STOP", IOMMUFD_DIRTY_STOP, sizeof(struct iommufd_dirty_stop),
	  .started = true },
	{ "READ", IOMMUFD_DIRTY_READ, sizeof(struct iommufd_dirty_read),
	  .known_flags = IOMMUFD_DIRTY_READ_NO_CLEAR |
			 IOMMUFD_DIRTY_READ_FINAL |
			 IOMMUFD_DIRTY_READ_COUNT_ONLY |
			 IOMMUFD_DIRTY_READ_EXTENTS | IOMMUFD_DIRTY_READ_STRICT,
	  .writes = true, .started = true },
	{ "CLEAR", IOMMUFD_DIRTY_CLEAR, sizeof(struct iommufd_dirty_clear),
	  .started = true },
	{ "HARVEST", IOMMUFD_DIRTY_HARVEST,
	  sizeof(struct iommufd_dirty_harvest), .writes = true,
	  .started = true },
	{ "SET_POLICY", IOMMUFD_DIRTY_SET_POLICY,
	  sizeof(struct iommufd_dirty_set_policy), .writes = false },
	{ "STATS", IOMMUFD_DIRTY_STATS, sizeof(struct iommufd_dirty_stats),
	  .writes = true },
};

/* A context, and what the commands point to. */
struct target {
	int fd;
	int mock;
	__u32 id;
	__u32 ids[4];
	struct iommufd_dirty_range range;
	struct iommufd_dirty_bitmap bitmap;
	__u8 bits[LENGTH / SZ_4K / 8];
};

FIXTURE(ioctl)
{
	struct target target;
};

FIXTURE_SETUP(ioctl)
{
	struct target *target = &self->target;

	target->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, target->fd);
	target->mock = test_mock_create(NULL);
	test_mock_bind(target->mock, target->fd, POLICY_FAIL, &target->id);
	test_cmd_range_add(target->fd, IOVA, LENGTH);
	target->range.iova = 2 * IOVA;
	target->range.length = SZ_4K;
	target->bitmap.iova = IOVA;
	target->bitmap.length = LENGTH;
	target->bitmap.bitmap_uptr = (uintptr_t)target->bits;
}

FIXTURE_TEARDOWN(ioctl)
{
	struct target *target = &self->target;

	close(target->fd);
	close(target->mock);
}

/* A structure with which the ioctl succeeds, in a context fit for it. */
static void prepare(struct __test_metadata *_metadata, struct target *target,
		    const struct command *command, union any_cmd *cmd)
{
	__u32 id;

	test_cmd_stop(target->fd);
	if (command->started)
		test_cmd_start(target->fd, SZ_4K);

	memset(cmd, 0, sizeof(*cmd));
	cmd->size = command->size;
	switch (command->nr) {
	case IOMMUFD_DIRTY_BIND_UNTRACKED:
		cmd->bind_untracked.policy = POLICY_IGNORE;
		break;
	case IOMMUFD_DIRTY_UNBIND:
		test_cmd_bind_untracked(target->fd, POLICY_IGNORE, &id);
		cmd->unbind.tracker_id = id;
		break;
	case IOMMUFD_DIRTY_LIST:
		cmd->list.nr_ids = ARRAY_SIZE(target->ids);
		cmd->list.ids_uptr = (uintptr_t)target->ids;
		break;
	case IOMMUFD_DIRTY_TRACKER_INFO:
		cmd->tracker_info.tracker_id = target->id;
		break;
	case IOMMUFD_DIRTY_RANGES:
		cmd->ranges.nr_ranges = 1;
		cmd->ranges.range_len = sizeof(target->range);
		cmd->ranges.ranges_uptr = (uintptr_t)&target->range;
		break;
	case IOMMUFD_DIRTY_START:
		cmd->start.page_size = SZ_4K;
		break;
	case IOMMUFD_DIRTY_READ:
		cmd->read.nr_ranges = 1;
		cmd->read.range_len = sizeof(target->bitmap);
		cmd->read.ranges_uptr = (uintptr_t)&target->bitmap;
		cmd->read.page_size = SZ_4K;
		break;
	case IOMMUFD_DIRTY_CLEAR:
		cmd->clear.nr_ranges = 1;
		cmd->clear.range_len = sizeof(target->bitmap);
		cmd->clear.ranges_uptr = (uintptr_t)&target->bitmap;
		cmd->clear.page_size = SZ_4K;
		break;
	case IOMMUFD_DIRTY_HARVEST:
		cmd->harvest.nr_ranges = 1;
		cmd->harvest.range_len = sizeof(target->range);
		cmd->harvest.ranges_uptr = (uintptr_t)&target->range;
		break;
	case IOMMUFD_DIRTY_SET_POLICY:
		cmd->set_policy.tracker_id = target->id;
		break;
	}
}

static void __test_err_command(struct __test_metadata *_metadata, int fd,
			       int _errno, const struct command *command,
			       const void *arg)
{
	ASSERT_EQ(-1, ioctl(fd, command->nr, arg))
	{
		TH_LOG("%s succeeded", command->name);
	}
	EXPECT_EQ(_errno, errno)
	{
		TH_LOG("%s: %s", command->name, strerror(errno));
	}
}

#define test_err_command(_errno, command, arg) \
	__test_err_command(_metadata, target->fd, _errno, command, arg)

#define for_each_command(command)                       \
	for (command = commands;                        \
	     command < commands + ARRAY_SIZE(commands); \
	     command++)

TEST_F(ioctl, the_examples_succeed)
{
	struct target *target = &self->target;
	const struct command *command;
	union any_cmd cmd;

	/* Or the tests below would pass for another reason. */
	for_each_command(command) {
		prepare(_metadata, target, command, &cmd);
		ASSERT_EQ(0, ioctl(target->fd, command->nr, &cmd))
		{
			TH_LOG("%s: %s", command->name, strerror(errno));
		}
	}
}

TEST_F(ioctl, short_structure_is_einval)
{
	struct target *target = &self->target;
	const struct command *command;
	union any_cmd cmd;
	__u32 size;

	for_each_command(command) {
		prepare(_metadata, target, command, &cmd);
		for (size = 0; size < command->size; size++) {
			cmd.size = size;
			test_err_command(EINVAL, command, &cmd);
		}
	}
}

TEST_F(ioctl, long_structure_with_zero_tail_succeeds)
{
	struct target *target = &self->target;
	const struct command *command;
	union any_cmd cmd;

	for_each_command(command) {
		prepare(_metadata, target, command, &cmd);
		cmd.size = sizeof(cmd);
		ASSERT_EQ(0, ioctl(target->fd, command->nr, &cmd))
		{
			TH_LOG("%s: %s", command->name, strerror(errno));
		}
	}
}

TEST_F(ioctl, long_structure_with_unknown_tail_is_e2big)
{
	struct target *target = &self->target;
	const struct command *command;
	union any_cmd cmd;
	size_t at;

	for_each_command(command) {
		prepare(_metadata, target, command, &cmd);
		for (at = command->size; at < sizeof(cmd); at++) {
			cmd.size = sizeof(cmd);
			cmd.bytes[at] = 0x80;
			test_err_command(E2BIG, command, &cmd);
			cmd.bytes[at] = 0;
		}
	}
}

TEST_F(ioctl, endless_structure_is_an_error)
{
	struct target *target = &self->target;
	static const __u32 sizes[] = { SZ_4K + 1, SZ_1G, INT_MAX, UINT_MAX };
	const struct command *command;
	union any_cmd *cmd;
	unsigned int i;
	__u8 *page;

	page = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, page);
	cmd = (union any_cmd *)page;
	for_each_command(command) {
		prepare(_metadata, target, command, cmd);
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			cmd->size = sizes[i];
			ASSERT_EQ(-1, ioctl(target->fd, command->nr, cmd));
			/* Whichever is found first: the size or the memory. */
			EXPECT_TRUE(errno == E2BIG || errno == EFAULT);
		}
	}
	munmap(page, SZ_4K);
}

TEST_F(ioctl, unknown_flag_is_eopnotsupp)
{
	struct target *target = &self->target;
	const struct command *command;
	union any_cmd cmd;
	unsigned int bit;

	for_each_command(command) {
		prepare(_metadata, target, command, &cmd);
		for (bit = 0; bit < 32; bit++) {
			if (command->known_flags & (1U << bit))
				continue;
			cmd.head.flags = 1U << bit;
			test_err_command(EOPNOTSUPP, command, &cmd);
		}
	}
}

TEST_F(ioctl, reserved_field_is_eopnotsupp)
{
	struct target *target = &self->target;
	const struct command *command;
	union any_cmd cmd;
	unsigned int i;

	for_each_command(command) {
		for (i = 0; command->reserved && i < sizeof(__u32); i++) {
			prepare(_metadata, target, command, &cmd);
			cmd.bytes[command->reserved + i] = 1;
			test_err_command(EOPNOTSUPP, command, &cmd);
		}
	}
}

TEST_F(ioctl, structure_of_any_alignment)
{
	struct target *target = &self->target;
	const struct command *command;
	__u8 memory[sizeof(union any_cmd) + 8];
	union any_cmd cmd;
	unsigned int i;

	for_each_command(command) {
		for (i = 1; i < 8; i++) {
			prepare(_metadata, target, command, &cmd);
			memcpy(memory + i, &cmd, sizeof(cmd));
			ASSERT_EQ(0, ioctl(target->fd, command->nr, memory + i))
			{
				TH_LOG("%s: %s", command->name,
				       strerror(errno));
			}
		}
	}
}

TEST_F(ioctl, bad_pointer_is_efault)
{
	struct target *target = &self->target;
	const struct command *command;
	union any_cmd cmd;
	__u8 *page, *at;

	page = mmap(NULL, 2 * SZ_4K, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, page);
	for_each_command(command) {
		test_err_command(EFAULT, command, NULL);
		test_err_command(EFAULT, command,
				 (void *)0xffff888000000000UL);

		/* The last byte lies in a page that is not there. */
		at = page + SZ_4K - command->size + 1;
		prepare(_metadata, target, command, &cmd);
		memcpy(at, &cmd, command->size);
		ASSERT_EQ(0, mprotect(page + SZ_4K, SZ_4K, PROT_NONE));
		test_err_command(EFAULT, command, at);
		ASSERT_EQ(0, mprotect(page + SZ_4K, SZ_4K,
				      PROT_READ | PROT_WRITE));

		/* What it has to tell cannot be written. */
		ASSERT_EQ(0, mprotect(page, SZ_4K, PROT_READ | PROT_WRITE));
		memcpy(page, &cmd, command->size);
		ASSERT_EQ(0, mprotect(page, SZ_4K, PROT_READ));
		if (command->writes)
			test_err_command(EFAULT, command, page);
		ASSERT_EQ(0, mprotect(page, SZ_4K, PROT_READ | PROT_WRITE));
	}
	munmap(page, 2 * SZ_4K);
}

TEST_F(ioctl, bind_and_start_leave_nothing_behind_on_efault)
{
	struct target *target = &self->target;
	struct iommufd_dirty_bind_untracked bind = {
		.size = sizeof(bind),
		.policy = POLICY_IGNORE,
	};
	struct iommufd_dirty_start start = {
		.size = sizeof(start),
		.page_size = SZ_4K,
	};
	struct mock_state state;
	__u32 ids[2], nr = 2;
	void *page;

	page = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, page);

	/* An id that was not told would be a tracker that nobody can unbind. */
	memcpy(page, &bind, sizeof(bind));
	ASSERT_EQ(0, mprotect(page, SZ_4K, PROT_READ));
	EXPECT_ERRNO(EFAULT,
		     ioctl(target->fd, IOMMUFD_DIRTY_BIND_UNTRACKED, page));
	test_cmd_list(target->fd, ids, &nr);
	EXPECT_EQ(1, nr);

	ASSERT_EQ(0, mprotect(page, SZ_4K, PROT_READ | PROT_WRITE));
	memcpy(page, &start, sizeof(start));
	ASSERT_EQ(0, mprotect(page, SZ_4K, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(target->fd, IOMMUFD_DIRTY_START, page));
	test_mock_state(target->mock, &state);
	EXPECT_EQ(0, state.started);
	test_cmd_start(target->fd, SZ_4K);
	munmap(page, SZ_4K);
}

TEST_F(ioctl, unknown_number_is_enotty)
{
	struct target *target = &self->target;
	union any_cmd cmd = { .size = sizeof(cmd) };
	unsigned int nr;

	for (nr = 0; nr < 256; nr++) {
		if (nr >= IOMMUFD_DIRTY_CMD_BASE &&
		    nr <= IOMMUFD_DIRTY_CMD_LIST_RANGES)
			continue;
		EXPECT_ERRNO(ENOTTY,
			     ioctl(target->fd, _IO(IOMMUFD_DIRTY_TYPE, nr), &cmd));
	}
	for (nr = IOMMUFD_DIRTY_CMD_BASE; nr <= IOMMUFD_DIRTY_CMD_LIST_RANGES; nr++) {
		EXPECT_ERRNO(ENOTTY, ioctl(target->fd, _IO('M', nr), &cmd));
		EXPECT_ERRNO(ENOTTY, ioctl(target->fd,
					   _IOWR(IOMMUFD_DIRTY_TYPE, nr, __u32),
					   &cmd));
	}
}

/* A value that something might trip over. */
static __u64 hostile(__u64 *seed)
{
	__u64 value = next_random(seed);

	switch (value >> 60) {
	case 0 ... 3:
		return 0;
	case 4 ... 5:
		return value & 3;
	case 6 ... 7:
		return 1ULL << (value & 63);
	case 8:
		return -1ULL << (value & 63);
	case 9:
		return (1ULL << (value & 63)) - 1;
	case 10:
		return IOVA + (value & (LENGTH - 1));
	case 11:
		return -(value & 0xffff);
	case 12:
		return IOVA;
	case 13:
		return SZ_4K;
	default:
		return value;
	}
}

TEST_F(ioctl, hostile_input_changes_nothing_outside)
{
	struct target *target = &self->target;
	struct guarded guarded;
	const char *number = getenv("HOSTILE_ROUNDS");
	unsigned int rounds = number ? atoi(number) : 20000;
	const struct command *command;
	union any_cmd cmd;
	__u64 seed = 4711, value;
	unsigned int round, at;
	size_t i;

	/*
	 * Random fields, and pointers that often are good: no crash, no hang,
	 * and not a byte written that is not in the array pointed to.
	 */
	ASSERT_TRUE(guarded_init(&guarded, 64 * 8, &(struct placement){ 64, 0 },
				 0));
	for (round = 0; round < rounds; round++) {
		command = &commands[next_random(&seed) % ARRAY_SIZE(commands)];
		prepare(_metadata, target, command, &cmd);
		for (at = next_random(&seed) % 4; at > 0; at--) {
			i = 4 + next_random(&seed) % (command->size - 4);
			value = hostile(&seed);
			memcpy(cmd.bytes + (i & ~7), &value,
			       i < 8 ? 4 : 8);
			cmd.size = command->size;
		}
		if (command->nr == IOMMUFD_DIRTY_LIST) {
			cmd.list.nr_ids %= ARRAY_SIZE(target->ids) + 1;
			if (cmd.list.ids_uptr)
				cmd.list.ids_uptr = (uintptr_t)target->ids;
		}
		target->bitmap.bitmap_uptr = (uintptr_t)guarded.bits;
		target->bitmap.iova = hostile(&seed);
		target->bitmap.length = hostile(&seed) % (64 * 8 * SZ_4K);
		target->bitmap.bit_offset = 0;
		if (round % 4 == 0)
			target->bitmap.bit_offset = hostile(&seed) << 20;
		target->range.iova = hostile(&seed);
		target->range.length = hostile(&seed);
		/* The arrays that are written are as large as is said. */
		if (command->nr == IOMMUFD_DIRTY_READ &&
		    cmd.read.extents_uptr)
			cmd.read.extents_uptr = (uintptr_t)guarded.bits;
		if (command->nr == IOMMUFD_DIRTY_READ && cmd.read.nr_extents)
			cmd.read.nr_extents = 1 + cmd.read.nr_extents % 4;
		if (command->nr == IOMMUFD_DIRTY_START)
			cmd.start.results_uptr = 0;
		ioctl(target->fd, command->nr, &cmd);
		/* The rounds shall stay cheap. */
		if (round % 64 == 0) {
			close(target->fd);
			target->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
			ASSERT_NE(-1, target->fd);
			test_mock_bind(target->mock, target->fd, POLICY_FAIL,
				       &target->id);
			test_cmd_range_add(target->fd, IOVA, LENGTH);
		}
	}
	/* Inside of the array anything may have been set. */
	memcpy(guarded.shadow_bits, guarded.bits, 64);
	EXPECT_EQ(LONG_MAX, guarded_diff(&guarded));
	guarded_free(&guarded);
}

TEST_HARNESS_MAIN
