// SPDX-License-Identifier: GPL-2.0
/*
 * What the subsystem does, step by step: four unlike trackers in one context.
 * It checks what it shows: the exit status is 0 only if all of it is so.
 */
#include "demo.h"

/* Pages that a pre-copy round may have for the next one to be the last. */
#define PAUSE 32

static int fd, iommu, log_device, emulated_device;
static __u32 mock_hwpt;
static __u8 *memory, *copy, *engine;

/* DMA of the VF, of which the firmware of its PF keeps a log. */
static int write_vf(__u64 iova, __u32 length)
{
	static __u32 stamp;

	engine_prepare(engine, iova, length);
	engine_set(engine, ENGINE_PATTERN, ++stamp);
	return engine_go(engine, ENGINE_FILL);
}

/* The next three make the CPU write: there is no device that would. */
static void cpu_writes(__u64 iova, __u32 length)
{
	static __u8 stamp;

	memset(memory + (iova - BASE), ++stamp, length);
}

static int write_mock_iommu(__u64 iova, __u32 length)
{
	cpu_writes(iova, length);
	return _hwpt_dirty(iommu, mock_hwpt, iova & -SZ_4K, SZ_4K);
}

static int write_log(__u64 iova, __u32 length)
{
	cpu_writes(iova, length);
	return _test_mock_dirty(log_device, iova, length, 0, 1);
}

static int write_emulated(__u64 iova, __u32 length)
{
	static __u8 stamp;

	return _emulated_run(emulated_device, EMULATED_DMA_WRITE, iova, length,
			     ++stamp);
}

static struct source sources[SOURCES] = {
	{ "mlx5 VF's page tracker", IOMMUFD_DIRTY_KIND_DEVICE, write_vf,
	  .unit = SZ_4K },
	{ "IOMMU, IOPTEs of 1 MiB", IOMMUFD_DIRTY_KIND_IOMMU_DOMAIN,
	  write_mock_iommu, .unit = SZ_1M },
	{ "device's own log", IOMMUFD_DIRTY_KIND_DEVICE, write_log,
	  .unit = SZ_64K },
	{ "emulated device", IOMMUFD_DIRTY_KIND_SOFTWARE, write_emulated,
	  .unit = SZ_4K },
};

