// SPDX-License-Identifier: GPL-2.0
/*
 * How a read of dirty pages fails: the same classes of bad or unusual requests
 * against IOMMU_HWPT_GET_DIRTY_BITMAP and, if the kernel has it, against
 * IOMMUFD_DIRTY_READ, on mock domains (CONFIG_IOMMUFD_TEST).
 *
 *   failure_classes stock|patched
 *
 * On a stock kernel GET_DIRTY_BITMAP is expected to have its defects (XFAIL),
 * and there is no READ; on a patched one both must have none. For each class
 * there is also a line for failure_table.sh:
 *
 *   # failure-class <kernel> <interface> <class> <errno> <lost> <missed> <outside>
 *
 * lost:    pages that were dirty before the call, and that neither the call nor
 *          a good read after it reported
 * missed:  dirty pages of the request that a call which returned success did
 *          not report
 * outside: bytes behind or before the bitmap that were changed, a byte whose
 *          last bits are no part of the bitmap included
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failure_classes_domain.h"

/* Pages around the bitmap of a request, to see what is written there */
#define GUARD_PAGES 4

struct result {
	int error;
	unsigned int lost;
	unsigned int missed;
	unsigned int outside;
};

enum placing {
	PLACE_WHOLE,
	/* The second half is in another page */
	PLACE_ACROSS_PAGES,
};

static const struct class {
	const char *name;
	/* 0 is the whole mapping with 4 KiB pages */
	uint64_t iova, length, page_size;
	/* Of the pages of the bitmap; with PLACE_ACROSS_PAGES, of the second */
	int prot;
	enum placing placing;
	bool hole;
	bool huge;
	/* One page in three is dirty, not each */
	bool sparse;
	/* What a call without the defect returns */
	int error;
	/* Linux 7.3's GET_DIRTY_BITMAP does otherwise, or loses pages */
	bool stock_defect;
} classes[] = {
	{ .name = "prot-none", .prot = PROT_NONE, .error = EFAULT,
	  .stock_defect = true },
	{ .name = "read-only", .prot = PROT_READ, .error = EFAULT,
	  .stock_defect = true },
	{ .name = "bad-second-page", .prot = PROT_NONE,
	  .placing = PLACE_ACROSS_PAGES, .error = EFAULT,
	  .stock_defect = true },
	{ .name = "hole", .prot = PROT_READ | PROT_WRITE, .hole = true,
	  .stock_defect = true },
	{ .name = "unmapped-range", .prot = PROT_READ | PROT_WRITE,
	  .iova = BASE + SZ_32M, .length = SZ_32M },
	{ .name = "page-size-12288", .prot = PROT_READ | PROT_WRITE,
	  .page_size = 12288, .sparse = true, .error = EINVAL,
	  .stock_defect = true },
	{ .name = "page-size-2^63", .prot = PROT_READ | PROT_WRITE,
	  .iova = 0, .length = 1ULL << 63, .page_size = 1ULL << 63,
	  .stock_defect = true },
	{ .name = "part-of-huge-iopte", .prot = PROT_READ | PROT_WRITE,
	  .iova = BASE + SZ_256K, .length = 5 * SZ_1M, .huge = true,
	  .stock_defect = true },
};

static const char *kernel;

static bool test_bit(const uint8_t *bitmap, uint64_t bit)
{
	return bitmap[bit / 8] & (1 << bit % 8);
}

static void set_bit(uint8_t *bitmap, uint64_t bit)
{
	bitmap[bit / 8] |= 1 << bit % 8;
}

static uint64_t nr_bits(const struct request *req)
{
	return (req->length + req->page_size - 1) / req->page_size;
}

/*
 * A request that no kernel fails: all that is mapped, and no hole in it.
 * @peek: look at the page table without clearing, whoever tracks with it.
 */
static void read_mapped(struct domain *dom, uint8_t *bitmap, bool peek)
{
	const uint32_t no_clear = IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR;
	const uint64_t start[] = { 0, HOLE_END };
	const uint64_t end[] = { dom->hole ? HOLE_START : SZ_32M, SZ_32M };
	int i;

	memset(bitmap, 0, NR_PAGES / 8);
	for (i = 0; i < 1 + dom->hole; i++) {
		struct request req = {
			.iova = BASE + start[i],
			.length = end[i] - start[i],
			.page_size = PAGE_SIZE,
			.bitmap = bitmap + start[i] / PAGE_SIZE / 8,
		};

		int ret;

		if (peek)
			ret = get_dirty_bitmap(dom, &req, no_clear);
		else
			ret = read_dirty(dom, &req);
		must(!ret, "a good read");
	}
}

static void make_dirty(struct domain *dom, bool sparse)
{
	static uint8_t bitmap[NR_PAGES / 8];
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DIRTY,
		.id = dom->hwpt_id,
		.dirty = {
			.iova = BASE,
			.length = SZ_32M,
			.page_size = PAGE_SIZE,
			.uptr = (uintptr_t)bitmap,
		},
	};
	unsigned int page;

	memset(bitmap, 0, sizeof(bitmap));
	for (page = 0; page < NR_PAGES; page++)
		if (!sparse || page % 3 == 1)
			set_bit(bitmap, page);
	must(!ioctl(dom->iommufd, IOMMU_TEST_CMD, &cmd), "IOMMU_TEST_OP_DIRTY");
}

/*
 * A bitmap of @bytes in the middle of zeroed pages. OR-ing into those shows
 * whatever is set, and none of the interfaces clears bits.
 */
struct buffer {
	uint8_t *mapping;
	size_t size;
	uint8_t *bitmap;
	size_t bytes;
};

