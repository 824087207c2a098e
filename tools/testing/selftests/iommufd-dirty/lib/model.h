/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a READ has to return: a plain map of what each tracker was made to write
 * and what no READ has delivered yet. A READ is compared with it bit for bit,
 * and so is the memory around the user's bitmap.
 */
#ifndef __SELFTEST_IOMMUFD_DIRTY_MODEL
#define __SELFTEST_IOMMUFD_DIRTY_MODEL

#include <limits.h>

#include "iommufd_dirty_utils.h"

/* For the cells' who: the context's own residual, and all trackers. */
#define MODEL_CONTEXT 0x8000U
#define MODEL_ALL 0xffffU

/**
 * struct model - Dirty pages that were not delivered yet
 * @base: IOVA of the first cell
 * @size: Bytes that the cells stand for
 * @shift: log2 of the bytes of a cell: 12, or 0 where bytes matter
 * @cells: Bit n of a cell: written by tracker n and not delivered
 */
struct model {
	__u64 base;
	__u64 size;
	unsigned int shift;
	__u16 *cells;
};

static inline bool model_init(struct model *model, __u64 base, __u64 size,
			      unsigned int shift)
{
	*model = (struct model){ .base = base, .size = size, .shift = shift };
	model->cells = calloc(size >> shift, sizeof(*model->cells));
	return model->cells;
}

static inline void model_free(struct model *model)
{
	free(model->cells);
	model->cells = NULL;
}

static inline __u64 model_cells(const struct model *model)
{
	return model->size >> model->shift;
}

/* First and one past the last of the cells that [@iova, @iova + @length) has. */
static inline void model_span(const struct model *model, __u64 iova,
			      __u64 length, __u64 *first, __u64 *end)
{
	__u64 last = iova + length - 1;

	*first = 0;
	*end = 0;
	if (last < model->base || iova >= model->base + model->size)
		return;
	if (iova > model->base)
		*first = (iova - model->base) >> model->shift;
	*end = ((last - model->base) >> model->shift) + 1;
	if (*end > model_cells(model))
		*end = model_cells(model);
}

/* A write by @who to a tracker that has one dirty bit for @unit bytes. */
static inline void model_write(struct model *model, __u16 who, __u64 iova,
			       __u64 length, __u64 unit)
{
	__u64 from = iova & ~(unit - 1);
	__u64 to = (iova + length + unit - 1) & ~(unit - 1);
	__u64 i, end;

	model_span(model, from, to - from, &i, &end);
	for (; i < end; i++)
		model->cells[i] |= who;
}

static inline void model_clean(struct model *model, __u16 who, __u64 iova,
			       __u64 length)
{
	__u64 i, end;

	model_span(model, iova, length, &i, &end);
	for (; i < end; i++)
		model->cells[i] &= ~who;
}

/* What @from had not delivered is now held by @to (UNBIND with KEEP). */
static inline void model_move(struct model *model, __u16 from, __u16 to)
{
	__u64 i;

	for (i = 0; i < model_cells(model); i++) {
		if (model->cells[i] & from)
			model->cells[i] = (model->cells[i] & ~from) | to;
	}
}

static inline bool bit_test(const __u8 *bits, __u64 nr)
{
	return bits[nr / 8] >> (nr % 8) & 1;
}

static inline void bit_set(__u8 *bits, __u64 nr)
{
	bits[nr / 8] |= 1 << (nr % 8);
}

/* The first cell from @i on that @who has dirty, or @end. */
static inline __u64 model_next(const struct model *model, __u16 who, __u64 i,
			       __u64 end)
{
	__u64 four;

	while (i < end && !(model->cells[i] & who)) {
		/* Most of a large model is clean. */
		if (i + 4 <= end) {
			memcpy(&four, &model->cells[i], sizeof(four));
			i += four ? 1 : 4;
		} else {
			i++;
		}
	}
	return i;
}

/* Set the bits that a READ of @who has to set; returns those newly set. */
static inline __u64 model_bits(const struct model *model, __u16 who,
			       __u64 iova, __u64 length, __u64 page_size,
			       __u8 *bits, __u64 bit_offset)
{
	__u64 last = iova + length - 1;
	__u64 i, end, bit, newly = 0;

	model_span(model, iova, length, &i, &end);
	for (i = model_next(model, who, i, end); i < end;
	     i = model_next(model, who, i + 1, end)) {
		__u64 lo = model->base + (i << model->shift);
		__u64 hi = lo + (1UL << model->shift) - 1;

		if (lo < iova)
			lo = iova;
		if (hi > last)
			hi = last;
		for (bit = (lo - iova) / page_size;
		     bit <= (hi - iova) / page_size; bit++) {
			if (bit_test(bits, bit_offset + bit))
				continue;
			bit_set(bits, bit_offset + bit);
			newly++;
		}
	}
	return newly;
}

/* Pages of @page_size that @who has dirty. */
static inline __u64 model_count(const struct model *model, __u16 who,
				__u64 iova, __u64 length, __u64 page_size)
{
	__u8 *bits = calloc(1, (length - 1) / page_size / 8 + 1);
	__u64 count = model_bits(model, who, iova, length, page_size, bits, 0);

	free(bits);
	return count;
}

