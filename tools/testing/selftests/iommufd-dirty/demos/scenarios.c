// SPDX-License-Identifier: GPL-2.0
/*
 * What a VMM has to do with: devices of which one logs its DMA, one is emulated
 * by the kernel, one is behind an IOMMU that tracks, and one has none of that.
 */
#include "emulated.h"
#include "quirks.h"
#include "testdev.h"

#define BASE MEMBERS_BASE
#define SIZE MEMBERS_SIZE

/* Bits of the model's cells: who wrote. That of an HWPT is the first member's. */
#define LOGS 0x4000
#define IOMMU 0x1

/**
 * struct vm - An I/O address space with memory, and a context for it
 * @logs: A device that logs its DMA
 * @emulated: One whose writes the kernel makes
 */
struct vm {
	struct members members;
	struct emulated emulated;
	int logs;
	__u32 logs_id;
	__u64 seed;
};

static void __vm_open(struct __test_metadata *_metadata, struct vm *vm,
		      unsigned int n)
{
	struct members_variant none = {};

	members_open(_metadata, &vm->members, &none);
	members_open_iommu(_metadata, &vm->members, false);
	emulated_open(&vm->emulated, n, vm->members.iommu, vm->members.ioas_id);
	vm->logs = quirks_open(vm->members.iommu, vm->members.ioas_id, n);
	ASSERT_NE(-1, vm->logs);
	vm->seed = 0x5eed + n;
}

#define vm_open(...) __vm_open(_metadata, __VA_ARGS__)

static void vm_close(struct vm *vm)
{
	close(vm->logs);
	close(vm->emulated.fd);
	members_close(&vm->members);
}

#define bind_logs(vm)                                                     \
	test_vfio_dirty_bind((vm)->logs, (vm)->members.fd, POLICY_FAIL,   \
			     &(vm)->logs_id)
#define bind_emulated(vm)                                                    \
	test_vfio_dirty_bind((vm)->emulated.fd, (vm)->members.fd, POLICY_FAIL, \
			     &(vm)->emulated.id)

static __u64 some_page(struct vm *vm)
{
	return BASE + next_random(&vm->seed) % (SIZE / SZ_4K) * SZ_4K;
}

#define logs_writes(vm, iova)                                           \
	({                                                              \
		__u64 __iova = (iova);                                  \
									\
		quirks_dirty((vm)->logs, __iova, SZ_4K);                \
		model_write(&(vm)->members.model, LOGS, __iova, SZ_4K,  \
			    SZ_4K);                                     \
	})

#define emulated_writes(vm, iova) \
	emulated_write(&(vm)->members.model, &(vm)->emulated, iova, SZ_4K)

/* One system call, of all trackers or one; exactly what those wrote. */
#define read_of(vm, id, whose)                                            \
	model_read(&(vm)->members.model, .fd = (vm)->members.fd,          \
		   .tracker_id = id, .who = whose, .iova = BASE,          \
		   .length = SIZE, .page_size = SZ_4K)

FIXTURE(scenario)
{
	struct vm vm;
};

FIXTURE_SETUP(scenario)
{
	if (!have_emulated())
		SKIP(return, NO_TRACKER);
	ASSERT_EQ(0, load_emulated(""));
	ASSERT_EQ(0, system("modprobe " QUIRKS_NAME));
	vm_open(&self->vm, 0);
}

FIXTURE_TEARDOWN(scenario)
{
	vm_close(&self->vm);
}

TEST_F(scenario, a_device_that_logs_and_an_emulated_one)
{
	struct vm *vm = &self->vm;
	unsigned int round, i;

	bind_logs(vm);
	bind_emulated(vm);
	test_cmd_start(vm->members.fd, SZ_4K);
	for (round = 0; round < 20; round++) {
		for (i = 0; i < 50; i++) {
			logs_writes(vm, some_page(vm));
			emulated_writes(vm, some_page(vm));
		}
		EXPECT_EQ(0, read_of(vm, 0, MODEL_ALL));
		EXPECT_EQ(0, read_of(vm, 0, MODEL_ALL));
	}
	logs_writes(vm, BASE);
	emulated_writes(vm, BASE + SZ_4K);
	read_of(vm, vm->logs_id, LOGS);
	read_of(vm, vm->emulated.id, vm->emulated.who);
	read_of(vm, 0, MODEL_ALL);
}

TEST_F(scenario, b_only_a_device_that_logs)
{
	struct vm *vm = &self->vm;
	struct iommufd_dirty_stats stats;
	unsigned int round, i;

	bind_logs(vm);
	test_cmd_start(vm->members.fd, SZ_4K);
	for (round = 0; round < 20; round++) {
		for (i = 0; i < 50; i++)
			logs_writes(vm, some_page(vm));
		read_of(vm, 0, MODEL_ALL);
		test_cmd_stats(vm->members.fd, 0, &stats);
		EXPECT_EQ(0, stats.out_bitmap_bytes);
		EXPECT_EQ(0, stats.out_residual_memory);
		EXPECT_EQ(round + 1, stats.out_reads);
	}
}

