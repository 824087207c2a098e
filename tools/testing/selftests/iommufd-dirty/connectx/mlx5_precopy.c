// SPDX-License-Identifier: GPL-2.0
/*
 * The state of a virtual function of mlx5-model that is saved while it runs, and
 * loaded elsewhere as it comes. Needs the model's control socket.
 *
 * $DRIVER has the function that is saved. $DRIVER_TO, or else the same one, has the
 * one that is loaded.
 */
#include <fcntl.h>
#include <poll.h>
#include <time.h>

#include "cgroup.h"
#include "mlx5_control.h"
#include "mlx5_migration.h"

#define SAVE_VHCA_STATE 0x118
#define STATUS_BAD_RES_STATE 0x9
/* Milliseconds that a slow save takes; and long enough for anything. */
#define SLOW 2000
#define LONG 60000
/* Bytes that the drivers have for a chunk. */
#define CHUNK 0x800000
/* Bytes that a state grows by: less than a firmware has in a chunk. */
#define GROWTH 0x8000

FIXTURE(precopy)
{
	struct vf from;
	struct vf to;
	int control;
	/* The driver of the first one, of the second one is ours. */
	bool ours;
	bool to_ours;
	/* Where the first one is read, and the second one written. */
	int out;
	int in;
	/* What was read of the stream. */
	size_t done;
	char *buffer;
};

FIXTURE_SETUP(precopy)
{
	self->ours = !strcmp(vf_driver(), VFIO_MLX5);
	self->to_ours = !strcmp(getenv("DRIVER_TO") ?: vf_driver(), VFIO_MLX5);
	self->out = -1;
	self->in = -1;
	self->done = 0;
	vf_init(&self->from);
	vf_init(&self->to);
	self->buffer = malloc(MAX_IMAGE);
	ASSERT_NE(NULL, self->buffer);
	self->control = control_open();
	ASSERT_NE(-1, self->control) TH_LOG(NO_CONTROL);
	ASSERT_TRUE(control_do(self->control, "forget"));
	vf_open_pair(_metadata, &self->from, &self->to);
	/* The state of before is gone, and so is what it has grown by. */
	ASSERT_EQ(0, ioctl(self->from.device, VFIO_DEVICE_RESET));
	ASSERT_EQ(0, _vfio_enable_dma(self->from.device));
}

FIXTURE_TEARDOWN(precopy)
{
	control_do(self->control, "forget");
	close(self->control);
	if (self->out != -1)
		close(self->out);
	if (self->in != -1)
		close(self->in);
	vf_close(&self->from);
	vf_close(&self->to);
	free(self->buffer);
}

/* Returns 0, or the error. */
static int get_info(int fd, struct vfio_precopy_info *info)
{
	*info = (struct vfio_precopy_info){ .argsz = sizeof(*info) };
	return ioctl(fd, VFIO_MIG_GET_PRECOPY_INFO, info) ? -errno : 0;
}

static int events(int fd, int timeout)
{
	struct pollfd polled = { .fd = fd, .events = POLLIN | POLLRDHUP };

	return poll(&polled, 1, timeout) == 1 ? polled.revents : 0;
}

/*
 * Carries what there is to the other function, if @in is one. Adds what was read to
 * @done. Returns how the stream ended: 0, or the error of the last read or write.
 */
static int carry_stream(int out, int in, char *buffer, size_t *done)
{
	ssize_t got;

	for (;;) {
		got = read(out, buffer, MAX_IMAGE);
		if (got <= 0)
			return got ? -errno : 0;
		*done += got;
		if (in != -1 && write_image(in, buffer, got))
			return -errno;
	}
}

#define carry(self) \
	carry_stream((self)->out, (self)->in, (self)->buffer, &(self)->done)

#define start(state)								\
	({									\
		self->out = set_state(&self->from, state);			\
		ASSERT_LT(0, self->out);					\
	})

/* The rest, with the function stopped; then the other one goes on. */
#define finish()								\
	({									\
		ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_STOP_COPY));	\
		ASSERT_EQ(0, carry(self));					\
		ASSERT_EQ(0, read(self->out, self->buffer, 1));			\
		ASSERT_EQ(POLLIN, events(self->out, 0));			\
		ASSERT_EQ(0, set_state(&self->to, VFIO_DEVICE_STATE_RUNNING));	\
	})

