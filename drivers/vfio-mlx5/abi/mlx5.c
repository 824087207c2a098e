// SPDX-License-Identifier: GPL-2.0
/*
 * The part of the firmware's side that must be C.
 */
#include <linux/dma-mapping.h>
#include <linux/gfp.h>
#include <linux/interrupt.h>
#include <linux/log2.h>
#include <linux/mm.h>

#include "mlx5.h"

const void *vfio_mlx5_cap(struct mlx5_core_dev *mdev, enum mlx5_cap_type type)
{
	return mdev->caps.hca[type]->cur;
}

int vfio_mlx5_numa_node(struct mlx5_core_dev *mdev)
{
	return mdev->priv.numa_node;
}

bool vfio_mlx5_is_embedded(struct mlx5_core_dev *mdev)
{
	return mlx5_core_is_ecpf(mdev);
}

u8 vfio_mlx5_ts_format(struct mlx5_core_dev *mdev)
{
	return mlx5_get_qp_default_ts(mdev);
}

/* A bounce buffer has less room than the page allocator. */
unsigned int vfio_mlx5_piece_max_order(struct mlx5_core_dev *mdev)
{
	size_t size = min_t(size_t, dma_max_mapping_size(mdev->device),
			    PAGE_SIZE << MAX_PAGE_ORDER);

	return size < PAGE_SIZE ? 0 : ilog2(size >> PAGE_SHIFT);
}

static enum dma_data_direction direction(bool device_writes)
{
	return device_writes ? DMA_FROM_DEVICE : DMA_TO_DEVICE;
}

void *vfio_mlx5_piece_alloc(struct mlx5_core_dev *mdev, unsigned int order,
			    bool device_writes, u64 *address)
{
	struct page *page;
	dma_addr_t mapped;

	page = alloc_pages_node(mdev->priv.numa_node,
				GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_COMP |
				__GFP_NORETRY | __GFP_NOWARN, order);
	if (!page)
		return NULL;
	mapped = dma_map_page(mdev->device, page, 0, PAGE_SIZE << order,
			      direction(device_writes));
	if (dma_mapping_error(mdev->device, mapped)) {
		__free_pages(page, order);
		return NULL;
	}
	*address = mapped;
	return page_address(page);
}

void vfio_mlx5_piece_free(struct mlx5_core_dev *mdev, void *piece,
			  unsigned int order, bool device_writes, u64 address)
{
	dma_unmap_page(mdev->device, address, PAGE_SIZE << order,
		       direction(device_writes));
	__free_pages(virt_to_page(piece), order);
}

void vfio_mlx5_piece_sync(struct mlx5_core_dev *mdev, u64 address, size_t size,
			  bool device_writes, bool for_cpu)
{
	if (for_cpu)
		dma_sync_single_for_cpu(mdev->device, address, size,
					direction(device_writes));
	else
		dma_sync_single_for_device(mdev->device, address, size,
					   direction(device_writes));
}

u32 vfio_mlx5_uar_index(struct mlx5_uars_page *uar)
{
	return uar->index;
}

void vfio_mlx5_cq_arm(struct mlx5_core_cq *cq, struct mlx5_uars_page *uar,
		      u32 counter)
{
	mlx5_cq_arm(cq, MLX5_CQ_DB_REQ_NOT, uar->map, counter);
}

/*
 * What mlx5_core_destroy_cq() leaves out when the firmware does not destroy the
 * queue: it is in no EQ any more, so only a callback that has begun is left.
 */
void vfio_mlx5_cq_wait_unused(struct mlx5_core_cq *cq)
{
	synchronize_irq(cq->irqn);
	mlx5_cq_put(cq);
	wait_for_completion(&cq->free);
}

/* The numbers of two objects of different types may be the same. */
bool vfio_mlx5_event_tracker(const void *eqe, u32 *id)
{
	const struct mlx5_eqe *event = eqe;

	if (be16_to_cpu(event->data.obj_change.obj_type) !=
	    MLX5_OBJ_TYPE_PAGE_TRACK)
		return false;
	*id = be32_to_cpu(event->data.obj_change.obj_id);
	return true;
}

bool vfio_mlx5_event_qp(const void *eqe, u32 *qpn)
{
	const struct mlx5_eqe *event = eqe;

	if (event->data.qp_srq.type != MLX5_EVENT_QUEUE_TYPE_QP)
		return false;
	*qpn = be32_to_cpu(event->data.qp_srq.qp_srq_n) & 0xffffff;
	return true;
}
