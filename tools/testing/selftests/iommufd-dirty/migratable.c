// SPDX-License-Identifier: GPL-2.0
/*
 * The emulated devices that a VMM can migrate: what a guest sees of them, their
 * state, their log, and their tracker.
 */
#include <time.h>

#include "../modules/migratable/iommufd_dirty_migratable.h"
#include "migration.h"
#include "modules.h"

#define BASE MEMBERS_BASE
#define SIZE SZ_1M
#define PAGES (SIZE / SZ_4K)
#define DEVICES 2
#define NO_MDEV "this kernel has no mediated devices"

#define UUID "8c1e6b52-97cf-4c3f-9f1b-0f6a30d1e00%u"
#define SLOW_MS "/sys/module/iommufd_dirty_migratable/parameters/slow_ms"
#define SYSFS "/sys/bus/mdev/devices/" UUID

FIXTURE(migratable)
{
	int iommu;
	__u32 ioas_id;
	int dev[DEVICES];
	__u8 *memory;
	__u64 seed;
	struct model model;
};

FIXTURE_VARIANT(migratable)
{
	const char *create;
	bool log;
};

FIXTURE_VARIANT_ADD(migratable, plain)
{
	.create = MIGRATABLE_CREATE(MIGRATABLE_PLAIN),
};

FIXTURE_VARIANT_ADD(migratable, log)
{
	.create = MIGRATABLE_CREATE(MIGRATABLE_LOG),
	.log = true,
};

static int print_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t ret = write(fd, text, strlen(text));

	close(fd);
	return ret == strlen(text) ? 0 : -1;
}

static void remove_device(unsigned int n)
{
	char path[128];

	snprintf(path, sizeof(path), SYSFS "/remove", n);
	print_to(path, "1");
}

/* Bound and attached. Its cdev, or -1. */
static int add_device(unsigned int n, const char *create, int iommu,
		      __u32 ioas_id)
{
	char text[128];
	int fd;

	snprintf(text, sizeof(text), UUID, n);
	if (print_to(create, text))
		return -1;
	snprintf(text, sizeof(text), SYSFS, n);
	fd = vfio_device_open(text);
	if (fd == -1 || _vfio_bind_iommufd(fd, iommu, NULL) ||
	    _vfio_attach(fd, ioas_id))
		return -1;
	return fd;
}

FIXTURE_SETUP(migratable)
{
	unsigned int i;

	self->iommu = -1;
	self->seed = 0x2468ace;
	for (i = 0; i < DEVICES; i++)
		self->dev[i] = -1;
	if (system("modprobe " MIGRATABLE_NAME " 2>/dev/null"))
		SKIP(return, NO_MDEV);
	self->iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->iommu);
	ASSERT_EQ(0, _iommu_ioas_alloc(self->iommu, &self->ioas_id));
	self->memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->memory);
	ASSERT_EQ(0, _iommu_ioas_map(self->iommu, self->ioas_id, self->memory,
				     SIZE, BASE));
	ASSERT_TRUE(model_init(&self->model, BASE, SIZE, 12));
	for (i = 0; i < DEVICES; i++) {
		remove_device(i);
		self->dev[i] = add_device(i, variant->create, self->iommu,
					  self->ioas_id);
		ASSERT_NE(-1, self->dev[i])
		{
			TH_LOG("device %u: %s", i, strerror(errno));
		}
	}
}

FIXTURE_TEARDOWN(migratable)
{
	unsigned int i;

	for (i = 0; i < DEVICES; i++) {
		if (self->dev[i] != -1)
			close(self->dev[i]);
		remove_device(i);
	}
	close(self->iommu);
	munmap(self->memory, SIZE);
	model_free(&self->model);
}

static __u32 memory_at(const __u8 *memory, __u64 iova)
{
	__u32 value;

	memcpy(&value, memory + (iova - BASE), sizeof(value));
	return value;
}

/* Returns what GO reads as. */
static __u32 __go(struct __test_metadata *_metadata, int dev, __u32 how,
		  __u64 iova, __u32 value)
{
	bar0_set(dev, MIGRATABLE_ADDRESS_LO, (__u32)iova);
	bar0_set(dev, MIGRATABLE_ADDRESS_HI, iova >> 32);
	bar0_set(dev, MIGRATABLE_VALUE, value);
	bar0_set(dev, MIGRATABLE_GO, how);
	return bar0_get(dev, MIGRATABLE_GO);
}

#define go(...) __go(_metadata, __VA_ARGS__)

