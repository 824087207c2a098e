// SPDX-License-Identifier: GPL-2.0
/*
 * The stream that the state of a virtual function of mlx5-model is saved to and
 * loaded from: what it looks like, and what happens to one that is not as it
 * should be, or is not wanted any more.
 *
 * Both drivers have the same. $DRIVER has the function that is saved. $DRIVER_TO,
 * or else the same one, has the one that is loaded.
 */
#include <poll.h>
#include <sys/sysinfo.h>

#include "mlx5_migration.h"

#define TAG_FIRMWARE 0
#define TAG_ROOM 1
#define OPTIONAL 1

struct record {
	__le64 length;
	__le32 flags;
	__le32 tag;
};

/* What a stream begins with. */
struct preamble {
	struct record room;
	__le64 bytes;
	struct record firmware;
};

FIXTURE(image)
{
	struct vf from;
	struct vf to;
	/* The driver of the second one is ours. */
	bool ours;
	char *image;
};

FIXTURE_SETUP(image)
{
	self->ours = !strcmp(getenv("DRIVER_TO") ?: vf_driver(), VFIO_MLX5);
	vf_init(&self->from);
	vf_init(&self->to);
	self->image = malloc(MAX_IMAGE);
	ASSERT_NE(NULL, self->image);
	vf_open_pair(_metadata, &self->from, &self->to);
}

FIXTURE_TEARDOWN(image)
{
	vf_close(&self->from);
	vf_close(&self->to);
	free(self->image);
}

static struct record record(__u64 length, __u32 flags, __u32 tag)
{
	return (struct record){ htole64(length), htole32(flags), htole32(tag) };
}

/* Returns 0, or the error. */
static int put(int fd, const void *data, size_t len)
{
	return write(fd, data, len) == len ? 0 : -errno;
}

static __u32 state(struct vf *vf)
{
	struct vfio_device_feature_mig_state mig = {};
	int err = vf_feature(vf->device,
			     VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
			     &mig, sizeof(mig));

	return err ? VFIO_DEVICE_STATE_ERROR : mig.device_state;
}

/* The events of a file descriptor, without a wait. */
static int events(int fd)
{
	struct pollfd polled = { .fd = fd, .events = POLLIN | POLLRDHUP };

	return poll(&polled, 1, 0) == 1 ? polled.revents : 0;
}

/* Writes to the file "what" of a driver. Returns 0, or the error. */
static int tell(const char *driver, const char *what, const char *name)
{
	char path[128];
	int fd, err;

	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/%s", driver, what);
	fd = open(path, O_WRONLY);
	if (fd == -1)
		return -errno;
	err = put(fd, name, strlen(name));
	close(fd);
	return err;
}

TEST_F(image, begins_with_two_records)
{
	struct preamble *begins = (void *)self->image;
	struct vfio_device_feature_mig_data_size size = {};
	ssize_t len = save(&self->from);

	ASSERT_LT((ssize_t)sizeof(*begins), len);
	ASSERT_EQ(sizeof(begins->bytes), le64toh(begins->room.length));
	ASSERT_EQ(OPTIONAL, le32toh(begins->room.flags));
	ASSERT_EQ(TAG_ROOM, le32toh(begins->room.tag));
	ASSERT_EQ(len - sizeof(*begins), le64toh(begins->firmware.length));
	ASSERT_EQ(0, le32toh(begins->firmware.flags));
	ASSERT_EQ(TAG_FIRMWARE, le32toh(begins->firmware.tag));
	ASSERT_LE(le64toh(begins->firmware.length), le64toh(begins->bytes));
	ASSERT_EQ(0, le64toh(begins->bytes) % SZ_4K);

	ASSERT_EQ(0, vf_feature(self->from.device,
				VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DATA_SIZE,
				&size, sizeof(size)));
	ASSERT_EQ(le64toh(begins->firmware.length), size.stop_copy_length);
}

