// SPDX-License-Identifier: GPL-2.0
/*
 * The part of VFIO's side that must be C: the PCI driver and the ops of its
 * devices, because kernel::pci::Driver cannot host a VFIO driver, and what is
 * inline or looks into VFIO's structures.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/interval_tree.h>
#include <linux/iommufd_dirty_vfio.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/sched/signal.h>
#include <linux/vfio_pci_core.h>

#include "glue.h"

/**
 * struct vfio_mlx5_device - A VF that is bound to this driver
 * @core: What vfio_pci_core has of it
 * @vf: What Rust has of it; NULL if it cannot be migrated
 * @bind_lock: Held while the tracker is bound to a context
 * @attaches: How often it was attached to an I/O page table
 * @attached: The number of the attach that it is in, or 0
 * @bound: Where it was when the tracker was bound, see place(). Written with
 *         @bind_lock held
 */
struct vfio_mlx5_device {
	struct vfio_pci_core_device core;
	void *vf;
	struct mutex bind_lock; /* tracker->space and bound, which may be put back */
	u64 attaches;
	u64 attached;
	u64 bound;
};

static struct vfio_mlx5_device *to_mlx5(struct vfio_device *vdev)
{
	return container_of(vdev, struct vfio_mlx5_device, core.vdev);
}

static int open_device(struct vfio_device *vdev)
{
	struct vfio_mlx5_device *mlx5 = to_mlx5(vdev);
	int ret;

	ret = vfio_pci_core_enable(&mlx5->core);
	if (ret)
		return ret;
	/* It is attached afterwards. */
	mlx5->attached = 0;
	mlx5->bound = 0;
	if (mlx5->vf)
		ret = vfio_mlx5_rs_open(mlx5->vf, vdev);
	if (ret) {
		vfio_pci_core_disable(&mlx5->core);
		return ret;
	}
	vfio_pci_core_finish_enable(&mlx5->core);
	return 0;
}

static void close_device(struct vfio_device *vdev)
{
	struct vfio_mlx5_device *mlx5 = to_mlx5(vdev);

	if (mlx5->vf)
		vfio_mlx5_rs_close(mlx5->vf);
	vfio_pci_core_close_device(vdev);
}

/* What a context may compare with that of other trackers: 0 is not known. */
static u64 space(struct vfio_device *vdev)
{
#ifdef VFIO_MLX5_SPACE
	return vfio_device_dirty_space(vdev);
#else
	return 0;
#endif
}

/*
 * A number that changes when the device comes into another I/O address space,
 * and 0 while it is in none of an iommufd. A kernel without the patches does not
 * tell the space: there each attach may have been to another one.
 */
static u64 place(struct vfio_device *vdev)
{
#ifdef VFIO_MLX5_SPACE
	return vfio_device_dirty_space(vdev);
#else
	return READ_ONCE(to_mlx5(vdev)->attached);
#endif
}

bool vfio_mlx5_has_moved(struct vfio_device *vdev)
{
	return place(vdev) != READ_ONCE(to_mlx5(vdev)->bound);
}

static int attach_ioas(struct vfio_device *vdev, u32 *pt_id)
{
	struct vfio_mlx5_device *mlx5 = to_mlx5(vdev);
	u64 attached = mlx5->attached;
	int ret;

	/* Before: what is written from then on is of another space. */
	WRITE_ONCE(mlx5->attached, ++mlx5->attaches);
	ret = vfio_iommufd_physical_attach_ioas(vdev, pt_id);
	if (ret)
		WRITE_ONCE(mlx5->attached, attached);
	return ret;
}

static void detach_ioas(struct vfio_device *vdev)
{
	WRITE_ONCE(to_mlx5(vdev)->attached, 0);
	vfio_iommufd_physical_detach_ioas(vdev);
}

/* A bind that is refused leaves the tracker in the address space that it was in. */
static int bind_tracker(struct vfio_mlx5_device *mlx5, u32 flags,
			void __user *arg, size_t argsz)
{
	struct iommufd_dirty_tracker *tracker;
	u64 was_in, bound;
	int ret;

	tracker = vfio_mlx5_rs_tracker(mlx5->vf);
	if (!tracker)
		return -ENODEV;
	if (flags & VFIO_DEVICE_FEATURE_PROBE)
		return iommufd_dirty_vfio_feature(tracker, flags, arg, argsz);

	guard(mutex)(&mlx5->bind_lock);
	was_in = tracker->space;
	bound = mlx5->bound;
	/* Before: it may be started by that. */
	WRITE_ONCE(mlx5->bound, place(&mlx5->core.vdev));
	WRITE_ONCE(tracker->space, space(&mlx5->core.vdev));
	if (mlx5->bound)
		ret = iommufd_dirty_vfio_feature(tracker, flags, arg, argsz);
	else
		ret = -EXDEV;
	if (ret) {
		WRITE_ONCE(tracker->space, was_in);
		WRITE_ONCE(mlx5->bound, bound);
	}
	return ret;
}

