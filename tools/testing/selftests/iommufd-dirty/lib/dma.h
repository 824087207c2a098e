/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A VFIO device that writes by DMA through an IOMMU that sets dirty bits, and
 * the model of what it wrote. Nothing of the test sets a dirty bit itself.
 */
#ifndef __SELFTEST_IOMMUFD_DIRTY_DMA
#define __SELFTEST_IOMMUFD_DIRTY_DMA

#include <sys/random.h>

#include "vfio_device.h"

/*
 * The IOVA space: memory with IOPTEs of 4 KiB, a hole, memory with IOPTEs of
 * 2 MiB. It is above 4 GiB, out of the way of the interrupt window.
 */
#define DMA_BASE (4 * SZ_1G)
#define DMA_SMALL_SIZE (4 * SZ_1M)
#define DMA_HUGE_BASE (DMA_BASE + 8 * SZ_1M)
#define DMA_HUGE_SIZE (16 * SZ_1M)
#define DMA_SIZE (24 * SZ_1M)

/*
 * Both are huge pages of the CPU. One begins 4 KiB behind a multiple of 2 MiB
 * in memory but not in the IOVA space: no larger IOPTE is possible there.
 */
#define DMA_SMALL_OFFSET SZ_4K
#define DMA_HUGE_OFFSET (3 * SZ_2M)
#define DMA_BUFFER_SIZE (DMA_HUGE_OFFSET + DMA_HUGE_SIZE)

/* Without DMA_ROUNDS in the environment. */
#define DMA_ROUNDS 1000

/**
 * struct dma - A device, its IOVA space and the model of what it wrote
 * @write: Let the device write to [@iova, @iova + @length), and wait for it.
 *         Returns 0 if the data arrived, -1 if not
 * @max_length: Bytes that @write can do
 * @min_length: Likewise
 * @device: File descriptor of the VFIO device
 * @fd: The context
 * @id: The HWPT as a tracker of the context
 * @seed: Seed of the random numbers; a run with DMA_SEED=@seed repeats this one
 */
struct dma {
	int (*write)(struct dma *dma, __u64 iova, __u32 length);
	void *private;
	__u32 min_length;
	__u32 max_length;
	int iommu;
	int device;
	int fd;
	__u32 ioas_id;
	__u32 dev_id;
	__u32 hwpt_id;
	__u32 id;
	__u8 *buffer;
	struct model model;
	__u64 seed;
};

static inline __u64 dma_capabilities(struct dma *dma)
{
	struct iommu_hw_info info = {
		.size = sizeof(info),
		.dev_id = dma->dev_id,
	};

	return ioctl(dma->iommu, IOMMU_GET_HW_INFO, &info) ?
		       0 : info.out_capabilities;
}

static inline int dma_hwpt_alloc(struct dma *dma)
{
	struct iommu_hwpt_alloc cmd = {
		.size = sizeof(cmd),
		.flags = IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
		.dev_id = dma->dev_id,
		.pt_id = dma->ioas_id,
	};
	int ret = ioctl(dma->iommu, IOMMU_HWPT_ALLOC, &cmd);

	dma->hwpt_id = cmd.out_hwpt_id;
	return ret;
}

/* Where the CPU sees what the device sees at @iova. */
static inline __u8 *dma_at(const struct dma *dma, __u64 iova)
{
	if (iova < DMA_HUGE_BASE)
		return dma->buffer + DMA_SMALL_OFFSET + (iova - DMA_BASE);
	return dma->buffer + DMA_HUGE_OFFSET + (iova - DMA_HUGE_BASE);
}

static inline int dma_map_small(struct dma *dma)
{
	return _iommu_ioas_map(dma->iommu, dma->ioas_id,
			       dma_at(dma, DMA_BASE), DMA_SMALL_SIZE, DMA_BASE);
}

static inline __u64 dma_unit(__u64 iova)
{
	return iova < DMA_HUGE_BASE ? SZ_4K : SZ_2M;
}