/* The engine's registers are the state that a test can see. */
#define assert_arrived(length)							\
	({									\
		ASSERT_EQ(length, engine_get(self->to.engine, ENGINE_LENGTH));	\
		ASSERT_EQ(0, engine_go(self->to.engine, ENGINE_FILL));		\
		ASSERT_EQ(0x5a, self->to.memory[0]);				\
		ASSERT_EQ(0x5a, self->to.memory[length - 1]);			\
		ASSERT_EQ(0, self->to.memory[length]);				\
	})

TEST_F(precopy, in_rounds)
{
	struct vfio_precopy_info info;
	__u64 initial;
	int round;

	self->in = resume(&self->to);
	engine_prepare(self->from.engine, IOVA, SZ_4K);
	start(VFIO_DEVICE_STATE_PRE_COPY);
	ASSERT_EQ(0, get_info(self->out, &info));
	ASSERT_LT(40, info.initial_bytes);
	ASSERT_EQ(0, info.flags);
	initial = info.initial_bytes;
	ASSERT_EQ(POLLIN, events(self->out, LONG));
	ASSERT_EQ(10, read(self->out, self->buffer, 10));
	ASSERT_EQ(0, write_image(self->in, self->buffer, 10));
	self->done = 10;
	ASSERT_EQ(0, get_info(self->out, &info));
	ASSERT_EQ(initial - 10, info.initial_bytes);
	ASSERT_EQ(-ENOMSG, carry(self));
	ASSERT_EQ(initial, self->done);

	/* In chunks there is more of what was there from the beginning. */
	do {
		ASSERT_EQ(0, get_info(self->out, &info));
		ASSERT_EQ(0, info.initial_bytes);
		ASSERT_EQ(-ENOMSG, carry(self));
	} while (info.dirty_bytes);
	ASSERT_EQ(0, events(self->out, 0));
	ASSERT_EQ(-ENOMSG, carry(self));

	for (round = 0; round < 3; round++) {
		self->done = 0;
		engine_prepare(self->from.engine, IOVA, (2 + round) * SZ_4K);
		ASSERT_TRUE(control_do(self->control, "grow %x %x", model_number(&self->from),
				       GROWTH));
		ASSERT_EQ(0, get_info(self->out, &info));
		ASSERT_EQ(0, info.initial_bytes);
		ASSERT_LT(GROWTH, info.dirty_bytes);
		ASSERT_EQ(POLLIN, events(self->out, LONG));
		ASSERT_EQ(-ENOMSG, carry(self));
		ASSERT_EQ(info.dirty_bytes, self->done);
		ASSERT_EQ(0, get_info(self->out, &info));
		ASSERT_EQ(0, info.dirty_bytes);
	}

	/* It writes no more, and goes on. */
	ASSERT_EQ(0, engine_go(self->from.engine, ENGINE_FILL));
	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_PRE_COPY_P2P));
	ASSERT_NE(0, engine_go(self->from.engine, ENGINE_FILL));
	ASSERT_EQ(0, get_info(self->out, &info));
	ASSERT_EQ(0, info.initial_bytes);
	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_PRE_COPY));
	engine_prepare(self->from.engine, IOVA, 7 * SZ_4K);
	ASSERT_EQ(0, engine_go(self->from.engine, ENGINE_FILL));

	finish();
	assert_arrived(7 * SZ_4K);
	ASSERT_EQ(-EINVAL, get_info(self->out, &info));
}

/* What is not read while it runs is read later. */
TEST_F(precopy, without_a_round)
{
	self->in = resume(&self->to);
	engine_prepare(self->from.engine, IOVA, SZ_4K);
	start(VFIO_DEVICE_STATE_PRE_COPY);
	engine_prepare(self->from.engine, IOVA, 3 * SZ_4K);
	finish();
	assert_arrived(3 * SZ_4K);
}

/* Nothing of it was saved before. However large it is, if the firmware saves in chunks. */
TEST_F_TIMEOUT(precopy, of_a_function_that_is_stopped, 900)
{
	self->in = resume(&self->to);
	engine_prepare(self->from.engine, IOVA, 3 * SZ_4K);
	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_STOP));
	start(VFIO_DEVICE_STATE_STOP_COPY);
	finish();
	assert_arrived(3 * SZ_4K);
}

