/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The parts of iommufd-dirty-migratable: bar.c is what BAR 0 does, with the log of it;
 * migratable.c the rest.
 */
#ifndef __IOMMUFD_DIRTY_MIGRATABLE_PRIVATE_H
#define __IOMMUFD_DIRTY_MIGRATABLE_PRIVATE_H

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <linux/xarray.h>

#include "iommufd_dirty_migratable.h"
#include "migration.h"

struct migratable {
	struct vfio_device vdev;
	/* Its lock protects all that follows. */
	struct migration migration;
	__le32 registers[MIGRATABLE_END / 4];
	u8 config[PCI_CFG_SPACE_SIZE];
	/* The log: an entry for each page of 4 KiB that was written. */
	bool logging;
	struct xarray log;
};

static inline struct migratable *to_migratable(struct vfio_device *vdev)
{
	return container_of(vdev, struct migratable, vdev);
}

extern const struct vfio_log_ops migratable_log_ops;

ssize_t migratable_bar_read(struct migratable *dev, char __user *buf,
			    size_t count, u64 at);
ssize_t migratable_bar_write(struct migratable *dev, const char __user *buf,
			     size_t count, u64 at);
void migratable_log_end(struct migratable *dev);

#endif
