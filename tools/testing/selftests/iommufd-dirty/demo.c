// SPDX-License-Identifier: GPL-2.0
/*
 * What the subsystem does, step by step: three unlike trackers in one context.
 * It checks what it shows: the exit status is 0 only if all of it is so.
 */
#include "demo.h"

/* Pages that a pre-copy round may have for the next one to be the last. */
#define PAUSE 32

static int fd, iommu;
static __u8 *memory, *copy;
static struct source sources[SOURCES] = {
	{ "HWPT, IOPTEs of 4 KiB", .mock = -1, .unit = SZ_4K },
	{ "HWPT, IOPTEs of 1 MiB", .mock = -1, .unit = SZ_1M },
	{ "device's own log", .unit = SZ_64K },
};

static void new_hwpt(struct source *source, __u32 idev_id, __u32 ioas_id,
		     __u32 type)
{
	need(!_iommu_hwpt_alloc(iommu, idev_id, ioas_id,
				IOMMU_HWPT_ALLOC_DIRTY_TRACKING, type,
				&source->hwpt_id),
	     "IOMMU_HWPT_ALLOC");
	need(!_test_cmd_bind_hwpt(fd, iommu, source->hwpt_id, POLICY_FAIL,
				  &source->id),
	     "IOMMUFD_DIRTY_BIND_HWPT");
}

/*
 * Both page tables map the same memory: whatever is mapped before large pages
 * are allowed stays small.
 */
static void make_hwpts(void)
{
	struct iommu_option large = {
		.size = sizeof(large),
		.option_id = IOMMU_OPTION_HUGE_PAGES,
		.op = IOMMU_OPTION_OP_SET,
		.val64 = 1,
	};
	__u32 ioas_id, idev_id;

	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE,
		      -1, 0);
	need(memory != MAP_FAILED, "16 MiB of huge pages (boot with hugepages=8)");
	copy = malloc(SIZE);
	need(copy, "16 MiB of memory");
	iommu = open("/dev/iommu", O_RDWR);
	need(iommu != -1, "/dev/iommu");
	need(!_iommu_ioas_alloc(iommu, &ioas_id), "IOMMU_IOAS_ALLOC");
	need(!_iommu_no_huge_pages(iommu, ioas_id), "IOMMU_OPTION");
	need(!_iommu_mock_device(iommu, ioas_id, &idev_id),
	     "iommufd's mock device (CONFIG_IOMMUFD_TEST)");
	need(!_iommu_ioas_map(iommu, ioas_id, memory, SIZE, BASE),
	     "IOMMU_IOAS_MAP");
	new_hwpt(&sources[A], idev_id, ioas_id, MOCK_IOMMUPT_DEFAULT);
	large.object_id = ioas_id;
	need(!ioctl(iommu, IOMMU_OPTION, &large), "IOMMU_OPTION");
	new_hwpt(&sources[B], idev_id, ioas_id, MOCK_IOMMUPT_HUGE);
}

static void make_sources(void)
{
	struct mock_create device = { .pgsizes = SZ_64K | SZ_2M };
	struct iommufd_dirty_tracker_info info;
	struct iommufd_dirty_info kernel;
	unsigned int n;
	bool right = true;

	step("One context, three sources of dirty pages");
	fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	need(fd != -1, DEV_PATH " (is iommufd-dirty.ko loaded?)");
	need(!_test_cmd_info(fd, &kernel), "IOMMUFD_DIRTY_INFO");
	errno = EOPNOTSUPP;
	need(kernel.out_features & IOMMUFD_DIRTY_FEATURE_HWPT,
	     "this kernel's iommufd does not let the module read an HWPT (apply patches/)");
	make_hwpts();
	sources[C].mock = _test_mock_create(&device);
	need(sources[C].mock != -1,
	     MOCK_PATH " (is iommufd-dirty-mock.ko loaded?)");
	need(!_test_mock_bind(sources[C].mock, fd, POLICY_FAIL, &sources[C].id),
	     "iommufd_dirty_bind()");

	for (n = 0; n < SOURCES; n++) {
		need(!_test_cmd_tracker_info(fd, sources[n].id, &info),
		     "IOMMUFD_DIRTY_TRACKER_INFO");
		printf("        %c: tracker %u, %-22s can do ", 'A' + n,
		       info.tracker_id, sources[n].name);
		print_granules(info.out_pgsizes);
		printf(" per bit\n");
		right &= info.out_kind == (n == C ?
					   IOMMUFD_DIRTY_KIND_DEVICE :
					   IOMMUFD_DIRTY_KIND_IOMMU_DOMAIN);
	}
	promise(right, "all three are bound: two IOMMU domains and a device");
	printf("\n  A and B are page tables of iommufd over the same 16 MiB of memory. C is a\n"
	       "  device that reaches the same memory and keeps a log of its own.\n");
}

