/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Removing the modules under test and loading them again. They have to be where
 * modprobe finds them.
 */
#ifndef __SELFTEST_IOMMUFD_DIRTY_MODULES
#define __SELFTEST_IOMMUFD_DIRTY_MODULES

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NO_MODULES "modprobe does not find the modules, or they are built in"

static inline bool have_modules(void)
{
	return !system("modinfo iommufd-dirty-mock >/dev/null 2>&1");
}

/* @params are those of iommufd-dirty.ko. */
static inline int load_modules(const char *params)
{
	char command[256];

	snprintf(command, sizeof(command),
		 "modprobe iommufd-dirty %s && modprobe iommufd-dirty-mock",
		 params);
	return system(command);
}

/* Does what rmmod does; the errno says why not. */
static inline int remove_module(const char *name)
{
	return syscall(__NR_delete_module, name, O_NONBLOCK);
}

static inline int remove_modules(void)
{
	/* Uses the core, and may be loaded or not. */
	remove_module("iommufd_dirty_vfio");
	return remove_module("iommufd_dirty_mock") ?:
	       remove_module("iommufd_dirty");
}

#endif