static int device_feature(struct vfio_device *vdev, u32 flags, void __user *arg,
			  size_t argsz)
{
	struct vfio_mlx5_device *mlx5 = to_mlx5(vdev);

	if ((flags & VFIO_DEVICE_FEATURE_MASK) !=
	    VFIO_DEVICE_FEATURE_DIRTY_TRACKER)
		return vfio_pci_core_ioctl_feature(vdev, flags, arg, argsz);
	if (!mlx5->vf || !vfio_mlx5_rs_tracks(mlx5->vf))
		return -ENOTTY;
	if (!(flags & VFIO_DEVICE_FEATURE_PROBE) && vfio_mlx5_rs_logs(mlx5->vf))
		return -EBUSY;
	return bind_tracker(mlx5, flags, arg, argsz);
}

static const struct vfio_device_ops device_ops = {
	.name = "vfio-mlx5",
	.init = vfio_pci_core_init_dev,
	.release = vfio_pci_core_release_dev,
	.open_device = open_device,
	.close_device = close_device,
	.ioctl = vfio_pci_core_ioctl,
	.get_region_info_caps = vfio_pci_ioctl_get_region_info,
	.device_feature = device_feature,
	.read = vfio_pci_core_read,
	.write = vfio_pci_core_write,
	.mmap = vfio_pci_core_mmap,
	.request = vfio_pci_core_request,
	.match = vfio_pci_core_match,
	.match_token_uuid = vfio_pci_core_match_token_uuid,
	.bind_iommufd = vfio_iommufd_physical_bind,
	.unbind_iommufd = vfio_iommufd_physical_unbind,
	.attach_ioas = attach_ioas,
	.detach_ioas = detach_ioas,
};

static int log_start(struct vfio_device *vdev, struct rb_root_cached *ranges,
		     u32 nr, u64 *page_size)
{
	return vfio_mlx5_rs_log_start(to_mlx5(vdev)->vf, ranges, nr, page_size);
}

static int log_stop(struct vfio_device *vdev)
{
	return vfio_mlx5_rs_log_stop(to_mlx5(vdev)->vf);
}

static int log_read(struct vfio_device *vdev, unsigned long iova,
		    unsigned long length, struct iova_bitmap *bitmap)
{
	return vfio_mlx5_rs_log_read(to_mlx5(vdev)->vf, iova, length, bitmap);
}

static const struct vfio_log_ops log_ops = {
	.log_start = log_start,
	.log_stop = log_stop,
	.log_read_and_clear = log_read,
};

static struct file *set_state(struct vfio_device *vdev,
			      enum vfio_device_mig_state state)
{
	return vfio_mlx5_rs_set_state(to_mlx5(vdev)->vf, vdev, state);
}

static int get_state(struct vfio_device *vdev,
		     enum vfio_device_mig_state *state)
{
	*state = vfio_mlx5_rs_get_state(to_mlx5(vdev)->vf);
	return 0;
}

static int get_data_size(struct vfio_device *vdev, unsigned long *size)
{
	return vfio_mlx5_rs_data_size(to_mlx5(vdev)->vf, size);
}

static const struct vfio_migration_ops migration_ops = {
	.migration_set_state = set_state,
	.migration_get_state = get_state,
	.migration_get_data_size = get_data_size,
};

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct vfio_mlx5_device *mlx5;
	void *vf;
	int ret;

	mlx5 = vfio_alloc_device(vfio_mlx5_device, core.vdev, &pdev->dev,
				 &device_ops);
	if (IS_ERR(mlx5))
		return PTR_ERR(mlx5);
	dev_set_drvdata(&pdev->dev, &mlx5->core);
	mutex_init(&mlx5->bind_lock);

	/* What cannot be migrated, or tracked, is a VFIO device all the same. */
	vf = vfio_mlx5_rs_probe(pdev);
	if (IS_ERR(vf)) {
		pci_info(pdev, "cannot be migrated and tracked (%pe)\n", vf);
	} else {
		mlx5->vf = vf;
		if (vfio_mlx5_rs_tracks(vf))
			mlx5->core.vdev.log_ops = &log_ops;
		else
			pci_info(pdev, "cannot be tracked: the firmware has no page tracker\n");
		mlx5->core.vdev.mig_ops = &migration_ops;
		mlx5->core.vdev.migration_flags = VFIO_MIGRATION_STOP_COPY |
						  VFIO_MIGRATION_P2P |
						  VFIO_MIGRATION_PRE_COPY;
	}

	ret = vfio_pci_core_register_device(&mlx5->core);
	if (ret) {
		if (mlx5->vf)
			vfio_mlx5_rs_remove(mlx5->vf);
		vfio_put_device(&mlx5->core.vdev);
	}
	return ret;
}