/* Writes anywhere, by both ways, that arrive; the model learns of them. */
#define write_some(n, times)                                                   \
	do {                                                                   \
		unsigned int __n;                                              \
									       \
		for (__n = 0; __n < (times); __n++) {                          \
			__u64 __at = BASE + next_random(&self->seed) %         \
				(SIZE / 4) * 4;                                \
			__u32 __value = next_random(&self->seed);              \
									       \
			ASSERT_EQ(0, go(self->dev[n],                          \
					__n % 2 ? MIGRATABLE_GO_PIN :          \
						  MIGRATABLE_GO_RW,            \
					__at, __value));                       \
			ASSERT_EQ(__value, memory_at(self->memory, __at));     \
			model_write(&self->model, 1 << (n), __at, 4, SZ_4K);   \
		}                                                              \
	} while (0)

TEST_F(migratable, looks_like_a_pci_function)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	struct vfio_region_info region = {
		.argsz = sizeof(region),
		.index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	struct vfio_irq_info irq = { .argsz = sizeof(irq) };
	__u8 config[PCI_CFG_SPACE_SIZE], other[PCI_CFG_SPACE_SIZE];
	__u32 bar = 0xffffffff;
	int dev = self->dev[0];

	ASSERT_EQ(0, ioctl(dev, VFIO_DEVICE_GET_INFO, &info));
	EXPECT_EQ(VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET, info.flags);
	EXPECT_EQ(VFIO_PCI_NUM_REGIONS, info.num_regions);
	EXPECT_EQ(VFIO_PCI_NUM_IRQS, info.num_irqs);
	for (irq.index = 0; irq.index < VFIO_PCI_NUM_IRQS; irq.index++) {
		ASSERT_EQ(0, ioctl(dev, VFIO_DEVICE_GET_IRQ_INFO, &irq));
		EXPECT_EQ(0, irq.count);
	}
	ASSERT_EQ(0, ioctl(dev, VFIO_DEVICE_GET_REGION_INFO, &region));
	ASSERT_EQ(sizeof(config), region.size);

	ASSERT_EQ(sizeof(config),
		  pread(dev, config, sizeof(config), region.offset));
	EXPECT_EQ(MIGRATABLE_VENDOR, config[0] | config[1] << 8);
	EXPECT_EQ(MIGRATABLE_DEVICE, config[2] | config[3] << 8);
	EXPECT_EQ(0xff, config[PCI_CLASS_DEVICE + 1]);
	EXPECT_EQ(0, config[PCI_STATUS] & PCI_STATUS_CAP_LIST);
	EXPECT_EQ(0, config[PCI_INTERRUPT_PIN]);

	/* How large BAR 0 is; and nothing else that matters can be written. */
	ASSERT_EQ(4, pwrite(dev, &bar, 4, region.offset + PCI_BASE_ADDRESS_0));
	ASSERT_EQ(4, pread(dev, &bar, 4, region.offset + PCI_BASE_ADDRESS_0));
	EXPECT_EQ(-MIGRATABLE_BAR_SIZE, bar);
	memset(other, 0xff, sizeof(other));
	ASSERT_EQ(sizeof(other),
		  pwrite(dev, other, sizeof(other), region.offset));
	ASSERT_EQ(sizeof(other),
		  pread(dev, other, sizeof(other), region.offset));
	EXPECT_EQ(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, other[PCI_COMMAND]);
	EXPECT_EQ(0, memcmp(config, other, PCI_COMMAND));
	EXPECT_EQ(0, memcmp(config + PCI_STATUS, other + PCI_STATUS,
			    PCI_BASE_ADDRESS_0 - PCI_STATUS));
	EXPECT_EQ(0, memcmp(config + PCI_BASE_ADDRESS_1,
			    other + PCI_BASE_ADDRESS_1,
			    PCI_INTERRUPT_LINE - PCI_BASE_ADDRESS_1));
	EXPECT_ERRNO(EINVAL, pread(dev, other, 1,
				   region.offset + sizeof(config)));

	region.index = VFIO_PCI_BAR0_REGION_INDEX;
	ASSERT_EQ(0, ioctl(dev, VFIO_DEVICE_GET_REGION_INFO, &region));
	EXPECT_EQ(MIGRATABLE_BAR_SIZE, region.size);
	EXPECT_EQ(VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE,
		  region.flags);
	EXPECT_EQ(0, bar0_get(dev, MIGRATABLE_BAR_SIZE - 4));
	EXPECT_EQ(-1, _bar0_get(dev, MIGRATABLE_BAR_SIZE, &bar));
	EXPECT_EQ(-1, _bar0_get(dev, 2, &bar));
	EXPECT_ERRNO(EINVAL, pread(dev, &bar, 2, region.offset));
}