/**
 * struct placement - Where the bitmap of a READ lies
 * @misalign: Bytes from a page boundary to the bitmap
 * @bit_offset: As in struct iommufd_dirty_bitmap
 */
struct placement {
	size_t misalign;
	__u64 bit_offset;
};

/**
 * struct guarded - A bitmap in the middle of memory that must not change
 * @map: The bitmap and a page or more on each side
 * @shadow: What @map has to be after the READ
 * @bits: The bitmap, in @map
 * @shadow_bits: The bitmap, in @shadow
 */
struct guarded {
	size_t length;
	__u8 *map;
	__u8 *shadow;
	__u8 *bits;
	__u8 *shadow_bits;
};

static inline bool guarded_init(struct guarded *guarded, __u64 nr_bits,
				const struct placement *at, __u8 fill)
{
	size_t bytes = (at->bit_offset + nr_bits + 7) / 8;
	size_t before = SZ_4K + at->misalign;

	guarded->length = (before + bytes + 2 * SZ_4K - 1) & ~(SZ_4K - 1);
	guarded->map = mmap(NULL, guarded->length, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	guarded->shadow = malloc(guarded->length);
	if (guarded->map == MAP_FAILED || !guarded->shadow)
		return false;
	/* A bit that is set shows where @fill is 0, one that is lost where 1. */
	memset(guarded->map, fill, guarded->length);
	memset(guarded->shadow, fill, guarded->length);
	guarded->bits = guarded->map + before;
	guarded->shadow_bits = guarded->shadow + before;
	return true;
}

static inline void guarded_free(struct guarded *guarded)
{
	munmap(guarded->map, guarded->length);
	free(guarded->shadow);
}

/* Bytes from the bitmap's start to the first difference; LONG_MAX if none. */
static inline long guarded_diff(const struct guarded *guarded)
{
	size_t i;

	if (!memcmp(guarded->map, guarded->shadow, guarded->length))
		return LONG_MAX;
	for (i = 0; guarded->map[i] == guarded->shadow[i]; i++)
		;
	return guarded->map + i - guarded->bits;
}

/**
 * struct model_read - A READ of one range that is compared with the model
 * @tracker_id: 0 is merged
 * @who: The cells' bits of that tracker
 * @fill: Byte that the bitmap and its surroundings have before
 * @out_status: Status bits
 */
struct model_read {
	int fd;
	__u32 tracker_id;
	__u32 flags;
	__u16 who;
	__u64 iova;
	__u64 length;
	__u64 page_size;
	struct placement at;
	__u8 fill;
	__u32 out_status;
};

static inline void __model_read(struct __test_metadata *_metadata,
				struct model *model, struct model_read *read)
{
	struct iommufd_dirty_bitmap range = {
		.iova = read->iova,
		.length = read->length,
		.bit_offset = read->at.bit_offset,
	};
	struct iommufd_dirty_read cmd = {
		.size = sizeof(cmd),
		.flags = read->flags,
		.tracker_id = read->tracker_id,
		.nr_ranges = 1,
		.range_len = sizeof(struct iommufd_dirty_bitmap),
		.ranges_uptr = (uintptr_t)&range,
		.page_size = read->page_size,
	};
	struct guarded guarded;
	__u64 newly;

	ASSERT_TRUE(guarded_init(&guarded,
				 (read->length - 1) / read->page_size + 1,
				 &read->at, read->fill));
	range.bitmap_uptr = (uintptr_t)guarded.bits;
	newly = model_bits(model, read->who, read->iova, read->length,
			   read->page_size, guarded.shadow_bits,
			   read->at.bit_offset);

	ASSERT_EQ(0, ioctl(read->fd, IOMMUFD_DIRTY_READ, &cmd))
	{
		TH_LOG("READ of 0x%llx+0x%llx: %s", read->iova, read->length,
		       strerror(errno));
	}
	ASSERT_EQ(LONG_MAX, guarded_diff(&guarded))
	{
		long at = guarded_diff(&guarded);

		TH_LOG("READ of tracker %u, 0x%llx+0x%llx, page size 0x%llx",
		       read->tracker_id, read->iova, read->length,
		       read->page_size);
		TH_LOG("misaligned %zu, bit offset %llu: byte %ld is %02x, not %02x",
		       read->at.misalign, read->at.bit_offset, at,
		       guarded.bits[at], guarded.shadow_bits[at]);
	}
	EXPECT_EQ(newly, cmd.out_dirty);
	EXPECT_EQ(0, cmd.next_range);
	EXPECT_EQ(0, cmd.next_offset);
	read->out_status = cmd.out_status;
	if (!(read->flags & IOMMUFD_DIRTY_READ_NO_CLEAR))
		model_clean(model, read->who, read->iova, read->length);
	guarded_free(&guarded);
}

/* Stops the test at the first difference. */
#define model_read(model, ...)                                         \
	({                                                             \
		struct model_read __read = { __VA_ARGS__ };            \
								       \
		__model_read(_metadata, model, &__read);               \
		__read.out_status;                                     \
	})

/* A small generator, so that a failure repeats. */
static inline __u64 next_random(__u64 *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

#endif