/* The random numbers, the model and the context. */
static inline void dma_open(struct __test_metadata *_metadata, struct dma *dma)
{
	const char *seed = getenv("DMA_SEED");

	dma->iommu = -1;
	dma->device = -1;
	dma->fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	ASSERT_NE(-1, dma->fd)
	{
		TH_LOG("%s: is iommufd-dirty.ko loaded?", DEV_PATH);
	}
	if (seed)
		dma->seed = strtoull(seed, NULL, 0);
	while (!dma->seed)
		ASSERT_EQ(sizeof(dma->seed),
			  getrandom(&dma->seed, sizeof(dma->seed), 0));
	TH_LOG("DMA_SEED=0x%llx", dma->seed);
	ASSERT_TRUE(model_init(&dma->model, DMA_BASE, DMA_SIZE, 12));
}

/* With the device bound: a HWPT that tracks, with all that is mapped, attached. */
static inline void dma_attach(struct __test_metadata *_metadata,
			      struct dma *dma)
{
	if (!(dma_capabilities(dma) & IOMMU_HW_CAP_DIRTY_TRACKING))
		SKIP(return, "the device's IOMMU does not track dirty pages");
	dma->buffer = mmap(NULL, DMA_BUFFER_SIZE, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB |
				   MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, dma->buffer)
	{
		TH_LOG("boot with hugepages=80 or more");
	}
	ASSERT_EQ(0, dma_map_small(dma));
	ASSERT_EQ(0, _iommu_ioas_map(dma->iommu, dma->ioas_id,
				     dma_at(dma, DMA_HUGE_BASE), DMA_HUGE_SIZE,
				     DMA_HUGE_BASE));
	ASSERT_EQ(0, dma_hwpt_alloc(dma));
	ASSERT_EQ(0, _vfio_attach(dma->device, dma->hwpt_id));
	ASSERT_EQ(0, _vfio_enable_dma(dma->device));
	test_cmd_bind_hwpt(dma->fd, dma->iommu, dma->hwpt_id, POLICY_FAIL,
			   &dma->id);
	test_cmd_range_add(dma->fd, DMA_BASE, DMA_SIZE);
}

/* The device first: its DMA ends when it is reset by the close. */
static inline void dma_close(struct dma *dma)
{
	if (dma->device != -1)
		close(dma->device);
	close(dma->fd);
	if (dma->iommu != -1)
		close(dma->iommu);
	if (dma->buffer)
		munmap(dma->buffer, DMA_BUFFER_SIZE);
	model_free(&dma->model);
}

static inline void __dma_write(struct __test_metadata *_metadata,
			       struct dma *dma, __u64 iova, __u32 length)
{
	ASSERT_EQ(0, dma->write(dma, iova, length))
	{
		TH_LOG("DMA of %u bytes to 0x%llx did not arrive", length,
		       iova);
	}
	model_write(&dma->model, 1, iova, length, dma_unit(iova));
}

#define dma_write(dma, iova, length) \
	__dma_write(_metadata, dma, iova, length)

/* A write of any length anywhere: within a page, and over the end of IOPTEs. */
static inline void __dma_write_some(struct __test_metadata *_metadata,
				    struct dma *dma)
{
	bool huge = next_random(&dma->seed) & 1;
	__u64 base = huge ? DMA_HUGE_BASE : DMA_BASE;
	__u64 size = huge ? DMA_HUGE_SIZE : DMA_SMALL_SIZE;
	__u32 most = next_random(&dma->seed) & 1 ? 64 : dma->max_length;
	__u32 length;

	length = dma->min_length +
		 next_random(&dma->seed) % (most - dma->min_length + 1);
	dma_write(dma, base + next_random(&dma->seed) % (size - length),
		  length);
}

#define dma_write_some(dma) __dma_write_some(_metadata, dma)