TEST_F(image, is_the_same_in_any_pieces)
{
	char *pieces = malloc(MAX_IMAGE);
	ssize_t len, done, got;
	int fd;

	ASSERT_NE(NULL, pieces);
	engine_prepare(self->from.engine, IOVA, 3 * SZ_4K);
	len = save(&self->from);

	/* As long as nothing of it runs it is the same state, if not the same bytes. */
	fd = set_state(&self->from, VFIO_DEVICE_STATE_STOP_COPY);
	ASSERT_LT(0, fd);
	ASSERT_EQ(-1, pread(fd, pieces, 1, 0));
	ASSERT_EQ(ESPIPE, errno);
	for (done = 0; done < len; done += got) {
		got = read(fd, pieces + done, 1 + done % 97);
		ASSERT_LT(0, got);
	}
	ASSERT_EQ(0, read(fd, pieces + done, 1));
	ASSERT_EQ(len, done);
	ASSERT_EQ(0, close(fd));

	fd = resume(&self->to);
	for (done = 0; done < len; done++)
		ASSERT_EQ(1, write(fd, pieces + done, 1));
	ASSERT_EQ(0, set_state(&self->to, VFIO_DEVICE_STATE_RUNNING));
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(3 * SZ_4K, engine_get(self->to.engine, ENGINE_LENGTH));
	free(pieces);
}

TEST_F(image, can_have_records_to_skip)
{
	struct record unknown = record(100, OPTIONAL, 0x12345678);
	char data[100] = {};
	ssize_t len;
	int fd;

	engine_prepare(self->from.engine, IOVA, 5 * SZ_4K);
	len = save(&self->from);
	fd = resume(&self->to);
	ASSERT_EQ(0, put(fd, &unknown, sizeof(unknown)));
	ASSERT_EQ(0, put(fd, data, sizeof(data)));
	ASSERT_EQ(0, put(fd, self->image, len));
	ASSERT_EQ(0, put(fd, &unknown, sizeof(unknown)));
	ASSERT_EQ(0, put(fd, data, sizeof(data)));
	ASSERT_EQ(0, set_state(&self->to, VFIO_DEVICE_STATE_RUNNING));
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(5 * SZ_4K, engine_get(self->to.engine, ENGINE_LENGTH));
}

/* As PRE_COPY makes it, and firmware that saves in chunks. */
TEST_F(image, can_have_several_states)
{
	ssize_t len, more;
	int fd;

	engine_prepare(self->from.engine, IOVA, 5 * SZ_4K);
	len = save(&self->from);
	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_RUNNING));
	fd = resume(&self->to);
	ASSERT_EQ(0, put(fd, self->image, len));
	engine_prepare(self->from.engine, IOVA, 6 * SZ_4K);
	more = save(&self->from);
	ASSERT_EQ(0, put(fd, self->image, more));
	ASSERT_EQ(0, set_state(&self->to, VFIO_DEVICE_STATE_RUNNING));
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(6 * SZ_4K, engine_get(self->to.engine, ENGINE_LENGTH));
}

TEST_F(image, has_to_be_understood)
{
	struct record unknown = record(0, 0, 0x12345678);
	int fd = resume(&self->to);

	ASSERT_EQ(-EOPNOTSUPP, put(fd, &unknown, sizeof(unknown)));
	/* What comes after that cannot be. */
	ASSERT_EQ(-ENODEV, put(fd, &unknown, sizeof(unknown)));
	ASSERT_EQ(0, close(fd));
}

TEST_F(image, lengths_that_cannot_be)
{
	static const __u64 lengths[] = { 1ULL << 32, 1ULL << 60, ~0ULL };
	static const __u32 tags[] = { TAG_FIRMWARE, TAG_ROOM, 99 };
	struct record long_one;
	unsigned int i, j;
	int fd;

	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		for (j = 0; j < ARRAY_SIZE(tags); j++) {
			fd = resume(&self->to);
			long_one = record(lengths[i], OPTIONAL, tags[j]);
			ASSERT_EQ(-ENOMEM, put(fd, &long_one, sizeof(long_one)));
			ASSERT_EQ(-ENODEV, put(fd, &long_one, sizeof(long_one)));
			ASSERT_EQ(0, close(fd));
			ASSERT_EQ(0, ioctl(self->to.device, VFIO_DEVICE_RESET));
		}
	}
}