/* A device with a real DMA engine, behind an IOMMU that is not asked to track. */
static int untracked_open(struct __test_metadata *_metadata, struct vm *vm,
			  __u8 **bar)
{
	int device = testdev_open(0);

	if (device == -1)
		SKIP(return -1, NO_TESTDEV);
	ASSERT_EQ(0, _vfio_bind_iommufd(device, vm->members.iommu, NULL));
	ASSERT_EQ(0, _vfio_attach(device, vm->members.ioas_id));
	ASSERT_EQ(0, _vfio_enable_dma(device));
	*bar = testdev_map(device);
	ASSERT_NE(MAP_FAILED, *bar);
	EXPECT_ERRNO(ENOTTY, _vfio_dirty_probe(device));
	test_err_vfio_dirty_bind(ENOTTY, device, vm->members.fd, POLICY_FAIL);
	return device;
}

TEST_F(scenario, c_a_device_that_logs_and_one_that_cannot)
{
	struct vm *vm = &self->vm;
	unsigned int i;
	__u8 *bar;
	int device;

	device = untracked_open(_metadata, vm, &bar);
	if (device == -1)
		return;
	bind_logs(vm);
	test_cmd_start(vm->members.fd, SZ_4K);
	for (i = 0; i < 100; i++) {
		logs_writes(vm, some_page(vm));
		ASSERT_EQ(0, testdev_fire(bar, some_page(vm), 64));
	}
	/* What it wrote is not told by anybody, and nothing else is, either. */
	EXPECT_EQ(0, read_of(vm, 0, MODEL_ALL));
	close(device);
}

TEST_F(scenario, d_what_cannot_track_is_all_dirty_on_request)
{
	struct vm *vm = &self->vm;
	unsigned int round;
	__u32 status;
	__u8 *bar;
	int device;

	device = untracked_open(_metadata, vm, &bar);
	if (device == -1)
		return;
	bind_logs(vm);
	test_cmd_bind_untracked(vm->members.fd,
				IOMMUFD_DIRTY_POLICY_ALL_DIRTY, NULL);
	test_cmd_start(vm->members.fd, SZ_4K);
	for (round = 0; round < 3; round++) {
		logs_writes(vm, some_page(vm));
		ASSERT_EQ(0, testdev_fire(bar, some_page(vm), 64));
		model_write(&vm->members.model, MODEL_ALL, BASE, SIZE, SZ_4K);
		status = read_of(vm, 0, MODEL_ALL);
		EXPECT_EQ(IOMMUFD_DIRTY_STATUS_ALL_DIRTY, status);
	}
	close(device);
}

TEST_F(scenario, e_two_contexts_for_two_address_spaces)
{
	struct vm *vm = &self->vm, other = {};
	unsigned int i;

	vm_open(&other, 1);
	bind_logs(vm);
	test_err_vfio_dirty_bind(EXDEV, other.emulated.fd, vm->members.fd,
				 POLICY_FAIL);
	bind_emulated(vm);
	bind_logs(&other);
	bind_emulated(&other);
	test_cmd_start(vm->members.fd, SZ_4K);
	test_cmd_start(other.members.fd, SZ_4K);
	for (i = 0; i < 50; i++) {
		logs_writes(vm, some_page(vm));
		emulated_writes(vm, some_page(vm));
		logs_writes(&other, some_page(&other));
		emulated_writes(&other, some_page(&other));
	}
	read_of(vm, 0, MODEL_ALL);
	test_cmd_stop(vm->members.fd);
	read_of(&other, 0, MODEL_ALL);
	vm_close(&other);
}

/* A device with a log of its own, behind an IOMMU that tracks. */
FIXTURE(own_log_and_iommu)
{
	struct vm vm;
};

FIXTURE_VARIANT(own_log_and_iommu)
{
	bool log;
	bool iommu;
};

FIXTURE_VARIANT_ADD(own_log_and_iommu, f_log) { .log = true };
FIXTURE_VARIANT_ADD(own_log_and_iommu, f_iommu) { .iommu = true };
FIXTURE_VARIANT_ADD(own_log_and_iommu, f_both) { .log = true, .iommu = true };

FIXTURE_SETUP(own_log_and_iommu)
{
	struct vm *vm = &self->vm;

	if (!have_emulated())
		SKIP(return, NO_TRACKER);
	ASSERT_EQ(0, load_emulated(""));
	ASSERT_EQ(0, system("modprobe " QUIRKS_NAME));
	vm_open(vm, 0);
	if (variant->log)
		bind_logs(vm);
	if (variant->iommu)
		members_add_hwpt(_metadata, &vm->members, false);
	test_cmd_start(vm->members.fd, SZ_4K);
}

FIXTURE_TEARDOWN(own_log_and_iommu)
{
	vm_close(&self->vm);
}

TEST_F(own_log_and_iommu, each_that_is_bound_tells_it_all)
{
	struct vm *vm = &self->vm;
	unsigned int round, i;
	__u64 iova;

	for (round = 0; round < 20; round++) {
		for (i = 0; i < 50; i++) {
			iova = some_page(vm);
			/* The device logs it, and so does the IOMMU. */
			if (variant->log)
				logs_writes(vm, iova);
			if (variant->iommu)
				member_write(&vm->members, 0, iova, SZ_4K);
		}
		if (round % 2) {
			read_of(vm, 0, MODEL_ALL);
			continue;
		}
		if (variant->log)
			read_of(vm, vm->logs_id, LOGS);
		if (variant->iommu)
			read_of(vm, vm->members.member[0].id, IOMMU);
	}
	EXPECT_EQ(0, read_of(vm, 0, MODEL_ALL));
}

TEST_HARNESS_MAIN
