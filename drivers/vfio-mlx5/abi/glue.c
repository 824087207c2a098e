// SPDX-License-Identifier: GPL-2.0
/*
 * The part of VFIO's side that must be C: the PCI driver and the ops of its
 * devices, because kernel::pci::Driver cannot host a VFIO driver.
 */
#include <linux/iommufd_dirty_vfio.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/vfio_pci_core.h>

#include "glue.h"

int vfio_mlx5_register(void)
{
	return 0;
}

void vfio_mlx5_unregister(void)
{
}