/* A virtual function of a ConnectX. */
static void make_vf(__u32 ioas_id)
{
	int device = vfio_driver_open(VFIO_MLX5, 0);

	need(device != -1, "a VF that " VFIO_MLX5 " drives");
	need(!_vfio_bind_iommufd(device, iommu, NULL),
	     "VFIO_DEVICE_BIND_IOMMUFD");
	need(!_vfio_attach(device, ioas_id), "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
	need(!_vfio_enable_dma(device), "PCI bus master");
	engine = engine_map(device);
	need(engine != MAP_FAILED, "the DMA engine of mlx5-model");
	need(!_vfio_dirty_bind(device, fd, POLICY_FAIL, &sources[A].id),
	     "VFIO_DEVICE_FEATURE_DIRTY_TRACKER of the VF");
}

static void make_emulated(__u32 ioas_id)
{
	emulated_device = _emulated_open(0);
	need(emulated_device != -1,
	     "an emulated VFIO device (is iommufd-dirty-emulated.ko loaded?)");
	need(!_vfio_bind_iommufd(emulated_device, iommu, NULL),
	     "VFIO_DEVICE_BIND_IOMMUFD");
	need(!_vfio_attach(emulated_device, ioas_id),
	     "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
	need(!_vfio_dirty_bind(emulated_device, fd, POLICY_FAIL, &sources[D].id),
	     "VFIO_DEVICE_FEATURE_DIRTY_TRACKER (is iommufd-dirty-vfio.ko loaded?)");
}

/*
 * Both page tables map the same memory: whatever is mapped before large pages
 * are allowed stays small.
 */
static void make_devices(void)
{
	struct mock_create device = { .pgsizes = SZ_64K | SZ_2M };
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
	make_vf(ioas_id);

	large.object_id = ioas_id;
	need(!ioctl(iommu, IOMMU_OPTION, &large), "IOMMU_OPTION");
	need(!_iommu_hwpt_alloc(iommu, idev_id, ioas_id,
				IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
				MOCK_IOMMUPT_HUGE, &mock_hwpt),
	     "IOMMU_HWPT_ALLOC");
	need(!_test_cmd_bind_hwpt(fd, iommu, mock_hwpt, POLICY_FAIL,
				  &sources[B].id),
	     "IOMMUFD_DIRTY_BIND_HWPT");

	log_device = _test_mock_create(&device);
	need(log_device != -1, MOCK_PATH " (is iommufd-dirty-mock.ko loaded?)");
	need(!_test_mock_bind(log_device, fd, POLICY_FAIL, &sources[C].id),
	     "iommufd_dirty_bind()");
	make_emulated(ioas_id);
}

static void make_sources(void)
{
	struct iommufd_dirty_tracker_info info;
	struct iommufd_dirty_info kernel;
	unsigned int n;
	bool right = true;

	step("One context, four sources of dirty pages");
	fd = open(DEV_PATH, O_RDWR | O_CLOEXEC);
	need(fd != -1, DEV_PATH " (is iommufd-dirty.ko loaded?)");
	need(!_test_cmd_info(fd, &kernel), "IOMMUFD_DIRTY_INFO");
	errno = EOPNOTSUPP;
	need(kernel.out_features & IOMMUFD_DIRTY_FEATURE_HWPT,
	     "this kernel's iommufd does not let the module read an HWPT (apply patches/)");
	make_devices();

	for (n = 0; n < SOURCES; n++) {
		need(!_test_cmd_tracker_info(fd, sources[n].id, &info),
		     "IOMMUFD_DIRTY_TRACKER_INFO");
		printf("        %c: tracker %u, %-22s can do ", 'A' + n,
		       info.tracker_id, sources[n].name);
		print_granules(info.out_pgsizes);
		printf(" per bit\n");
		right &= info.out_kind == sources[n].kind;
	}
	promise(right,
		"all are bound: two devices, an IOMMU domain and software");
	printf("\n  They reach the same 16 MiB of memory. A: a virtual function of a ConnectX, as\n"
	       "  tools/testing/mlx5-model is one: it writes by DMA, and its firmware keeps a log.\n"
	       "  D has no hardware: the kernel writes for it. B and C: mocks of an IOMMU with\n"
	       "  large pages, and of a device that has a coarse log.\n");
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
		results[C].granule == SZ_64K && results[D].granule == SZ_4K &&
		granule == SZ_64K,
		"without insisting each gets its own; C's log makes it %s in all",
		size_name(granule));
}

/* A device writes to a page, behind the CPU's back. */
static void write_page(unsigned int n, unsigned int page)
{
	struct source *source = &sources[n];
	unsigned int per_bit = source->unit / SZ_4K;
	unsigned int i, first = page / per_bit * per_bit;
	static unsigned int turn;

	/* Not always to the same place: what it writes may be the same. */
	need(!source->write(BASE + page * SZ_4K + turn++ % 64 * 64, 64),
	     source->name);
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

	step("What each tracker saw: a READ of each, then one READ of all");
	for (i = 0; i < 64; i++) {
		write_page(A, 200 + i);
		write_page(A, 600 + i * 16);
		write_page(C, 3000 + i * 12);
		write_page(D, 2300 + i * 8);
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
		"the merged READ, one system call, is all of them together");
	need(!read_pages(0, 0, &again), "IOMMUFD_DIRTY_READ");
	promise(!count(&again), "and it cleared them: the next one finds nothing");
}

static void precopy(void)
{
	/* 1 page is written while so many are sent. */
	static const unsigned int speed[SOURCES] = { 64, 1024, 256, 64 };
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

	/* What the devices had in progress when they were asked to stop. */
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
	/* After a FINAL READ trackers may report the same pages again. */
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
		write_page(D, 1000 + i * 2);
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
	unsigned int n;
	bool right = true;

	step("What it costs the kernel");
	for (n = 0; n < SOURCES; n++) {
		need(!_test_cmd_stats(fd, sources[n].id, &stats),
		     "IOMMUFD_DIRTY_STATS");
		printf("        %c: kernel bitmap bytes held: %llu\n", 'A' + n,
		       stats.out_bitmap_bytes);
		right &= n == D || !stats.out_bitmap_bytes;
	}
	promise(right,
		"none for A, B and C: their bits went straight to the user's bitmap\n"
		"        (D has no hardware that would keep its bits)");
	need(!_test_cmd_stats(fd, 0, &stats), "IOMMUFD_DIRTY_STATS");
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