TEST_F(migratable, writes)
{
	int dev = self->dev[0];

	EXPECT_EQ(0, go(dev, MIGRATABLE_GO_RW, BASE + 8, 0x11223344));
	EXPECT_EQ(0x11223344, memory_at(self->memory, BASE + 8));
	EXPECT_EQ(0, go(dev, MIGRATABLE_GO_PIN, BASE + SIZE - 4, 0x55667788));
	EXPECT_EQ(0x55667788, memory_at(self->memory, BASE + SIZE - 4));
	EXPECT_EQ(2, bar0_get(dev, MIGRATABLE_COUNT));

	/* Not mapped, across a word's end, and no such way. */
	EXPECT_EQ(1, go(dev, MIGRATABLE_GO_RW, BASE + SIZE, 1));
	EXPECT_EQ(1, go(dev, MIGRATABLE_GO_PIN, BASE - 4, 1));
	EXPECT_EQ(1, go(dev, MIGRATABLE_GO_RW, BASE + 6, 1));
	EXPECT_EQ(1, go(dev, MIGRATABLE_GO_PIN, BASE + 7, 1));
	EXPECT_EQ(1, go(dev, 0, BASE, 1));
	EXPECT_EQ(1, go(dev, 3, BASE, 1));
	EXPECT_EQ(1, go(dev, MIGRATABLE_GO_RW, ~3ULL, 1));
	EXPECT_EQ(1, go(dev, MIGRATABLE_GO_PIN, ~3ULL, 1));
	EXPECT_EQ(2, bar0_get(dev, MIGRATABLE_COUNT));
	bar0_set(dev, MIGRATABLE_COUNT, 7);
	EXPECT_EQ(2, bar0_get(dev, MIGRATABLE_COUNT));
	EXPECT_EQ(0, memory_at(self->memory, BASE));
	EXPECT_EQ(0, memory_at(self->memory, BASE + 4));
	EXPECT_EQ(0x11223344, memory_at(self->memory, BASE + 8));

	ASSERT_EQ(0, _vfio_detach(dev));
	EXPECT_EQ(1, go(dev, MIGRATABLE_GO_RW, BASE, 1));
	EXPECT_EQ(1, go(dev, MIGRATABLE_GO_PIN, BASE, 1));
	ASSERT_EQ(0, _vfio_attach(dev, self->ioas_id));
	EXPECT_EQ(0, go(dev, MIGRATABLE_GO_RW, BASE, 1));

	ASSERT_EQ(0, ioctl(dev, VFIO_DEVICE_RESET));
	EXPECT_EQ(0, bar0_get(dev, MIGRATABLE_COUNT));
	EXPECT_EQ(0, bar0_get(dev, MIGRATABLE_VALUE));
}

/* Everything that is in the registers of the one is in those of the other. */
TEST_F(migratable, the_state_moves)
{
	int from = self->dev[0], to = self->dev[1];
	__u32 registers[MIGRATABLE_END / 4];
	struct vfio_device_feature_migration flags = {};
	struct vfio_device_feature_mig_data_size room = {};
	__u8 state[MAX_STATE];
	unsigned int i;
	ssize_t size;

	ASSERT_EQ(0, _vfio_feature(from,
				   VFIO_DEVICE_FEATURE_GET |
					   VFIO_DEVICE_FEATURE_MIGRATION,
				   &flags, sizeof(flags)));
	EXPECT_EQ(VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P, flags.flags);
	write_some(0, 9);
	ASSERT_EQ(1, go(from, MIGRATABLE_GO_RW, 0x123456789abcdef0, 5));
	for (i = 0; i < MIGRATABLE_END / 4; i++)
		registers[i] = bar0_get(from, i * 4);

	ASSERT_EQ(0, _vfio_feature(from,
				   VFIO_DEVICE_FEATURE_GET |
					   VFIO_DEVICE_FEATURE_MIG_DATA_SIZE,
				   &room, sizeof(room)));
	size = mig_save(from, state);
	EXPECT_EQ(sizeof(struct migratable_state), size);
	EXPECT_EQ(size, room.stop_copy_length);
	mig_load(to, state, size);
	mig_set_state(to, RUNNING);
	for (i = 0; i < MIGRATABLE_END / 4; i++) {
		EXPECT_EQ(registers[i], bar0_get(to, i * 4))
		{
			TH_LOG("register 0x%x", i * 4);
		}
	}
	EXPECT_EQ(9, bar0_get(to, MIGRATABLE_COUNT));
	write_some(1, 2);
	EXPECT_EQ(11, bar0_get(to, MIGRATABLE_COUNT));

	/* The migration is cancelled: the source goes on. */
	mig_set_state(from, RUNNING);
	write_some(0, 1);
	EXPECT_EQ(10, bar0_get(from, MIGRATABLE_COUNT));
}