static inline int _set_dirty_tracking(struct dma *dma, bool enable)
{
	struct iommu_hwpt_set_dirty_tracking cmd = {
		.size = sizeof(cmd),
		.flags = enable ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
		.hwpt_id = dma->hwpt_id,
	};

	return ioctl(dma->iommu, IOMMU_HWPT_SET_DIRTY_TRACKING, &cmd);
}

/* What IOMMU_HWPT_GET_DIRTY_BITMAP clears: the IOPTEs that are wholly in it. */
static inline void dma_model_clean_iopte(struct model *model, __u64 iova,
					 __u64 length)
{
	__u64 unit, at;

	for (at = DMA_BASE; at < DMA_BASE + DMA_SIZE; at += unit) {
		unit = dma_unit(at);
		if (at >= iova && at + unit <= iova + length)
			model_clean(model, MODEL_ALL, at, unit);
	}
}

static inline void __dma_get_bitmap(struct __test_metadata *_metadata,
				    struct dma *dma, __u64 iova, __u64 length)
{
	struct iommu_hwpt_get_dirty_bitmap cmd = {
		.size = sizeof(cmd),
		.hwpt_id = dma->hwpt_id,
		.iova = iova,
		.length = length,
		.page_size = SZ_4K,
	};
	struct guarded guarded;

	ASSERT_TRUE(guarded_init(&guarded, length / SZ_4K,
				 &(struct placement){}, 0));
	cmd.data = (uintptr_t)guarded.bits;
	model_bits(&dma->model, MODEL_ALL, iova, length, SZ_4K,
		   guarded.shadow_bits, 0);
	ASSERT_EQ(0, ioctl(dma->iommu, IOMMU_HWPT_GET_DIRTY_BITMAP, &cmd));
	ASSERT_EQ(LONG_MAX, guarded_diff(&guarded))
	{
		long at = guarded_diff(&guarded);

		TH_LOG("GET_DIRTY_BITMAP of 0x%llx+0x%llx: byte %ld is %02x, not %02x",
		       iova, length, at, guarded.bits[at],
		       guarded.shadow_bits[at]);
	}
	dma_model_clean_iopte(&dma->model, iova, length);
	guarded_free(&guarded);
}

static inline void __dma_read(struct __test_metadata *_metadata,
			      struct dma *dma, __u64 iova, __u64 length)
{
	struct placement at = {
		.misalign = next_random(&dma->seed) % 16,
		.bit_offset = next_random(&dma->seed) % 16,
	};

	model_read(&dma->model, .fd = dma->fd, .who = MODEL_ALL, .iova = iova,
		   .length = length, .page_size = SZ_4K, .at = at);
}

#define dma_read_all(dma) __dma_read(_metadata, dma, DMA_BASE, DMA_SIZE)

/* How dirty pages are read: by iommufd's own ioctl, or by READ. */
typedef void (*dma_reader)(struct __test_metadata *_metadata, struct dma *dma,
			   __u64 iova, __u64 length);

/* Random writes and reads of random sub-ranges, each compared with the model. */
static inline void __dma_rounds(struct __test_metadata *_metadata,
				struct dma *dma, dma_reader reader)
{
	const char *rounds = getenv("DMA_ROUNDS");
	unsigned int nr = rounds ? atoi(rounds) : DMA_ROUNDS;
	unsigned int round, i;
	__u64 pages, at;

	for (round = 0; round < nr; round++) {
		for (i = next_random(&dma->seed) % 6; i < 6; i++)
			dma_write_some(dma);
		for (i = next_random(&dma->seed) % 2; i < 2; i++) {
			pages = 1 + next_random(&dma->seed) %
					    (DMA_SIZE / SZ_4K);
			at = next_random(&dma->seed) %
			     (DMA_SIZE / SZ_4K - pages + 1);
			reader(_metadata, dma, DMA_BASE + at * SZ_4K,
			       pages * SZ_4K);
		}
	}
	reader(_metadata, dma, DMA_BASE, DMA_SIZE);
}

#define dma_rounds(dma, reader) __dma_rounds(_metadata, dma, reader)

#endif
