// SPDX-License-Identifier: GPL-2.0
/*
 * A virtual function of mlx5-model as a tracker of a context: its limits, page sizes,
 * ranges, and how it comes and goes.
 */
#include "cgroup.h"
#include "mlx5_tracker.h"

/* Types of general objects. */
#define PAGE_TRACK 0x46
#define OTHER_OBJECT 0x22

/* What the model has, unless it is told otherwise. */
#define MIN_SPAN SZ_4K
#define MAX_SPAN (4096 * SZ_1G)
#define PGSIZES (2 * SZ_2M - SZ_4K)

static __u64 firmware_commands(struct __test_metadata *_metadata, int control_fd)
{
	char *answer = control(control_fd, "count");
	__u64 commands;

	ASSERT_NE(NULL, answer);
	ASSERT_EQ(1, sscanf(answer, "ok commands=%llx", &commands));
	free(answer);
	return commands;
}

TEST_F(tracker, says_what_it_can)
{
	struct iommufd_dirty_tracker_info info;

	EXPECT_EQ(0, _vfio_dirty_probe(self->vf.device));
	test_cmd_tracker_info(self->fd, self->id, &info);
	EXPECT_EQ(IOMMUFD_DIRTY_KIND_DEVICE, info.out_kind);
	EXPECT_EQ(IOMMUFD_DIRTY_STATE_STOPPED, info.out_state);
	EXPECT_NE('\0', info.out_name[0]);
	test_err_vfio_dirty_bind(EBUSY, self->vf.device, self->fd, POLICY_FAIL);
	if (!is_our_driver())
		SKIP(return, NOT_OURS);
	/* A report forgets what it tells: there is no peek. */
	EXPECT_EQ(IOMMUFD_DIRTY_CAP_WAITS | IOMMUFD_DIRTY_CAP_UPDATE_RANGES, info.out_caps);
	EXPECT_EQ(PGSIZES, info.out_pgsizes);
	EXPECT_EQ(MAX_RANGES, info.out_max_ranges);
	EXPECT_EQ(MIN_SPAN, info.out_min_span);
	EXPECT_EQ(MAX_SPAN, info.out_max_span);
}

/* Each granule, and page sizes of READ that are coarser and finer. */
TEST_F(tracker, every_page_size)
{
	__u64 granule, page_size, from, length;
	struct iommufd_dirty_tracker_info info;

	test_cmd_range_add(self->fd, IOVA, SIZE);
	for (granule = SZ_4K; granule <= SZ_2M; granule *= 2) {
		test_cmd_start(self->fd, granule);
		test_cmd_tracker_info(self->fd, self->id, &info);
		ASSERT_EQ(granule, info.out_granule);
		for (page_size = SZ_4K; page_size <= 8 * SZ_2M; page_size *= 4) {
			write_some(4, granule);
			from = next_random(&self->seed) % (SIZE / SZ_4K);
			length = 1 + next_random(&self->seed) % (SIZE / SZ_4K - from);
			read_part(IOVA + from * SZ_4K, length * SZ_4K, page_size);
			read_part(IOVA, SIZE, page_size);
		}
		read_all();
		test_cmd_stop(self->fd);
	}
	/* The coarsest that it has and that is not coarser than what is asked for. */
	test_cmd_start(self->fd, SZ_1G);
	test_cmd_tracker_info(self->fd, self->id, &info);
	EXPECT_EQ(is_our_driver() ? SZ_2M : SZ_1G, info.out_granule);
	write_some(4, SZ_2M);
	read_all();
}

TEST_F(tracker, reads_share_a_granule)
{
	unsigned int i;

	test_cmd_range_add(self->fd, IOVA, SIZE);
	test_cmd_start(self->fd, SZ_2M);
	dma_write(&self->vf, &self->model, 1, IOVA + SZ_2M + 5 * SZ_4K, 4, SZ_2M);
	/* The rest is neither lost nor told again. */
	for (i = 0; i < 8; i++)
		read_part(IOVA + SZ_2M + i * SZ_64K, SZ_64K, SZ_4K);
	dma_write(&self->vf, &self->model, 1, IOVA + SZ_2M, 4, SZ_2M);
	read_part(IOVA + SZ_2M + 4 * SZ_64K, 20 * SZ_64K, SZ_4K);
	read_all();
	read_all();
}

