// SPDX-License-Identifier: GPL-2.0
/*
 * Binding, starting, reading and stopping a function of mlx5-model with each of their
 * allocations and user copies failing in turn.
 */
#include <sched.h>

#include "fail_nth.h"
#include "mlx5_faults.h"

FIXTURE(fail_nth)
{
	struct faulty faulty;
	int nth_fd;
};

FIXTURE_VARIANT(fail_nth)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(fail_nth, log)
{
	.way = WAY_LOG,
};

FIXTURE_VARIANT_ADD(fail_nth, context)
{
	.way = WAY_CONTEXT,
};

/* What can fail is not the same on each CPU, see first_start_on_a_cpu. */
static void stay_on(struct __test_metadata *_metadata, unsigned int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(cpus), &cpus));
}

FIXTURE_SETUP(fail_nth)
{
	char path[64];

	if (!have_fault_injection())
		SKIP(return, "fault injection is not enabled in the kernel");
	stay_on(_metadata, 0);
	test_faulty_open(&self->faulty, variant->way);
	snprintf(path, sizeof(path), "/proc/self/task/%u/fail-nth", getpid());
	self->nth_fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, self->nth_fd);
}

FIXTURE_TEARDOWN(fail_nth)
{
	faulty_close(&self->faulty);
	close(self->nth_fd);
}

/*
 * @op with the n-th fault. Returns whether there was one: an operation that has fewer
 * is through.
 */
static bool fail(struct __test_metadata *_metadata, struct faulty *faulty, int nth_fd,
		 unsigned int n, step_fn op, int *err)
{
	bool was;

	arm(_metadata, nth_fd, n);
	*err = op(faulty);
	was = fired(_metadata, nth_fd);
	if (*err) {
		ASSERT_TRUE(was && (*err == -ENOMEM || *err == -EFAULT || *err == -EIO ||
				    *err == -ENOENT))
		{
			TH_LOG("fault %u: %s", n, strerror(-*err));
		}
	}
	return was;
}

/*
 * The first START on a CPU makes the interrupt and the event queue that all others there
 * use: mlx5_core does so when it is asked for them. Without memory the interrupts' code
 * answers ENOSPC, which is not to be taken for a firmware without a tracker to spare.
 *
 * A START makes them also if a fault did no harm: then it is too late. So on the CPU that
 * has them this looks for the last harmless one before the completion queue, whose files
 * in debugfs are many in a row, and goes on from there on a CPU that has none.
 */
TEST_F_TIMEOUT(fail_nth, first_start_on_a_cpu, 600)
{
	struct faulty *faulty = &self->faulty;
	unsigned int n = 0, harmless = 0, last = 0, tried = 0;
	int err;

	ASSERT_EQ(0, op_start(faulty));
	ASSERT_EQ(0, op_stop(faulty));
	while (harmless < 8) {
		ASSERT_GT(1000, ++n);
		ASSERT_TRUE(fail(_metadata, faulty, self->nth_fd, n, op_start, &err));
		if (err && harmless)
			last = n - 1;
		harmless = err ? 0 : harmless + 1;
		if (!err)
			ASSERT_EQ(0, op_stop(faulty));
	}

	stay_on(_metadata, 1);
	n = last;
	do {
		ASSERT_TRUE(fail(_metadata, faulty, self->nth_fd, ++n, op_start, &err));
		EXPECT_EQ(0, err ? new_trackers(faulty) : 0);
		tried++;
	} while (err);
	TH_LOG("%u faults, from the %u-th", tried, n - tried + 1);
	ASSERT_EQ(0, op_stop(faulty));
	ASSERT_EQ(NULL, is_well(_metadata, faulty));
}

/*
 * Nothing of a START that failed is left, and the next one works. Most of what it
 * allocates is the pages of the buffers, one like the other: of what is neither among
 * the first nor among the last, one of some fails.
 */
TEST_F_TIMEOUT(fail_nth, start, 1200)
{
	const unsigned int first = 48, last = 48, some = 31;
	struct faulty *faulty = &self->faulty;
	bool more, all = false;
	unsigned int n = 0;
	const char *wrong;
	int err;

	for (;;) {
		n += all || n < first ? 1 : some;
		ASSERT_GT(4000, n);
		more = fail(_metadata, faulty, self->nth_fd, n, op_start, &err);
		if (err) {
			EXPECT_EQ(0, new_trackers(faulty));
			continue;
		}
		ASSERT_EQ(0, write_mark(faulty));
		memset(faulty->bitmap, 0, BYTES);
		ASSERT_EQ(0, op_read(faulty));
		EXPECT_EQ(3, marks_in(faulty->bitmap));
		EXPECT_EQ(3, dirty_in(faulty->bitmap));
		ASSERT_EQ(0, op_stop(faulty));
		if (more)
			continue;
		if (all)
			break;
		all = true;
		n = n > some + last ? n - some - last : 0;
	}
	TH_LOG("%u faults", n - 1);
	EXPECT_LT(10, n);
	wrong = is_well(_metadata, faulty);
	ASSERT_EQ(NULL, wrong);
}