static void negotiate(void)
{
	const __u32 exact = IOMMUFD_DIRTY_START_EXACT;
	struct iommufd_dirty_start_result results[SOURCES] = {};
	__u32 nr = SOURCES;
	__u64 granule;
	unsigned int n;
	int ret;

	step("Negotiation: START asks for 4 KiB per bit");
	need(!_test_cmd_range(fd, 0, BASE, SIZE), "IOMMUFD_DIRTY_RANGES");
	ret = _test_cmd_start_results(fd, exact | IOMMUFD_DIRTY_START_DRY_RUN,
				      SZ_4K, &granule, results, &nr);
	promise(ret && errno == ERANGE && granule == SZ_64K,
		"a dry run that insists on 4 KiB is refused: the best is %s",
		size_name(granule));

	need(!_test_cmd_start_results(fd, 0, SZ_4K, &granule, results, &nr),
	     "IOMMUFD_DIRTY_START");
	for (n = 0; n < SOURCES; n++)
		printf("        %c: asked 4 KiB, agreed %s\n", 'A' + n,
		       size_name(results[n].granule));
	promise(results[A].granule == SZ_4K && results[B].granule == SZ_4K &&
		results[C].granule == SZ_64K && granule == SZ_64K,
		"without insisting each gets its own; C's log makes it %s in all",
		size_name(granule));
}

/* A device writes one page, behind the CPU's back. */
static void write_page(unsigned int n, unsigned int page)
{
	struct source *source = &sources[n];
	__u64 iova = BASE + page * SZ_4K;
	unsigned int per_bit = source->unit / SZ_4K;
	unsigned int i, first = page / per_bit * per_bit;
	static __u64 stamp;

	memcpy(memory + page * SZ_4K, &(__u64){ ++stamp }, sizeof(stamp));
	if (n == C)
		need(!_test_mock_dirty(source->mock, iova, SZ_4K, SZ_4K, 1),
		     "MOCK_DIRTY");
	else
		need(!_hwpt_dirty(iommu, source->hwpt_id, iova, SZ_4K),
		     "IOMMU_TEST_OP_DIRTY");
	for (i = 0; i < per_bit; i++)
		bit_set(source->written.bits, first + i);
}

/* The union of what was written, which is forgotten: a READ is to deliver it. */
static void take_written(struct pages *all)
{
	unsigned int n;

	memset(all, 0, sizeof(*all));
	for (n = 0; n < SOURCES; n++) {
		add(all, &sources[n].written);
		memset(&sources[n].written, 0, sizeof(sources[n].written));
	}
}

static int read_pages(__u32 id, __u32 flags, struct pages *pages)
{
	return _test_cmd_read(fd, id, flags, BASE, SIZE, SZ_4K, pages, NULL,
			      NULL);
}

static void map_of_writes(void)
{
	struct pages each[SOURCES] = {}, merged = {}, again = {}, all;
	struct iommufd_dirty_stats stats;
	unsigned int n, i;
	bool right = true;

	step("Who wrote where: a READ of each, then one READ of all");
	for (i = 0; i < 64; i++) {
		write_page(A, 200 + i);
		write_page(A, 600 + i * 16);
		write_page(C, 3000 + i * 12);
	}
	for (i = 0; i < 3; i++)
		write_page(B, 1100 + i * 768);

	draw_scale();
	for (n = 0; n < SOURCES; n++) {
		need(!read_pages(sources[n].id, IOMMUFD_DIRTY_READ_NO_CLEAR,
				 &each[n]),
		     "IOMMUFD_DIRTY_READ of one tracker");
		draw_row('A' + n, &each[n]);
		right &= same(&each[n], &sources[n].written);
	}
	need(!_test_cmd_stats(fd, sources[C].id, &stats), "IOMMUFD_DIRTY_STATS");
	need(!read_pages(0, 0, &merged), "IOMMUFD_DIRTY_READ");
	draw_merged(&merged, each);
	draw_legend();

	printf("\n  B reports 1 MiB for each page that was written: an IOPTE has one dirty bit.\n");
	promise(right, "each READ of one tracker is what that one wrote, bit for bit");
	promise(stats.out_residual_bytes,
		"C's log cannot be read without being cleared, so after a READ that is not\n"
		"        to clear the kernel keeps its %s",
		size_name(stats.out_residual_bytes));
	take_written(&all);
	promise(same(&merged, &all),
		"the merged READ, one system call, is the three together");
	need(!read_pages(0, 0, &again), "IOMMUFD_DIRTY_READ");
	promise(!count(&again), "and it cleared them: the next one finds nothing");
}