/* What the function writes between the ranges is not asked for. */
TEST_F(tracker, as_many_ranges_as_you_like)
{
	static const unsigned int counts[] = { 1, 2, MAX_RANGES - 1, MAX_RANGES, MAX_RANGES + 1,
					       3 * MAX_RANGES, 512 };
	struct iommufd_dirty_start_result result[1];
	struct iommufd_dirty_range ranges[512];
	unsigned int i, n;
	__u64 granule;

	for (n = 0; n < ARRAY_SIZE(counts); n++) {
		scatter(ranges, counts[n], SIZE / 512);
		test_cmd_ranges(self->fd, 0, ranges, counts[n]);
		ASSERT_EQ(0, start_results(self->fd, 0, SZ_4K, result, &granule));
		EXPECT_EQ(SZ_4K, granule);
		if (is_our_driver()) {
			EXPECT_EQ(counts[n] < MAX_RANGES ? counts[n] : MAX_RANGES,
				  result[0].nr_ranges);
		}
		ASSERT_EQ(0, engine_storm(self->vf.engine, IOVA, SIZE, 1000, counts[n]));
		ASSERT_EQ(0, engine_fill(self->vf.engine, IOVA, SZ_1M));
		for (i = 0; i < counts[n]; i++) {
			dma_write(&self->vf, &self->model, 1, ranges[i].iova, 1, SZ_4K);
			dma_write(&self->vf, &self->model, 1,
				  ranges[i].iova + ranges[i].length - 1, 1, SZ_4K);
		}
		/* The memory tells the rest. */
		for (i = 0; i < SIZE / SZ_4K; i++) {
			static const __u8 clean[SZ_4K];
			__u8 *page = self->vf.memory + i * SZ_4K;

			if (memcmp(page, clean, SZ_4K)) {
				model_write(&self->model, 1, IOVA + i * SZ_4K, 1, SZ_4K);
				memset(page, 0, SZ_4K);
			}
		}
		for (i = 0; i < counts[n]; i++)
			read_part(ranges[i].iova, ranges[i].length, SZ_4K);
		model_clean(&self->model, MODEL_ALL, IOVA, SIZE);
		read_all();
		test_cmd_stop(self->fd);
		test_cmd_ranges(self->fd, IOMMUFD_DIRTY_RANGES_REMOVE, ranges, counts[n]);
	}
}

/*
 * A driver that can change its ranges reports nothing but what was written and what
 * was added; another one is started anew when there are more, and all is dirty once.
 */
TEST_F(tracker, ranges_come_and_go)
{
	bool exact = is_our_driver();
	unsigned int i;

	test_cmd_range_add(self->fd, IOVA, SIZE / 2);
	test_cmd_start(self->fd, SZ_64K);
	for (i = 0; i < 20; i++) {
		__u64 at = IOVA + SIZE / 2 + i * SZ_64K;

		dma_write(&self->vf, &self->model, 1, IOVA + i * SZ_1M / 2, SZ_4K, SZ_64K);
		/* Not tracked yet. */
		ASSERT_EQ(0, engine_fill(self->vf.engine, at, SZ_4K));
		test_cmd_range_add(self->fd, at, SZ_64K);
		model_write(&self->model, 1, at, SZ_64K, SZ_64K);
		if (!exact)
			model_write(&self->model, 1, IOVA, SIZE / 2 + i * SZ_64K, SZ_64K);
		dma_write(&self->vf, &self->model, 1, IOVA + i * SZ_64K, SZ_4K, SZ_64K);
		dma_write(&self->vf, &self->model, 1, at, SZ_4K, SZ_64K);
		/* Sometimes the next change comes before the read. */
		if (i % 3 == 0)
			read_part(IOVA, SIZE / 2, SZ_4K);
		if (i % 3 == 1)
			read_all();
	}
	for (i = 0; i < 20; i++) {
		__u64 at = IOVA + SIZE / 2 + i * SZ_64K;

		dma_write(&self->vf, &self->model, 1, IOVA + i * SZ_1M / 2, SZ_4K, SZ_64K);
		dma_write(&self->vf, &self->model, 1, at, SZ_4K, SZ_64K);
		test_cmd_range_remove(self->fd, at, SZ_64K);
		model_clean(&self->model, MODEL_ALL, IOVA + SIZE / 2, (i + 1) * SZ_64K);
		if (i % 4 == 0)
			read_all();
	}
	read_all();
	read_all();
	EXPECT_EQ(1, trackers());
	test_cmd_stop(self->fd);
	EXPECT_EQ(0, trackers());
}