/* Nothing gets to the memory, nor into the state. */
#define expect_stopped(dev)                                                   \
	do {                                                                  \
		EXPECT_ERRNO(EBUSY, _bar0_set(dev, MIGRATABLE_GO,             \
					      MIGRATABLE_GO_RW));             \
		EXPECT_ERRNO(EBUSY, _bar0_set(dev, MIGRATABLE_GO,             \
					      MIGRATABLE_GO_PIN));            \
		EXPECT_ERRNO(EBUSY, _bar0_set(dev, MIGRATABLE_VALUE, 1));     \
		EXPECT_EQ(1, bar0_get(dev, MIGRATABLE_COUNT));                \
		EXPECT_EQ(0x1234, bar0_get(dev, MIGRATABLE_VALUE));           \
		EXPECT_EQ(0, memory_at(self->memory, BASE));                  \
	} while (0)

TEST_F(migratable, writes_nothing_while_it_is_stopped)
{
	int dev = self->dev[0];
	int fd;

	ASSERT_EQ(0, go(dev, MIGRATABLE_GO_RW, BASE, 0x1234));
	memset(self->memory, 0, 4);
	mig_set_state(dev, RUNNING_P2P);
	expect_stopped(dev);
	mig_set_state(dev, STOP);
	expect_stopped(dev);
	fd = mig_open_state(dev, STOP_COPY);
	expect_stopped(dev);
	close(fd);
	mig_set_state(dev, STOP);
	fd = mig_open_state(dev, RESUMING);
	expect_stopped(dev);
	close(fd);
	ASSERT_EQ(0, ioctl(dev, VFIO_DEVICE_RESET));
	expect_mig_state(dev, RUNNING);
	write_some(0, 2);
}

/* It is refused, and the device is as it was: it takes a right one after that. */
TEST_F(migratable, a_state_that_is_none)
{
	struct migratable_state state = {
		.magic = MIGRATABLE_MAGIC,
		.registers[MIGRATABLE_VALUE / 4] = 0x77,
	};
	int dev = self->dev[0];
	int fd;

	bar0_set(dev, MIGRATABLE_VALUE, 0x66);
	fd = mig_open_state(dev, RESUMING);
	test_err_mig_set_state(EINVAL, dev, STOP);
	ASSERT_EQ(4, write(fd, &state, 4));
	test_err_mig_set_state(EINVAL, dev, RUNNING);
	expect_mig_state(dev, RESUMING);
	EXPECT_ERRNO(ENOSPC, write(fd, &state, sizeof(state)));
	EXPECT_EQ(0x66, bar0_get(dev, MIGRATABLE_VALUE));
	ASSERT_EQ(sizeof(state) - 4,
		  write(fd, (__u8 *)&state + 4, sizeof(state) - 4));
	EXPECT_ERRNO(ENOSPC, write(fd, &state, 1));
	mig_set_state(dev, RUNNING);
	EXPECT_EQ(0x77, bar0_get(dev, MIGRATABLE_VALUE));
	close(fd);

	state.magic++;
	fd = mig_open_state(dev, RESUMING);
	ASSERT_EQ(sizeof(state), write(fd, &state, sizeof(state)));
	test_err_mig_set_state(EINVAL, dev, STOP);
	ASSERT_EQ(0, ioctl(dev, VFIO_DEVICE_RESET));
	EXPECT_ERRNO(ENODEV, write(fd, &state, 1));
	close(fd);

	state.magic--;
	state.registers[MIGRATABLE_GO / 4] = 2;
	fd = mig_open_state(dev, RESUMING);
	ASSERT_EQ(sizeof(state), write(fd, &state, sizeof(state)));
	test_err_mig_set_state(EINVAL, dev, STOP);
	EXPECT_EQ(0, bar0_get(dev, MIGRATABLE_VALUE));

	/* Closed with the file open: that ends with it. */
	close(dev);
	self->dev[0] = -1;
	EXPECT_ERRNO(ENODEV, write(fd, &state, 1));
	close(fd);
}

