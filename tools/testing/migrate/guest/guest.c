// SPDX-License-Identifier: GPL-2.0
/*
 * A guest that shows whether a live migration lost something. Without end it lets each of
 * its devices write to pages of its memory by DMA, compares all of these pages with what
 * they should be, and says on the serial port what it found:
 *
 *   guest: <number> devices
 *   lost: device <number> page <number> is <number>, not <number>
 *   pass <number>: <number> writes, <number> lost
 *
 * The processor writes to a MiB all the time, too, so that a migration does not end before
 * it is allowed to. A page that is wrong is counted once. What should be in a page is kept
 * in memory that the processor writes, of which QEMU itself knows whether it is dirty.
 *
 * With "remap" in its command line the devices write to a window of memory, too, which
 * is not there for a part of each pass: QEMU then unmaps it, with its dirty bits.
 *
 * With "viommu" they are behind a virtual IOMMU, and write by the same addresses to other
 * pages in each pass.
 */
#include "busy.h"
#include "devices.h"
#include "pc.h"
#include "viommu.h"
#include "window.h"

#define MAX_DEVICES 4
/* Each device has as much: 16 MiB. */
#define PAGES 4096
#define WINDOW_PAGES (WINDOW_SIZE / PAGE_SIZE / MAX_DEVICES)
/* What a device reaches at a time by the virtual IOMMU. */
#define MAPPED_PAGES (VIOMMU_PAGES / MAX_DEVICES)
#define WORDS (PAGE_SIZE / sizeof(uint32_t))
#define FIRST_PAGE 0x1000000
#define WRITES_PER_PASS 256
#define LOSSES_SHOWN 3
/* Leaves pages clean for a while, so that a migration can get on. */
#define PAUSE 2000000

struct device {
	uint32_t id;
	uint32_t bar;
};

static struct device devices[MAX_DEVICES];
static unsigned int nr_devices;
static uint32_t expected[MAX_DEVICES][PAGES + WINDOW_PAGES];
/* Of each device: without the window's, or with them. */
static unsigned int nr_pages = PAGES;
static int has_viommu;
/* The first page of each device that is mapped. */
static unsigned int first_mapped;
static uint32_t seed = 12345;
static uint32_t writes, lost;

static uint32_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed;
}

/* The window's pages come last. */
static volatile uint32_t *page_of(unsigned int device, unsigned int page)
{
	if (page >= PAGES) {
		page += device * WINDOW_PAGES - PAGES;
		return (volatile uint32_t *)(WINDOW + page * PAGE_SIZE);
	}
	return (volatile uint32_t *)(FIRST_PAGE + (device * PAGES + page) * PAGE_SIZE);
}

static void find_devices(void)
{
	unsigned int slot, page;

	for (slot = 0; slot < PCI_DEVICES && nr_devices < MAX_DEVICES; slot++) {
		struct device *device = &devices[nr_devices];
		uint32_t offset = 0;

		device->id = pci_read(slot, PCI_ID);
		if (device->id == MLX5_VF)
			offset = MLX5_ENGINE;
		else if (device->id != EMULATED && device->id != TESTDEV)
			continue;
		device->bar = pci_bar0(slot) + offset;
		viommu_add(slot);
		for (page = 0; page < nr_pages; page++)
			*page_of(nr_devices, page) = 0;
		nr_devices++;
	}
	put("guest: ");
	put_number(nr_devices);
	put(" devices\n");
}

/*
 * What is to be compared with what is expected: the first word of a page, or, as an
 * iommu-testdev always writes the same, how many words it wrote there.
 */
static uint32_t content(unsigned int nr, unsigned int page)
{
	volatile uint32_t *at = page_of(nr, page);
	uint32_t count;

	if (devices[nr].id != TESTDEV)
		return *at;
	for (count = expected[nr][page]; count; count--) {
		if (at[count - 1] == TESTDEV_PATTERN)
			break;
	}
	return count;
}

/* Lets the devices reach other pages than before. */
static void map_others(void)
{
	unsigned int nr, page;

	first_mapped = next_random() % (PAGES / MAPPED_PAGES) * MAPPED_PAGES;
	for (nr = 0; nr < nr_devices; nr++)
		for (page = 0; page < MAPPED_PAGES; page++)
			viommu_map(nr * MAPPED_PAGES + page,
				   (uint32_t)page_of(nr, first_mapped + page));
	viommu_flush();
}

static void unmap(void)
{
	viommu_unmap();
	viommu_flush();
}

/* The page's address as the device has it. */
static uint32_t dma_address(unsigned int nr, unsigned int page)
{
	if (!has_viommu)
		return (uint32_t)page_of(nr, page);
	return VIOMMU_IOVA + (nr * MAPPED_PAGES + page - first_mapped) * PAGE_SIZE;
}

static unsigned int random_page(void)
{
	if (!has_viommu)
		return next_random() % PAGES;
	return first_mapped + next_random() % MAPPED_PAGES;
}

static void write_page(unsigned int nr, unsigned int page)
{
	struct device *device = &devices[nr];
	volatile uint32_t *at = page_of(nr, page);
	uint32_t address = dma_address(nr, page), failed = 0;

	busy();
	writes++;
	if (device->id == TESTDEV) {
		if (expected[nr][page] == WORDS) {
			while (expected[nr][page])
				at[--expected[nr][page]] = 0;
		}
		testdev_write(device->bar, address + expected[nr][page] * sizeof(*at));
		expected[nr][page]++;
		return;
	}
	if (device->id == MLX5_VF) {
		failed = mlx5_write(device->bar, address, writes);
		expected[nr][page] = __builtin_bswap32(writes);
	} else {
		failed = emulated_write(device->bar, address, writes);
		expected[nr][page] = writes;
	}
	if (failed)
		put("guest: a write failed\n");
}

static void verify(unsigned int nr)
{
	unsigned int page, shown = 0;

	for (page = 0; page < nr_pages; page++) {
		uint32_t is = content(nr, page);

		busy();
		if (is == expected[nr][page])
			continue;
		lost++;
		if (shown++ < LOSSES_SHOWN) {
			put("lost: device ");
			put_number(nr);
			put(" page ");
			put_number(page);
			put(" is ");
			put_number(is);
			put(", not ");
			put_number(expected[nr][page]);
			put("\n");
		}
		expected[nr][page] = is;
	}
}

static void wait(void)
{
	uint32_t count;

	for (count = 0; count < PAUSE; count++)
		busy();
}

void main(const struct boot_info *info)
{
	uint32_t pass, i;
	unsigned int nr;

	if (has_word(info, "remap")) {
		window_show(1);
		nr_pages = PAGES + WINDOW_PAGES;
	}
	find_devices();
	has_viommu = has_word(info, "viommu");
	if (has_viommu)
		viommu_start();
	for (pass = 1;; pass++) {
		if (has_viommu)
			map_others();
		for (i = 0; i < WRITES_PER_PASS; i++)
			for (nr = 0; nr < nr_devices; nr++)
				write_page(nr, random_page());
		if (has_viommu)
			unmap();
		if (nr_pages > PAGES) {
			for (nr = 0; nr < nr_devices; nr++)
				write_page(nr, PAGES + pass % WINDOW_PAGES);
			window_show(0);
			wait();
			window_show(1);
		}
		for (nr = 0; nr < nr_devices; nr++)
			verify(nr);
		put("pass ");
		put_number(pass);
		put(": ");
		put_number(writes);
		put(" writes, ");
		put_number(lost);
		put(" lost\n");
		wait();
	}
}