TEST_F(tracker, ranges_assumed_clean)
{
	test_cmd_range_add(self->fd, IOVA, SZ_2M);
	test_cmd_start(self->fd, SZ_4K);
	if (!is_our_driver())
		SKIP(return, NOT_OURS);
	dma_write(&self->vf, &self->model, 1, IOVA + SZ_4K, SZ_4K, SZ_4K);
	ASSERT_EQ(0, _test_cmd_range(self->fd, IOMMUFD_DIRTY_RANGES_ASSUME_CLEAN,
				     IOVA + SZ_2M, SZ_2M));
	dma_write(&self->vf, &self->model, 1, IOVA + SZ_2M + SZ_4K, SZ_4K, SZ_4K);
	read_part(IOVA, 2 * SZ_2M, SZ_4K);
	read_part(IOVA, 2 * SZ_2M, SZ_4K);
}

/* The dry run knows. */
TEST_F(tracker, too_large_a_span)
{
	struct iommufd_dirty_start_result result[1];
	__u64 granule;

	if (!is_our_driver())
		SKIP(return, NOT_OURS);
	test_cmd_range_add(self->fd, 0, MAX_SPAN);
	ASSERT_EQ(0, start_results(self->fd, IOMMUFD_DIRTY_START_DRY_RUN, SZ_4K, result,
				   &granule));
	EXPECT_EQ(0, trackers());
	test_cmd_start(self->fd, SZ_4K);
	write_some(8, SZ_4K);
	read_all();
	test_cmd_stop(self->fd);

	test_cmd_range_add(self->fd, MAX_SPAN + SZ_1G, SZ_4K);
	EXPECT_ERRNO(EDOM, start_results(self->fd, IOMMUFD_DIRTY_START_DRY_RUN, SZ_4K, result,
					 &granule));
	EXPECT_EQ(-EDOM, result[0].error);
	EXPECT_ERRNO(EDOM, start_results(self->fd, 0, SZ_4K, result, &granule));
	EXPECT_EQ(0, trackers());
	/* While tracking: what was tracked still is. */
	test_cmd_range_remove(self->fd, MAX_SPAN + SZ_1G, SZ_4K);
	test_cmd_start(self->fd, SZ_4K);
	test_err_range(EDOM, self->fd, 0, MAX_SPAN + SZ_1G, SZ_4K);
	dma_write(&self->vf, &self->model, 1, IOVA, SIZE, SZ_4K);
	read_all();
}

/* What it writes then is of another address space, or of none. */
TEST_F(tracker, moves_to_another_address_space)
{
	struct vfio_device_detach_iommufd_pt detach = { .argsz = sizeof(detach) };
	__u8 bits[SIZE / SZ_4K / 8] = {};
	__u32 other;

	if (!is_our_driver())
		SKIP(return, NOT_OURS);
	test_cmd_range_add(self->fd, IOVA, SIZE);
	test_cmd_start(self->fd, SZ_4K);
	write_some(8, SZ_4K);
	read_all();
	ASSERT_EQ(0, ioctl(self->vf.device, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach));
	test_err_read(EXDEV, self->fd, 0, 0, IOVA, SIZE, SZ_4K, bits);
	ASSERT_EQ(0, _iommu_ioas_alloc(self->vf.iommu, &other));
	ASSERT_EQ(0, _vfio_attach(self->vf.device, other));
	test_err_read(EXDEV, self->fd, 0, 0, IOVA, SIZE, SZ_4K, bits);
	test_cmd_stop(self->fd);
	EXPECT_ERRNO(EXDEV, _test_cmd_start(self->fd, 0, SZ_4K));
	EXPECT_EQ(0, trackers());

	/* Bound anew it is one of the space that it is in now. */
	test_cmd_unbind(self->fd, self->id, 0);
	ASSERT_EQ(0, ioctl(self->vf.device, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach));
	test_err_vfio_dirty_bind(EXDEV, self->vf.device, self->fd, POLICY_FAIL);
	ASSERT_EQ(0, _vfio_attach(self->vf.device, other));
	test_vfio_dirty_bind(self->vf.device, self->fd, POLICY_FAIL, &self->id);
	test_cmd_start(self->fd, SZ_4K);
	test_cmd_read(self->fd, 0, 0, IOVA, SIZE, SZ_4K, bits, NULL, NULL);
}