static void precopy(void)
{
	/* 1 page is written while so many are sent. */
	static const unsigned int speed[SOURCES] = { 64, 1024, 256 };
	unsigned int sent = PAGES, round, n, i, writes;
	struct pages dirty, all;
	__u64 seed = 0x2545f491;
	bool right = true;

	step("Pre-copy: send all of the memory, then what was written meanwhile");
	printf("    round   pages written   reported dirty   KiB to send\n");
	printf("    %5d   %13s   %14s   %11lu\n", 0, "-", "(all)", SIZE / 1024);
	memcpy(copy, memory, SIZE);
	for (round = 1; sent > PAUSE && round < 10; round++) {
		for (n = 0, writes = 0; n < SOURCES; n++) {
			for (i = 0; i < sent / speed[n]; i++, writes++)
				write_page(n, next_random(&seed) % PAGES);
		}
		memset(&dirty, 0, sizeof(dirty));
		need(!read_pages(0, 0, &dirty), "IOMMUFD_DIRTY_READ");
		take_written(&all);
		right &= same(&dirty, &all);
		for (i = 0; i < PAGES; i++) {
			if (bit_test(dirty.bits, i))
				memcpy(copy + i * SZ_4K, memory + i * SZ_4K,
				       SZ_4K);
		}
		sent = count(&dirty);
		printf("    %5u   %13u   %14u   %11lu\n", round, writes, sent,
		       sent * SZ_4K / 1024);
	}
	promise(sent <= PAUSE && right,
		"it converges: a round of %u pages is short enough to stop the devices",
		sent);

	/* What the devices had under way when they were told to stop. */
	for (n = 0; n < SOURCES; n++)
		write_page(n, next_random(&seed) % PAGES);
	memset(&dirty, 0, sizeof(dirty));
	need(!read_pages(0, IOMMUFD_DIRTY_READ_FINAL, &dirty),
	     "IOMMUFD_DIRTY_READ, final");
	for (i = 0; i < PAGES; i++) {
		if (bit_test(dirty.bits, i))
			memcpy(copy + i * SZ_4K, memory + i * SZ_4K, SZ_4K);
	}
	take_written(&all);
	promise(same(&dirty, &all),
		"the devices stop, and a last READ (FINAL) finds their last %u pages",
		count(&dirty));
	promise(!memcmp(copy, memory, SIZE),
		"the copy is the memory, byte for byte");
	/* After a FINAL READ trackers may report the same dirt again. */
	need(!_test_cmd_stop(fd), "IOMMUFD_DIRTY_STOP");
}

static void bad_buffer(void)
{
	struct pages dirty = {}, all;
	unsigned int i;
	void *bad;
	int ret;

	step("A READ into memory that cannot be written");
	bad = mmap(NULL, sizeof(dirty), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		   -1, 0);
	need(bad != MAP_FAILED, "mmap()");
	need(!_test_cmd_start(fd, 0, SZ_4K), "IOMMUFD_DIRTY_START");
	for (i = 0; i < 30; i++) {
		write_page(A, i * 33);
		write_page(C, 2048 + i * 48);
	}
	write_page(B, 1300);
	ret = read_pages(0, 0, bad);
	promise(ret && errno == EFAULT, "a PROT_NONE bitmap is EFAULT");
	need(!read_pages(0, 0, &dirty), "IOMMUFD_DIRTY_READ");
	take_written(&all);
	promise(same(&dirty, &all),
		"nothing was lost: the next READ has all of the %u dirty pages",
		count(&dirty));
	printf("  (IOMMU_HWPT_GET_DIRTY_BITMAP of an unpatched kernel returns 0 there, and the\n"
	       "  dirty bits are gone.)\n");
	munmap(bad, sizeof(dirty));
}

static void memory_held(void)
{
	struct iommufd_dirty_stats stats;

	step("What it costs the kernel");
	need(!_test_cmd_stats(fd, 0, &stats), "IOMMUFD_DIRTY_STATS");
	promise(!stats.out_bitmap_bytes,
		"kernel bitmap bytes held: %llu; the bits went straight to the user's bitmap",
		stats.out_bitmap_bytes);
	promise(!stats.out_residual_bytes,
		"%llu READs, of which nothing is left undelivered",
		stats.out_reads);
	need(!_test_cmd_stop(fd), "IOMMUFD_DIRTY_STOP");
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("iommufd-dirty: which pages did the devices write?\n");
	make_sources();
	negotiate();
	map_of_writes();
	precopy();
	bad_buffer();
	memory_held();

	if (broken) {
		printf("\n%d of the above is not as promised: see [NO!].\n",
		       broken);
		return 1;
	}
	printf("\nAll as promised. What to try next:\n\n"
	       "  make vm      a shell in this VM: run \"demo\" there, look into\n"
	       "               /sys/kernel/debug and /sys/kernel/tracing/events\n"
	       "  make test    every test; some of them side by side with upstream\n"
	       "  Documentation/userspace-api/iommufd-dirty.rst   a pre-copy loop in C\n"
	       "  Documentation/driver-api/iommufd-dirty.rst      make your driver a tracker\n"
	       "  tools/testing/selftests/iommufd-dirty/          what you just saw: the demo\n");
	return 0;
}
