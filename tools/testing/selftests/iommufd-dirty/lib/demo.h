/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the demo's steps use: different sources of dirty pages, what each of them
 * wrote, and a map of it.
 */
#ifndef __SELFTEST_IOMMUFD_DIRTY_DEMO
#define __SELFTEST_IOMMUFD_DIRTY_DEMO

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* The helpers include the harness, and the demo has a main() of its own. */
#pragma GCC diagnostic ignored "-Wunused-function"
#include "emulated.h"
#include "mlx5_engine.h"

#define BASE ((__u64)MOCK_APERTURE_START)
#define SIZE (16 * SZ_1M)
#define PAGES (SIZE / SZ_4K)
#define COLUMNS 64
#define PAGES_PER_COLUMN (PAGES / COLUMNS)

enum { A, B, C, D, SOURCES };

/* A bit for each page, as READ writes them. */
struct pages {
	__u8 bits[PAGES / 8];
};

/**
 * struct source - A tracker, and the device that writes behind it
 * @name: For people
 * @kind: enum iommufd_dirty_kind
 * @write: Lets the device write to @length bytes, less than a page
 * @id: Tracker id in the context
 * @unit: Bytes that share a dirty bit
 * @written: What READ has to report: the writes, rounded out to @unit
 */
struct source {
	const char *name;
	__u32 kind;
	int (*write)(__u64 iova, __u32 length);
	__u32 id;
	__u64 unit;
	struct pages written;
};

static int broken;

/* The demo cannot continue without this. */
static inline void need(bool done, const char *what)
{
	if (done)
		return;
	printf("Cannot go on: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Prints a promise of this demo, and whether it holds. */
static inline __printf(2, 3) void promise(bool kept, const char *format, ...)
{
	va_list args;

	if (!kept)
		broken++;
	printf("  %s ", kept ? "[yes]" : "[NO!]");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

static inline void step(const char *title)
{
	static int nr;

	printf("\n%d. %s\n\n", ++nr, title);
}

/* "64 KiB" */
static const char *size_name(__u64 bytes)
{
	static char names[4][24];
	static unsigned int next;
	char *name = names[next++ % 4];
	const char *unit = "KiBMiBGiBTiBPiBEiB";

	for (bytes /= 1024; bytes >= 1024 && bytes % 1024 == 0; bytes /= 1024)
		unit += 3;
	snprintf(name, sizeof(names[0]), "%llu %.3s", bytes, unit);
	return name;
}

/* "64 KiB, 2 MiB"; many are "4 KiB to 1 GiB" */
static inline void print_granules(__u64 pgsizes)
{
	__u64 finest = pgsizes & -pgsizes;
	__u64 coarsest = 1ULL << (63 - __builtin_clzll(pgsizes));

	printf("%s", size_name(finest));
	if (coarsest != finest)
		printf("%s %s",
		       __builtin_popcountll(pgsizes) == 2 ? "," : " to",
		       size_name(coarsest));
}

static inline unsigned int count(const struct pages *pages)
{
	unsigned int i, sum = 0;

	for (i = 0; i < sizeof(pages->bits); i++)
		sum += __builtin_popcount(pages->bits[i]);
	return sum;
}

static inline void add(struct pages *to, const struct pages *from)
{
	unsigned int i;

	for (i = 0; i < sizeof(to->bits); i++)
		to->bits[i] |= from->bits[i];
}

static inline bool same(const struct pages *one, const struct pages *other)
{
	return !memcmp(one, other, sizeof(*one));
}

/* The column's pages that are dirty. */
static inline unsigned int in_column(const struct pages *pages,
				     unsigned int column)
{
	unsigned int i, sum = 0;

	for (i = 0; i < PAGES_PER_COLUMN; i++)
		sum += bit_test(pages->bits, column * PAGES_PER_COLUMN + i);
	return sum;
}

static inline void draw_scale(void)
{
	unsigned int i;

	printf("           ");
	for (i = 0; i < COLUMNS; i += 16)
		printf("|%-15s",
		       size_name(BASE + i * PAGES_PER_COLUMN * SZ_4K));
	printf("|\n");
}

static inline void draw_row(char letter, const struct pages *pages)
{
	unsigned int i, dirty;

	printf("         %c ", letter);
	for (i = 0; i < COLUMNS; i++) {
		dirty = in_column(pages, i);
		putchar(!dirty			    ? '.' :
			dirty == PAGES_PER_COLUMN ? letter :
						    letter - 'A' + 'a');
	}
	printf("  %u pages\n", count(pages));
}

/* @merged, with the letter of the one that made a column dirty, or a '+'. */
static inline void draw_merged(const struct pages *merged,
			       const struct pages *of)
{
	unsigned int i, n, owners, dirty;
	char c;

	printf("    merged ");
	for (i = 0; i < COLUMNS; i++) {
		dirty = in_column(merged, i);
		c = dirty ? '?' : '.';
		for (n = 0, owners = 0; n < SOURCES; n++) {
			if (!in_column(&of[n], i))
				continue;
			c = dirty == PAGES_PER_COLUMN ? 'A' + n : 'a' + n;
			owners++;
		}
		putchar(owners > 1 ? '+' : c);
	}
	printf("  %u pages\n", count(merged));
}

static inline void draw_legend(void)
{
	printf("\n           one column is %s; . clean, a b c d some of its pages\n"
	       "           dirty, A B C D all of them, + dirty by more than one\n",
	       size_name(PAGES_PER_COLUMN * SZ_4K));
}

#endif