/* The largest length that there is takes memory when its data come. */
TEST_F(image, a_promise_takes_no_memory)
{
	struct record long_one = record(0xffffffff, 0, TAG_FIRMWARE);
	struct preamble room = {
		.room = record(8, OPTIONAL, TAG_ROOM),
		.bytes = htole64(0xffffffff),
		.firmware = long_one,
	};
	struct sysinfo before, after;
	char data[SZ_4K] = {};
	int fd;

	if (!self->ours)
		SKIP(return, "mlx5-vfio-pci allocates what a header says");
	fd = resume(&self->to);
	ASSERT_EQ(0, sysinfo(&before));
	ASSERT_EQ(0, put(fd, &room, sizeof(room)));
	ASSERT_EQ(0, put(fd, data, sizeof(data)));
	ASSERT_EQ(0, sysinfo(&after));
	ASSERT_LT(before.freeram * before.mem_unit,
		  after.freeram * after.mem_unit + 64 * SZ_2M);
	ASSERT_EQ(0, close(fd));
}

TEST_F(image, has_to_be_whole)
{
	ssize_t len;
	int fd;

	if (!self->ours)
		SKIP(return, "mlx5-vfio-pci goes on with the old state");
	engine_prepare(self->from.engine, IOVA, 7 * SZ_4K);
	len = save(&self->from);
	fd = resume(&self->to);
	ASSERT_EQ(0, put(fd, self->image, len - 1));
	ASSERT_EQ(-EINVAL, set_state(&self->to, VFIO_DEVICE_STATE_STOP));
	ASSERT_EQ(VFIO_DEVICE_STATE_RESUMING, state(&self->to));
	/* There is still time. */
	ASSERT_EQ(0, put(fd, self->image + len - 1, 1));
	ASSERT_EQ(0, set_state(&self->to, VFIO_DEVICE_STATE_RUNNING));
	ASSERT_EQ(7 * SZ_4K, engine_get(self->to.engine, ENGINE_LENGTH));
	ASSERT_EQ(-ENODEV, put(fd, self->image, 1));
	ASSERT_EQ(0, close(fd));
}

/* To give one up that was refused takes a reset. */
TEST_F(image, is_given_up_by_a_reset)
{
	ssize_t len = save(&self->from);
	int fd;

	memset(self->image + len / 2, 0xff, len / 4);
	self->image[len - 1] ^= 0xff;
	fd = resume(&self->to);
	ASSERT_EQ(-1, write_image(fd, self->image, len));
	if (self->ours)
		ASSERT_EQ(-EINVAL, set_state(&self->to, VFIO_DEVICE_STATE_RUNNING));
	ASSERT_EQ(0, ioctl(self->to.device, VFIO_DEVICE_RESET));
	ASSERT_EQ(VFIO_DEVICE_STATE_RUNNING, state(&self->to));
	ASSERT_EQ(-ENODEV, put(fd, self->image, 1));
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(0, set_state(&self->to, VFIO_DEVICE_STATE_STOP));
	ASSERT_EQ(0, set_state(&self->to, VFIO_DEVICE_STATE_RUNNING));
}

TEST_F(image, bad_memory_loses_nothing)
{
	void *bad = mmap(NULL, SZ_4K, PROT_NONE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	ssize_t len;
	int fd;

	if (!self->ours)
		SKIP(return, "mlx5-vfio-pci ends the stream");
	ASSERT_NE(MAP_FAILED, bad);
	engine_prepare(self->from.engine, IOVA, SZ_4K);
	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_STOP));
	fd = set_state(&self->from, VFIO_DEVICE_STATE_STOP_COPY);
	ASSERT_LT(0, fd);
	ASSERT_EQ(-1, read(fd, bad, 100));
	ASSERT_EQ(EFAULT, errno);
	len = read_image(fd, self->image);
	ASSERT_LT(0, len);
	ASSERT_EQ(0, close(fd));
	/* From the beginning. */
	ASSERT_EQ(TAG_ROOM, le32toh(((struct preamble *)self->image)->room.tag));

	fd = resume(&self->to);
	ASSERT_EQ(-EFAULT, put(fd, bad, 100));
	ASSERT_EQ(0, put(fd, self->image, len));
	ASSERT_EQ(0, set_state(&self->to, VFIO_DEVICE_STATE_RUNNING));
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(SZ_4K, engine_get(self->to.engine, ENGINE_LENGTH));
}