TEST_F(precopy, in_small_pieces)
{
	ssize_t got;

	self->in = resume(&self->to);
	engine_prepare(self->from.engine, IOVA, SZ_4K);
	start(VFIO_DEVICE_STATE_PRE_COPY);
	while ((got = read(self->out, self->buffer, 1 + self->done % 4099)) > 0) {
		ASSERT_EQ(0, write_image(self->in, self->buffer, got));
		self->done += got;
	}
	ASSERT_EQ(ENOMSG, errno);
	engine_prepare(self->from.engine, IOVA, 2 * SZ_4K);
	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_STOP_COPY));
	while ((got = read(self->out, self->buffer, 1 + self->done % 4099)) > 0) {
		ASSERT_EQ(0, write_image(self->in, self->buffer, got));
		self->done += got;
	}
	ASSERT_EQ(0, got);
	ASSERT_EQ(0, set_state(&self->to, VFIO_DEVICE_STATE_RUNNING));
	assert_arrived(2 * SZ_4K);
}

/* A state that is left before it is stopped ends the stream, and nothing is tracked. */
TEST_F(precopy, given_up)
{
	static const __u32 ways[][2] = {
		{ VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_RUNNING },
		{ VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_STOP },
		{ VFIO_DEVICE_STATE_PRE_COPY_P2P, VFIO_DEVICE_STATE_RUNNING_P2P },
	};
	struct vfio_precopy_info info;
	unsigned int i;

	engine_prepare(self->from.engine, IOVA, SZ_4K);
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		start(VFIO_DEVICE_STATE_PRE_COPY);
		ASSERT_EQ(0, get_info(self->out, &info));
		ASSERT_EQ(1, control_number(self->control, "migration", "tracked"));
		ASSERT_EQ(0, set_state(&self->from, ways[i][0]));
		ASSERT_EQ(0, set_state(&self->from, ways[i][1]));
		ASSERT_EQ(0, control_number(self->control, "migration", "tracked"));
		ASSERT_EQ(-ENODEV, carry(self));
		ASSERT_EQ(POLLIN | POLLRDHUP, events(self->out, 0));
		ASSERT_EQ(-EINVAL, get_info(self->out, &info));
		ASSERT_EQ(0, close(self->out));
		ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_RUNNING));
		ASSERT_EQ(0, engine_go(self->from.engine, ENGINE_FILL));
	}
	self->in = resume(&self->to);
	start(VFIO_DEVICE_STATE_PRE_COPY);
	finish();
	assert_arrived(SZ_4K);
}

/* Firmware does not track a function that is suspended. It is saved whole then. */
TEST_F(precopy, of_a_function_that_is_suspended)
{
	self->in = resume(&self->to);
	engine_prepare(self->from.engine, IOVA, 2 * SZ_4K);
	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_RUNNING_P2P));
	start(VFIO_DEVICE_STATE_PRE_COPY_P2P);
	ASSERT_EQ(-ENOMSG, carry(self));
	finish();
	assert_arrived(2 * SZ_4K);
}

/* And so is one of which the firmware does not say any more what has changed. */
TEST_F(precopy, that_the_firmware_breaks_off)
{
	static const int statuses[] = { STATUS_BAD_RES_STATE, STATUS_BAD_PARAM };
	struct vfio_precopy_info info;
	unsigned int i;

	/* mlx5-vfio-pci gives up for any other reason. */
	for (i = 0; i < (self->ours ? ARRAY_SIZE(statuses) : 1); i++) {
		self->in = resume(&self->to);
		engine_prepare(self->from.engine, IOVA, 2 * SZ_4K);
		start(VFIO_DEVICE_STATE_PRE_COPY);
		ASSERT_EQ(-ENOMSG, carry(self));
		engine_prepare(self->from.engine, IOVA, 3 * SZ_4K);
		ASSERT_TRUE(control_do(self->control, "refuse %x %x 1", SAVE_VHCA_STATE,
				       statuses[i]));
		ASSERT_EQ(0, get_info(self->out, &info));
		ASSERT_EQ(-ENOMSG, carry(self));
		ASSERT_EQ(0, get_info(self->out, &info));
		ASSERT_EQ(0, info.dirty_bytes);
		finish();
		assert_arrived(3 * SZ_4K);
		ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_RUNNING));
		ASSERT_EQ(0, close(self->in));
		ASSERT_EQ(0, close(self->out));
		self->in = -1;
		self->out = -1;
	}
}