/* An object of another type has the tracker's number: its event is no reason to ask. */
TEST_F(tracker, events_of_other_objects)
{
	unsigned int i;
	__u64 before, after;

	if (!is_our_driver())
		SKIP(return, NOT_OURS);
	test_cmd_range_add(self->fd, IOVA, SIZE);
	test_cmd_start(self->fd, SZ_4K);
	for (i = 0; i < 2; i++) {
		before = firmware_commands(_metadata, self->control);
		ASSERT_TRUE(control_do(self->control, "object-event %x 1",
				       i ? PAGE_TRACK : OTHER_OBJECT));
		usleep(500000);
		after = firmware_commands(_metadata, self->control);
		EXPECT_EQ(i != 0, after != before);
	}
	read_all();
}

/* The buffers for its reports are charged to whoever started it. */
TEST_F(tracker, buffers_are_charged)
{
	long long before, after;

	if (!is_our_driver())
		SKIP(return, NOT_OURS);
	if (enter_cgroup())
		SKIP(return, "no memory cgroup: %s", strerror(errno));
	tracking_close(&self->tracking);
	ASSERT_EQ(0, tracking_open(&self->tracking, WAY_CONTEXT, &self->vf, POLICY_FAIL));
	self->fd = self->tracking.fd;
	test_cmd_range_add(self->fd, IOVA, SIZE);
	before = cgroup_value("memory.current");
	test_cmd_start(self->fd, SZ_4K);
	after = cgroup_value("memory.current");
	EXPECT_LE(SZ_2M, after - before);
	write_some(100, SZ_4K);
	read_all();
	test_cmd_stop(self->fd);
	EXPECT_GT(SZ_1M, cgroup_value("memory.current") - before);
}

TEST_F(tracker, holds_no_bitmap)
{
	struct iommufd_dirty_stats stats;
	unsigned int i;

	test_cmd_range_add(self->fd, IOVA, SIZE);
	test_cmd_start(self->fd, SZ_4K);
	write_some(100, SZ_4K);
	for (i = 0; i < 2; i++) {
		test_cmd_stats(self->fd, i ? self->id : 0, &stats);
		EXPECT_EQ(0, stats.out_bitmap_bytes);
		EXPECT_EQ(0, stats.out_residual_bytes);
	}
	read_all();
	test_cmd_stats(self->fd, self->id, &stats);
	EXPECT_EQ(0, stats.out_bitmap_bytes);
	EXPECT_EQ(0, stats.out_residual_bytes);
	EXPECT_EQ(0, stats.out_overreported);
	EXPECT_EQ(0, stats.out_errors);
	EXPECT_LT(0, stats.out_reads);
	EXPECT_LT(0, stats.out_extents);
}

TEST_F(tracker, read_without_clearing)
{
	test_cmd_range_add(self->fd, IOVA, SIZE);
	test_cmd_start(self->fd, SZ_4K);
	write_some(10, SZ_4K);
	model_read(&self->model, .fd = self->fd, .who = MODEL_ALL, .iova = IOVA, .length = SIZE,
		   .page_size = SZ_4K, .flags = IOMMUFD_DIRTY_READ_NO_CLEAR);
	write_some(10, SZ_4K);
	model_read(&self->model, .fd = self->fd, .who = MODEL_ALL, .iova = IOVA + SZ_2M,
		   .length = SIZE / 2, .page_size = SZ_4K, .flags = IOMMUFD_DIRTY_READ_NO_CLEAR);
	read_all();
	read_all();
}

TEST_F(tracker, harvest_clear_and_final)
{
	__u8 bits[SZ_2M / SZ_4K / 8];

	memset(bits, 0xff, sizeof(bits));
	test_cmd_range_add(self->fd, IOVA, SIZE);
	test_cmd_start(self->fd, SZ_64K);
	write_some(10, SZ_64K);
	test_cmd_harvest(self->fd, self->id, IOVA + SZ_4K, SIZE / 2, NULL);
	write_some(10, SZ_64K);
	test_cmd_clear(self->fd, 0, IOVA + SZ_2M, SZ_2M, SZ_4K, bits, 0);
	model_clean(&self->model, MODEL_ALL, IOVA + SZ_2M, SZ_2M);
	write_some(10, SZ_64K);
	model_read(&self->model, .fd = self->fd, .who = MODEL_ALL, .iova = IOVA, .length = SIZE,
		   .page_size = SZ_4K, .flags = IOMMUFD_DIRTY_READ_FINAL);
	test_cmd_stop(self->fd);
}