static void remove(struct pci_dev *pdev)
{
	struct vfio_pci_core_device *core = dev_get_drvdata(&pdev->dev);
	struct vfio_mlx5_device *mlx5 = to_mlx5(&core->vdev);

	/* Returns when nobody has the device open any more. */
	vfio_pci_core_unregister_device(core);
	if (mlx5->vf)
		vfio_mlx5_rs_remove(mlx5->vf);
	vfio_put_device(&core->vdev);
}

static const struct pci_device_id ids[] = {
	/* ConnectX Family mlx5Gen Virtual Function */
	{ PCI_DRIVER_OVERRIDE_DEVICE_VFIO(PCI_VENDOR_ID_MELLANOX, 0x101e) },
	{}
};
MODULE_DEVICE_TABLE(pci, ids);

static void reset_done(struct pci_dev *pdev)
{
	struct vfio_pci_core_device *core = dev_get_drvdata(&pdev->dev);
	struct vfio_mlx5_device *mlx5 = to_mlx5(&core->vdev);

	if (mlx5->vf)
		vfio_mlx5_rs_reset(mlx5->vf);
}

static const struct pci_error_handlers err_handlers = {
	.reset_done = reset_done,
	.error_detected = vfio_pci_core_aer_err_detected,
};

static struct pci_driver driver = {
	.name = KBUILD_MODNAME,
	.id_table = ids,
	.probe = probe,
	.remove = remove,
	.err_handler = &err_handlers,
	.driver_managed_dma = true,
};

/*
 * Both drivers answer to the same override id, so which one a VF gets would be a
 * matter of the order in which they were loaded; and who has the one in use
 * hardly means to have the other as well.
 */
static int refuse_other_driver(void)
{
	struct pci_dev *pdev = NULL;

	while ((pdev = pci_get_device(PCI_VENDOR_ID_MELLANOX, PCI_ANY_ID, pdev))) {
		if (strcmp(dev_driver_string(&pdev->dev), "mlx5_vfio_pci"))
			continue;
		pr_err("%s is bound to mlx5_vfio_pci: unbind it, and remove mlx5-vfio-pci, before this driver is loaded\n",
		       pci_name(pdev));
		pci_dev_put(pdev);
		return -EBUSY;
	}
	return 0;
}

int vfio_mlx5_register(void)
{
	int ret;

	ret = refuse_other_driver();
	if (ret)
		return ret;
	return pci_register_driver(&driver);
}

void vfio_mlx5_unregister(void)
{
	pci_unregister_driver(&driver);
}

bool vfio_mlx5_killed(void)
{
	return fatal_signal_pending(current);
}

const char *vfio_mlx5_name(struct pci_dev *pdev)
{
	return pci_name(pdev);
}

/* Negative if it is not a VF. */
int vfio_mlx5_vf_id(struct pci_dev *pdev)
{
	return pci_iov_vf_id(pdev);
}

/*
 * Returns a negative errno if nothing is known to have been set. A kernel without
 * the patches does not tell.
 */
int vfio_mlx5_bitmap_set(struct iova_bitmap *bitmap, u64 iova, u64 length)
{
#ifdef VFIO_MLX5_BITMAP_ERRORS
	return iova_bitmap_set(bitmap, iova, length);
#else
	iova_bitmap_set(bitmap, iova, length);
	return 0;
#endif
}

/*
 * Stores up to @max of the ranges in the tree, ascending. Returns how many there
 * are; one without a length is the whole address space.
 */
u32 vfio_mlx5_ranges(struct rb_root_cached *root,
		     struct iommufd_dirty_range *ranges, u32 max)
{
	struct interval_tree_node *node;
	u32 nr = 0;

	for (node = interval_tree_iter_first(root, 0, ULONG_MAX); node;
	     node = interval_tree_iter_next(node, 0, ULONG_MAX)) {
		if (nr < max) {
			ranges[nr].iova = node->start;
			ranges[nr].length = node->last - node->start + 1;
		}
		nr++;
	}
	return nr;
}