/* Whoever reads hears of it, and the function goes on where it is. */
TEST_F(precopy, the_last_save_is_refused)
{
	start(VFIO_DEVICE_STATE_PRE_COPY);
	ASSERT_EQ(-ENOMSG, carry(self));
	ASSERT_TRUE(control_do(self->control, "refuse %x %x 1", SAVE_VHCA_STATE,
			       STATUS_BAD_PARAM));
	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_STOP_COPY));
	ASSERT_GT(0, carry(self));
	ASSERT_EQ(POLLIN | POLLRDHUP, events(self->out, LONG));
	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_RUNNING));
	ASSERT_EQ(-ENODEV, carry(self));
	ASSERT_EQ(0, engine_fill(self->from.engine, IOVA, SZ_4K));
}

/* It would break off a save that is under way. */
TEST_F(precopy, a_suspend_waits_for_the_save)
{
	self->in = resume(&self->to);
	engine_prepare(self->from.engine, IOVA, SZ_4K);
	ASSERT_TRUE(control_do(self->control, "slow %x %x 1", SAVE_VHCA_STATE, SLOW));
	start(VFIO_DEVICE_STATE_PRE_COPY);
	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_PRE_COPY_P2P));
	ASSERT_EQ(-ENOMSG, carry(self));
	/* More than how much memory it will take. */
	ASSERT_LT(40, self->done);
	finish();
	assert_arrived(SZ_4K);
}

TEST_F(precopy, new_initial_data)
{
	struct vfio_precopy_info info;

	ASSERT_EQ(0, vf_feature(self->from.device,
				VFIO_DEVICE_FEATURE_SET |
				VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, NULL, 0));
	self->in = resume(&self->to);
	engine_prepare(self->from.engine, IOVA, SZ_4K);
	start(VFIO_DEVICE_STATE_PRE_COPY);
	do {
		ASSERT_EQ(-ENOMSG, carry(self));
		ASSERT_EQ(0, get_info(self->out, &info));
		ASSERT_EQ(0, info.flags);
	} while (info.dirty_bytes);

	ASSERT_TRUE(control_do(self->control, "grow %x %x", model_number(&self->from), GROWTH));
	ASSERT_TRUE(control_do(self->control, "reinit %x", model_number(&self->from)));
	ASSERT_EQ(0, get_info(self->out, &info));
	ASSERT_EQ(VFIO_PRECOPY_INFO_REINIT, info.flags);
	ASSERT_LT(GROWTH, info.initial_bytes);
	ASSERT_EQ(0, info.dirty_bytes);
	self->done = 0;
	ASSERT_EQ(POLLIN, events(self->out, LONG));
	ASSERT_EQ(1, read(self->out, self->buffer, 1));
	ASSERT_EQ(0, write_image(self->in, self->buffer, 1));
	self->done = info.initial_bytes - 1;
	ASSERT_EQ(0, get_info(self->out, &info));
	ASSERT_EQ(0, info.flags);
	ASSERT_EQ(self->done, info.initial_bytes);
	self->done = 0;
	ASSERT_EQ(-ENOMSG, carry(self));
	ASSERT_EQ(info.initial_bytes, self->done);
	finish();
	assert_arrived(SZ_4K);
}

TEST_F(precopy, without_waiting)
{
	int flags;

	self->in = resume(&self->to);
	engine_prepare(self->from.engine, IOVA, SZ_4K);
	start(VFIO_DEVICE_STATE_PRE_COPY);
	ASSERT_EQ(-ENOMSG, carry(self));
	ASSERT_TRUE(control_do(self->control, "slow %x %x 1", SAVE_VHCA_STATE, SLOW));
	flags = fcntl(self->out, F_GETFL);
	ASSERT_EQ(0, fcntl(self->out, F_SETFL, flags | O_NONBLOCK));
	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_STOP_COPY));
	ASSERT_EQ(-EAGAIN, carry(self));
	ASSERT_EQ(POLLIN, events(self->out, LONG));
	ASSERT_EQ(0, fcntl(self->out, F_SETFL, flags));
	ASSERT_EQ(0, carry(self));
	ASSERT_EQ(0, set_state(&self->to, VFIO_DEVICE_STATE_RUNNING));
	assert_arrived(SZ_4K);
}

TEST_F(precopy, ends_with_a_reset)
{
	int slow;

	for (slow = 0; slow < 2; slow++) {
		if (slow)
			ASSERT_TRUE(control_do(self->control, "slow %x %x 1", SAVE_VHCA_STATE,
					       SLOW));
		start(VFIO_DEVICE_STATE_PRE_COPY);
		ASSERT_EQ(0, ioctl(self->from.device, VFIO_DEVICE_RESET));
		ASSERT_EQ(VFIO_DEVICE_STATE_RUNNING, mig_state(&self->from));
		ASSERT_EQ(-ENODEV, carry(self));
		ASSERT_EQ(POLLIN | POLLRDHUP, events(self->out, 0));
		ASSERT_EQ(0, close(self->out));
	}
	self->in = resume(&self->to);
	ASSERT_EQ(0, _vfio_enable_dma(self->from.device));
	engine_prepare(self->from.engine, IOVA, SZ_4K);
	start(VFIO_DEVICE_STATE_PRE_COPY);
	finish();
	assert_arrived(SZ_4K);
}