static void buffer_open(struct buffer *buf, size_t bytes, enum placing placing)
{
	size_t pages = (bytes + PAGE_SIZE - 1) / PAGE_SIZE;
	uint8_t *middle;

	/* Bigger bitmaps would need another way to spoil their second half */
	if (pages != 1)
		ksft_exit_fail_msg("a bitmap of %zu bytes\n", bytes);

	buf->bytes = bytes;
	buf->size = (2 * GUARD_PAGES + 1) * PAGE_SIZE;
	buf->mapping = mmap(NULL, buf->size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(buf->mapping != MAP_FAILED, "mmap");

	middle = buf->mapping + GUARD_PAGES * PAGE_SIZE;
	buf->bitmap = placing == PLACE_ACROSS_PAGES ? middle - bytes / 2 :
						      middle;
}

static void buffer_protect(struct buffer *buf, int prot)
{
	must(!mprotect(buf->mapping + GUARD_PAGES * PAGE_SIZE, PAGE_SIZE, prot),
	     "mprotect");
}

static void buffer_close(struct buffer *buf)
{
	munmap(buf->mapping, buf->size);
}

static unsigned int buffer_outside(struct buffer *buf, uint64_t bits)
{
	unsigned int count = 0;
	uint8_t *byte;

	for (byte = buf->mapping; byte < buf->mapping + buf->size; byte++)
		if (*byte &&
		    (byte < buf->bitmap || byte >= buf->bitmap + buf->bytes))
			count++;
	if (bits % 8 && buf->bitmap[bits / 8] >> bits % 8)
		count++;
	return count;
}

static void run_class(struct domain *dom, const struct class *class,
		      struct result *res)
{
	static uint8_t before[NR_PAGES / 8], after[NR_PAGES / 8];
	struct request req = {
		.iova = class->length ? class->iova : BASE,
		.length = class->length ? class->length : SZ_32M,
		.page_size = class->page_size ? class->page_size : PAGE_SIZE,
	};
	struct buffer buf;
	unsigned int page;

	*res = (struct result){};
	make_dirty(dom, class->sparse);
	read_mapped(dom, before, true);

	buffer_open(&buf, (nr_bits(&req) + 7) / 8, class->placing);
	buffer_protect(&buf, class->prot);
	req.bitmap = buf.bitmap;
	if (read_dirty(dom, &req))
		res->error = errno;
	buffer_protect(&buf, PROT_READ | PROT_WRITE);

	read_mapped(dom, after, false);

	for (page = 0; page < NR_PAGES; page++) {
		uint64_t iova = BASE + page * PAGE_SIZE;
		bool asked = iova >= req.iova &&
			     iova - req.iova < req.length;
		bool reported;

		if (!test_bit(before, page))
			continue;
		reported = asked && test_bit(buf.bitmap, (iova - req.iova) /
							 req.page_size);
		if (!reported && !test_bit(after, page))
			res->lost++;
		if (asked && !reported && !res->error)
			res->missed++;
	}
	res->outside = buffer_outside(&buf, nr_bits(&req));
	buffer_close(&buf);
}

static void test_class(const struct class *class, bool upstream)
{
	const char *interface = upstream ? "GET_DIRTY_BITMAP" : "READ";
	bool stock = upstream && !strcmp(kernel, "stock");
	struct domain dom;
	struct result res;
	bool good;

	if (!domain_open(&dom, class->hole, class->huge, upstream)) {
		ksft_test_result_skip("%s %s: boot with hugepages=16 or more\n",
				      interface, class->name);
		return;
	}
	run_class(&dom, class, &res);
	domain_close(&dom);

	ksft_print_msg("failure-class %s %s %s %d %u %u %u\n", kernel,
		       interface, class->name, res.error, res.lost, res.missed,
		       res.outside);

	good = res.error == class->error && !res.lost && !res.missed &&
	       !res.outside;
	if (stock && good && class->stock_defect)
		ksft_print_msg("this stock kernel has no such defect any more\n");
	if (stock && !good) {
		ksft_test_result_xfail("%s %s\n", interface, class->name);
		return;
	}
	if (!good)
		ksft_print_msg("errno is %d (%s), should be %d\n", res.error,
			       strerror(res.error), class->error);
	ksft_test_result(good, "%s %s\n", interface, class->name);
}

/* Whether there is a module that can read HWPTs */
static bool have_read(void)
{
	struct iommufd_dirty_info info = { .size = sizeof(info) };
	int fd = open("/dev/iommufd-dirty", O_RDWR);

	if (fd == -1)
		return false;
	must(!ioctl(fd, IOMMUFD_DIRTY_INFO, &info), "IOMMUFD_DIRTY_INFO");
	close(fd);
	return info.out_features & IOMMUFD_DIRTY_FEATURE_HWPT;
}

int main(int argc, char **argv)
{
	bool patched, skip_read;
	unsigned int i;

	if (argc != 2 || (strcmp(argv[1], "stock") &&
			  strcmp(argv[1], "patched"))) {
		fprintf(stderr, "usage: %s stock|patched\n", argv[0]);
		return KSFT_FAIL;
	}
	kernel = argv[1];

	ksft_print_header();
	patched = !strcmp(kernel, "patched");
	skip_read = patched && !have_read();
	ksft_set_plan(ARRAY_SIZE(classes) * (1 + patched));

	for (i = 0; i < ARRAY_SIZE(classes); i++)
		test_class(&classes[i], true);
	for (i = 0; patched && i < ARRAY_SIZE(classes); i++) {
		if (skip_read)
			ksft_test_result_skip("READ %s: no module with FEATURE_HWPT\n",
					      classes[i].name);
		else
			test_class(&classes[i], false);
	}

	ksft_finished();
}
