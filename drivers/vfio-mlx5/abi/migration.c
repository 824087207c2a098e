// SPDX-License-Identifier: GPL-2.0
/*
 * The part of the migration of a VF that must be C.
 */
#include <linux/anon_inodes.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>

#include "migration.h"

static enum dma_data_direction direction(bool device_writes)
{
	return device_writes ? DMA_FROM_DEVICE : DMA_TO_DEVICE;
}

int vfio_mlx5_map_page(struct mlx5_core_dev *mdev, struct page *page,
		       bool device_writes, u64 *address)
{
	struct device *dma = mdev->device;
	dma_addr_t mapped;

	mapped = dma_map_page(dma, page, 0, PAGE_SIZE, direction(device_writes));
	if (dma_mapping_error(dma, mapped))
		return -ENOMEM;
	*address = mapped;
	return 0;
}

void vfio_mlx5_unmap_page(struct mlx5_core_dev *mdev, u64 address,
			  bool device_writes)
{
	dma_unmap_page(mdev->device, address, PAGE_SIZE,
		       direction(device_writes));
}

struct file *vfio_mlx5_stream(const struct file_operations *fops, void *data,
			      bool reads)
{
	struct file *file;

	file = anon_inode_getfile("vfio-mlx5-state", fops, data,
				  reads ? O_RDONLY : O_WRONLY);
	if (!IS_ERR(file))
		stream_open(file_inode(file), file);
	return file;
}