TEST_F(precopy, ends_with_its_device)
{
	ASSERT_TRUE(control_do(self->control, "slow %x %x 1", SAVE_VHCA_STATE, SLOW));
	start(VFIO_DEVICE_STATE_PRE_COPY);
	vf_close(&self->from);
	ASSERT_EQ(-ENODEV, carry(self));
	ASSERT_EQ(0, close(self->out));
	vf_open(_metadata, &self->from, 0);
	self->in = resume(&self->to);
	engine_prepare(self->from.engine, IOVA, SZ_4K);
	start(VFIO_DEVICE_STATE_PRE_COPY);
	finish();
	assert_arrived(SZ_4K);
}

/* All that the rest of a state takes is there before the function is stopped. */
TEST_F(precopy, sets_memory_aside)
{
	long long keys, written;

	self->in = resume(&self->to);
	start(VFIO_DEVICE_STATE_PRE_COPY);
	keys = control_number(self->control, "migration", "keys");
	ASSERT_LT(0, keys);
	/* What the stream begins with tells how much it will be. */
	ASSERT_EQ(24, read(self->out, self->buffer, 24));
	ASSERT_EQ(0, write_image(self->in, self->buffer, 24));
	if (self->to_ours)
		ASSERT_EQ(keys + 1, control_number(self->control, "migration", "keys"));
	ASSERT_EQ(-ENOMSG, carry(self));
	/* That the other one has by now, and did not have before. */
	written = control_number(self->control, "migration", "keys");
	ASSERT_EQ(keys + 1, written);
	finish();
	ASSERT_EQ(written, control_number(self->control, "migration", "keys"));
}

/* While a chunk waits to be read the next one is saved, and not one more than that. */
TEST_F(precopy, chunks_ahead)
{
	long long saves;
	int tries;

	if (!getenv("CHUNKS"))
		SKIP(return, "the firmware saves in one");
	saves = control_number(self->control, "migration", "saves");
	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_STOP));
	start(VFIO_DEVICE_STATE_STOP_COPY);
	for (tries = 0; tries < LONG / 100; tries++) {
		if (control_number(self->control, "migration", "saves") >= saves + 2)
			break;
		usleep(100000);
	}
	usleep(500000);
	ASSERT_EQ(saves + 2, control_number(self->control, "migration", "saves"));
	ASSERT_EQ(0, carry(self));
	ASSERT_LT(saves + 2, control_number(self->control, "migration", "saves"));
}

/* What a chunk is saved into belongs to whoever migrates, until that is over. */
TEST_F(precopy, memory_is_charged)
{
	long long before, after;

	if (!getenv("CHUNKS"))
		SKIP(return, "the state is small");
	if (enter_cgroup())
		SKIP(return, "no memory cgroup: %s", strerror(errno));
	before = cgroup_value("memory.current");
	start(VFIO_DEVICE_STATE_PRE_COPY);
	after = cgroup_value("memory.current");
	EXPECT_LE(2 * CHUNK, after - before);
	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_RUNNING));
	EXPECT_GT(CHUNK / 2, cgroup_value("memory.current") - before);
}

/* What does not fit is refused, not shortened. */
TEST_F(precopy, what_info_is_asked_for)
{
	struct vfio_precopy_info info = { .argsz = sizeof(info) - 1 };

	start(VFIO_DEVICE_STATE_PRE_COPY);
	ASSERT_EQ(-1, ioctl(self->out, VFIO_MIG_GET_PRECOPY_INFO, &info));
	ASSERT_EQ(EINVAL, errno);
	ASSERT_EQ(-1, ioctl(self->out, VFIO_MIG_GET_PRECOPY_INFO, NULL));
	ASSERT_EQ(EFAULT, errno);
	ASSERT_EQ(-1, ioctl(self->out, VFIO_DEVICE_RESET));
	ASSERT_EQ(ENOTTY, errno);
	ASSERT_EQ(0, get_info(self->out, &info));
}

TEST_HARNESS_MAIN
