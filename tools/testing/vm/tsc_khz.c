// SPDX-License-Identifier: GPL-2.0
/*
 * Prints the frequency of this machine's TSC in kHz. An emulated processor has it,
 * too: QEMU passes it on.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define TRIES 1000
#define MSEC 1000000

struct sample {
	uint64_t tsc;
	uint64_t ns;
};

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

/* Both clocks at one time: the one of many tries that was disturbed least. */
static struct sample sample(void)
{
	uint64_t least = UINT64_MAX;
	struct sample best = {};

	for (int i = 0; i < TRIES; i++) {
		uint64_t before = __rdtsc();
		uint64_t ns = now();
		uint64_t took = __rdtsc() - before;

		if (took < least) {
			least = took;
			best.tsc = before + took / 2;
			best.ns = ns;
		}
	}
	return best;
}

int main(void)
{
	struct timespec pause = { .tv_nsec = 200 * MSEC };
	struct sample first = sample(), last;

	nanosleep(&pause, NULL);
	last = sample();
	printf("%llu\n", (unsigned long long)((last.tsc - first.tsc) * MSEC /
					      (last.ns - first.ns)));
	return 0;
}