TEST_F(tracker, leaves_and_its_dirt_stays)
{
	__u32 id;

	/* Somebody has to be there. */
	test_cmd_bind_untracked(self->fd, POLICY_IGNORE, &id);
	test_cmd_range_add(self->fd, IOVA, SIZE);
	test_cmd_start(self->fd, SZ_4K);
	write_some(10, SZ_4K);
	test_cmd_unbind(self->fd, self->id, IOMMUFD_DIRTY_UNBIND_KEEP);
	EXPECT_EQ(0, trackers());
	read_all();
	/* It is nobody's now. */
	ASSERT_EQ(0, engine_fill(self->vf.engine, IOVA, SZ_2M));
	read_all();
	test_cmd_stop(self->fd);
	test_vfio_dirty_bind(self->vf.device, self->fd, POLICY_FAIL, &self->id);
	test_cmd_start(self->fd, SZ_4K);
	write_some(10, SZ_4K);
	read_all();
}

/* VFIO's own logging and a context cannot have it both. */
TEST_F(tracker, one_way_at_a_time)
{
	static __u8 bits[SIZE / SZ_4K / 8];
	struct iommufd_dirty_start_result result[1];
	__u64 granule, page_size = SZ_4K;

	test_cmd_range_add(self->fd, IOVA, SIZE);
	test_cmd_start(self->fd, SZ_4K);
	write_some(10, SZ_4K);
	EXPECT_ERRNO(EBUSY, _vfio_log_start(self->vf.device, IOVA, SIZE, &page_size));
	EXPECT_ERRNO(EBUSY, _vfio_log_report(self->vf.device, IOVA, SIZE, SZ_4K, bits));
	EXPECT_ERRNO(EBUSY, _vfio_log_stop(self->vf.device));
	read_all();
	test_cmd_stop(self->fd);

	ASSERT_EQ(0, _vfio_log_start(self->vf.device, IOVA, SIZE, &page_size));
	EXPECT_ERRNO(EBUSY, start_results(self->fd, IOMMUFD_DIRTY_START_DRY_RUN, SZ_4K, result,
					  &granule));
	EXPECT_ERRNO(EBUSY, start_results(self->fd, 0, SZ_4K, result, &granule));
	EXPECT_EQ(-EBUSY, result[0].error);
	test_cmd_unbind(self->fd, self->id, 0);
	test_err_vfio_dirty_bind(EBUSY, self->vf.device, self->fd, POLICY_FAIL);
	ASSERT_EQ(0, engine_fill(self->vf.engine, IOVA, 4));
	ASSERT_EQ(0, _vfio_log_report(self->vf.device, IOVA, SIZE, SZ_4K, bits));
	EXPECT_EQ(1, bits[0]);
	ASSERT_EQ(0, _vfio_log_stop(self->vf.device));
	test_vfio_dirty_bind(self->vf.device, self->fd, POLICY_FAIL, &self->id);
	test_cmd_start(self->fd, SZ_4K);
	write_some(10, SZ_4K);
	read_all();
}

/* Who holds the device or the context closes it: nothing goes on in the PF. */
TEST_F(tracker, closes_while_tracking)
{
	static __u8 bits[SIZE / SZ_4K / 8];
	struct tracking other;

	test_cmd_range_add(self->fd, IOVA, SIZE);
	test_cmd_start(self->fd, SZ_4K);
	EXPECT_EQ(1, trackers());
	tracking_close(&self->tracking);
	EXPECT_EQ(0, trackers());

	ASSERT_EQ(0, tracking_open(&other, WAY_CONTEXT, &self->vf, POLICY_FAIL));
	test_cmd_range_add(other.fd, IOVA, SIZE);
	test_cmd_start(other.fd, SZ_4K);
	write_some(10, SZ_4K);
	vf_close(&self->vf);
	EXPECT_EQ(0, trackers());
	test_err_read(ESHUTDOWN, other.fd, 0, 0, IOVA, SIZE, SZ_4K, bits);
	tracking_close(&other);
}

TEST_HARNESS_MAIN