TEST_F(image, ends_with_the_state_that_it_is_for)
{
	char byte;
	int fd;

	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_STOP));
	fd = set_state(&self->from, VFIO_DEVICE_STATE_STOP_COPY);
	ASSERT_LT(0, fd);
	ASSERT_EQ(1, read(fd, &byte, 1));
	ASSERT_EQ(POLLIN, events(fd));
	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_RUNNING));
	ASSERT_EQ(-1, read(fd, &byte, 1));
	ASSERT_EQ(ENODEV, errno);
	ASSERT_EQ(POLLIN | POLLRDHUP, events(fd));
	ASSERT_EQ(0, close(fd));
}

/* Not with the state of another stream. */
TEST_F(image, does_not_come_back)
{
	int old, new;
	char byte;

	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_STOP));
	old = set_state(&self->from, VFIO_DEVICE_STATE_STOP_COPY);
	ASSERT_LT(0, old);
	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_STOP));
	new = set_state(&self->from, VFIO_DEVICE_STATE_STOP_COPY);
	ASSERT_LT(0, new);
	ASSERT_EQ(-1, read(old, &byte, 1));
	ASSERT_EQ(ENODEV, errno);
	ASSERT_EQ(1, read(new, &byte, 1));
	ASSERT_EQ(0, close(old));
	ASSERT_EQ(0, close(new));
}

TEST_F(image, ends_with_a_reset)
{
	char byte;
	int fd;

	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_STOP));
	fd = set_state(&self->from, VFIO_DEVICE_STATE_STOP_COPY);
	ASSERT_LT(0, fd);
	ASSERT_EQ(0, ioctl(self->from.device, VFIO_DEVICE_RESET));
	ASSERT_EQ(VFIO_DEVICE_STATE_RUNNING, state(&self->from));
	ASSERT_EQ(-1, read(fd, &byte, 1));
	ASSERT_EQ(ENODEV, errno);
	ASSERT_EQ(POLLIN | POLLRDHUP, events(fd));
	ASSERT_EQ(0, close(fd));
}

TEST_F(image, ends_with_its_device)
{
	int out, in;
	char byte = 0;

	ASSERT_EQ(0, set_state(&self->from, VFIO_DEVICE_STATE_STOP));
	out = set_state(&self->from, VFIO_DEVICE_STATE_STOP_COPY);
	ASSERT_LT(0, out);
	in = resume(&self->to);
	vf_close(&self->from);
	vf_init(&self->from);
	vf_close(&self->to);
	vf_init(&self->to);
	ASSERT_EQ(-1, read(out, &byte, 1));
	ASSERT_EQ(ENODEV, errno);
	ASSERT_EQ(-ENODEV, put(in, &byte, 1));
	ASSERT_EQ(0, close(out));
	ASSERT_EQ(0, close(in));
}

/* And with its driver, which it keeps from being unloaded. */
TEST_F(image, outlives_the_function)
{
	const char *driver = getenv("DRIVER_TO") ?: getenv("DRIVER");
	struct vf *vf = &self->to;
	char name[32], byte = 0;
	int in, out;

	if (!self->ours)
		SKIP(return, "mlx5-vfio-pci uses the function after it is freed");
	in = resume(vf);
	ASSERT_EQ(0, ioctl(vf->device, VFIO_DEVICE_RESET));
	ASSERT_EQ(0, set_state(vf, VFIO_DEVICE_STATE_STOP));
	out = set_state(vf, VFIO_DEVICE_STATE_STOP_COPY);
	ASSERT_LT(0, out);
	vf_close(vf);
	vf_init(vf);
	ASSERT_TRUE(find_vf(driver, strcmp(driver, getenv("DRIVER")) ? 0 : 1, name,
			    sizeof(name)));
	ASSERT_EQ(0, tell(driver, "unbind", name));
	EXPECT_EQ(-ENODEV, put(in, &byte, 1));
	EXPECT_EQ(-1, read(out, &byte, 1));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(POLLIN | POLLRDHUP, events(out));
	ASSERT_EQ(0, tell(driver, "bind", name));
	EXPECT_EQ(-ENODEV, put(in, &byte, 1));
	ASSERT_EQ(0, close(in));
	ASSERT_EQ(0, close(out));
}

TEST_HARNESS_MAIN