/* What a READ that failed did not tell, the next one does; or none can. */
TEST_F_TIMEOUT(fail_nth, read, 1200)
{
	struct faulty *faulty = &self->faulty;
	unsigned int n = 0;
	bool more;
	int err;

	ASSERT_EQ(0, op_start(faulty));
	do {
		ASSERT_GT(1000, ++n);
		memset(faulty->bitmap, 0, BYTES);
		ASSERT_EQ(0, write_mark(faulty));
		more = fail(_metadata, faulty, self->nth_fd, n, op_read, &err);
		if (err && op_read(faulty)) {
			/* So it is for VFIO, and for a tracker that is lost. */
			EXPECT_TRUE(variant->way == WAY_LOG || is_lost(faulty));
			ASSERT_EQ(0, op_stop(faulty));
			ASSERT_EQ(0, op_start(faulty));
			continue;
		}
		if (err && variant->way == WAY_LOG)
			continue;
		EXPECT_EQ(3, marks_in(faulty->bitmap))
		{
			TH_LOG("fault %u", n);
		}
	} while (more);
	TH_LOG("%u faults", n - 1);
	EXPECT_LT(1, n);
	ASSERT_EQ(0, op_stop(faulty));
}

TEST_F_TIMEOUT(fail_nth, stop, 1200)
{
	struct faulty *faulty = &self->faulty;
	unsigned int n = 0;
	bool more;
	int err;

	do {
		ASSERT_GT(1000, ++n);
		ASSERT_EQ(0, op_start(faulty));
		more = fail(_metadata, faulty, self->nth_fd, n, op_stop, &err);
		/* VFIO's may not have reached the driver. */
		if (err)
			op_stop(faulty);
		EXPECT_GE(1, new_trackers(faulty));
		faulty->left += new_trackers(faulty);
	} while (more);
	ASSERT_EQ(NULL, is_well(_metadata, faulty));
}

static int op_bind(struct faulty *faulty)
{
	struct tracking *tracking = &faulty->tracking;

	return _vfio_dirty_bind(tracking->device, tracking->fd, POLICY_FAIL, &tracking->id) ?
		       -errno : 0;
}

TEST_F_TIMEOUT(fail_nth, bind, 1200)
{
	struct faulty *faulty = &self->faulty;
	unsigned int n = 0;
	bool more;
	int err;

	if (variant->way == WAY_LOG)
		SKIP(return, "nothing is bound");
	do {
		__u32 ids[4], nr = ARRAY_SIZE(ids);

		ASSERT_GT(1000, ++n);
		/* The copy of the id may have failed after the rest. */
		test_cmd_list(faulty->tracking.fd, ids, &nr);
		ASSERT_GE(1, nr);
		if (nr)
			test_cmd_unbind(faulty->tracking.fd, ids[0], 0);
		more = fail(_metadata, faulty, self->nth_fd, n, op_bind, &err);
	} while (more);
	EXPECT_LT(2, n);
	ASSERT_EQ(NULL, is_well(_metadata, faulty));
}

/* All of it, from the open of the device on. */
TEST_F_TIMEOUT(fail_nth, open, 1200)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	struct faulty *faulty = &self->faulty;
	unsigned int n = 0;
	bool more;
	int ret;

	tracking_close(&faulty->tracking);
	vf_close(&faulty->vf);
	do {
		int device, iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);

		ASSERT_GT(1000, ++n);
		ASSERT_NE(-1, iommu);
		device = vfio_driver_open(vf_driver(), 0);
		ASSERT_NE(-1, device);
		bind.iommufd = iommu;
		arm(_metadata, self->nth_fd, n);
		ret = ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind);
		more = fired(_metadata, self->nth_fd);
		EXPECT_TRUE(!ret || more);
		close(device);
		close(iommu);
	} while (more);
	EXPECT_LT(2, n);
	vf_open(_metadata, &faulty->vf, 0);
	ASSERT_EQ(0, tracking_open(&faulty->tracking, variant->way, &faulty->vf, POLICY_FAIL));
	ASSERT_EQ(NULL, is_well(_metadata, faulty));
}

TEST_HARNESS_MAIN
