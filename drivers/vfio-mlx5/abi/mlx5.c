// SPDX-License-Identifier: GPL-2.0
/*
 * The part of the firmware's side that must be C.
 */
#include <linux/interrupt.h>

#include "mlx5.h"

const void *vfio_mlx5_cap(struct mlx5_core_dev *mdev, enum mlx5_cap_type type)
{
	return mdev->caps.hca[type]->cur;
}

int vfio_mlx5_numa_node(struct mlx5_core_dev *mdev)
{
	return mdev->priv.numa_node;
}

u8 vfio_mlx5_ts_format(struct mlx5_core_dev *mdev)
{
	return mlx5_get_qp_default_ts(mdev);
}
bool vfio_mlx5_is_embedded(struct mlx5_core_dev *mdev)
{
	return mlx5_core_is_ecpf(mdev);
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
