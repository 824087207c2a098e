/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Signals that interrupt system calls again and again.
 */
#ifndef __SELFTEST_IOMMUFD_DIRTY_SIGNALS
#define __SELFTEST_IOMMUFD_DIRTY_SIGNALS

#include <signal.h>
#include <sys/time.h>

static inline void on_alarm(int sig)
{
	(void)sig;
}

/* Every @ms milliseconds; 0 is no more. */
static inline int interrupt_every(unsigned int ms)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval timer = {
		.it_interval.tv_usec = ms * 1000,
		.it_value.tv_usec = ms * 1000,
	};

	return sigaction(SIGALRM, &action, NULL) ?:
	       setitimer(ITIMER_REAL, &timer, NULL);
}

#endif