/* A report by VFIO's own interface, compared with the model. */
#define expect_log(n)                                                         \
	({                                                                    \
		__u8 __bits[PAGES / 8] = {}, __model[PAGES / 8] = {};         \
									      \
		model_bits(&self->model, 1 << (n), BASE, SIZE, SZ_4K,         \
			   __model, 0);                                       \
		model_clean(&self->model, 1 << (n), BASE, SIZE);              \
		ASSERT_EQ(0, _vfio_log_report(self->dev[n], BASE, SIZE,       \
					      SZ_4K, __bits));                \
		EXPECT_EQ(0, memcmp(__model, __bits, sizeof(__bits)));        \
	})

TEST_F(migratable, its_log)
{
	__u64 page_size = SZ_64K;
	unsigned int i;
	__u8 bits[8];

	if (!variant->log) {
		EXPECT_ERRNO(ENOTTY, _vfio_log_start(self->dev[0], BASE, SIZE,
						     &page_size));
		return;
	}
	EXPECT_ERRNO(EINVAL, _vfio_log_report(self->dev[0], BASE, SZ_64K,
					      SZ_4K, bits));
	write_some(0, 20);
	model_clean(&self->model, MODEL_ALL, BASE, SIZE);
	ASSERT_EQ(0, _vfio_log_start(self->dev[0], BASE, SIZE, &page_size));
	EXPECT_EQ(SZ_4K, page_size);
	EXPECT_ERRNO(EINVAL, _vfio_log_start(self->dev[0], BASE, SIZE,
					     &page_size));
	expect_log(0);
	for (i = 0; i < 10; i++) {
		write_some(0, 20);
		/* The other has no part in it. */
		write_some(1, 5);
		/* What does not arrive is not in it. */
		ASSERT_EQ(1, go(self->dev[0], MIGRATABLE_GO_RW, BASE + SIZE, 1));
		expect_log(0);
	}
	expect_log(0);

	/* It is there when the device is stopped, and reset. */
	write_some(0, 20);
	mig_set_state(self->dev[0], STOP);
	expect_log(0);
	mig_set_state(self->dev[0], RUNNING);
	write_some(0, 20);
	ASSERT_EQ(0, ioctl(self->dev[0], VFIO_DEVICE_RESET));
	expect_log(0);
	ASSERT_EQ(0, _vfio_log_stop(self->dev[0]));
	EXPECT_ERRNO(EINVAL, _vfio_log_report(self->dev[0], BASE, SZ_64K,
					      SZ_4K, bits));
}

TEST_F(migratable, a_slow_log)
{
	struct timespec before, after;
	__u64 page_size = SZ_4K;

	if (!variant->log)
		return;
	ASSERT_EQ(0, _vfio_log_start(self->dev[0], BASE, SIZE, &page_size));
	write_some(0, 20);
	ASSERT_EQ(0, print_to(SLOW_MS, "50"));
	clock_gettime(CLOCK_MONOTONIC, &before);
	expect_log(0);
	clock_gettime(CLOCK_MONOTONIC, &after);
	ASSERT_EQ(0, print_to(SLOW_MS, "0"));
	EXPECT_LE(50000000, (after.tv_sec - before.tv_sec) * 1000000000LL +
				    after.tv_nsec - before.tv_nsec);
}

/* Two devices in a context: each by its log if it has one, or as the kernel writes. */
TEST_F(migratable, its_tracker)
{
	struct iommufd_dirty_tracker_info info;
	unsigned int i;
	__u32 id;
	int fd;

	if (system("modprobe iommufd-dirty-vfio 2>/dev/null"))
		SKIP(return, "this kernel's VFIO cannot be given dirty trackers");
	fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, fd);
	for (i = 0; i < DEVICES; i++) {
		test_vfio_dirty_bind(self->dev[i], fd, POLICY_FAIL, &id);
		test_cmd_tracker_info(fd, id, &info);
		EXPECT_EQ(variant->log ? IOMMUFD_DIRTY_KIND_DEVICE :
					 IOMMUFD_DIRTY_KIND_SOFTWARE,
			  info.out_kind);
	}
	test_cmd_range_add(fd, BASE, SIZE);
	test_cmd_start(fd, SZ_4K);
	for (i = 0; i < 10; i++) {
		write_some(0, 20);
		write_some(1, 10);
		model_read(&self->model, .fd = fd, .who = MODEL_ALL,
			   .iova = BASE, .length = SIZE, .page_size = SZ_4K);
	}
	write_some(0, 20);
	for (i = 0; i < DEVICES; i++)
		mig_set_state(self->dev[i], STOP);
	model_read(&self->model, .fd = fd, .who = MODEL_ALL,
		   .flags = IOMMUFD_DIRTY_READ_FINAL, .iova = BASE,
		   .length = SIZE, .page_size = SZ_4K);
	close(fd);
}

TEST_HARNESS_MAIN
