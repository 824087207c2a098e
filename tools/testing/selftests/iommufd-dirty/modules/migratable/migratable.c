// SPDX-License-Identifier: GPL-2.0
/*
 * Emulated VFIO devices that a VMM can give to a guest and migrate, see
 * iommufd_dirty_migratable.h.
 */
#include <linux/mdev.h>
#include <linux/module.h>
#include <linux/uaccess.h>
#include <linux/unaligned.h>

#include "migratable.h"

#define MAX_DEVICES 16

/* A region's number is in the upper bits of its offset. */
#define REGION_SHIFT 40

/* Config space */

static void config_reset(struct migratable *dev)
{
	u8 *config = dev->config;

	memset(config, 0, sizeof(dev->config));
	put_unaligned_le16(MIGRATABLE_VENDOR, config + PCI_VENDOR_ID);
	put_unaligned_le16(MIGRATABLE_DEVICE, config + PCI_DEVICE_ID);
	config[PCI_CLASS_DEVICE + 1] = 0xff;
	config[PCI_HEADER_TYPE] = PCI_HEADER_TYPE_NORMAL;
}

/* The bits of a byte that can be written. */
static u8 config_writable(unsigned int at)
{
	switch (at) {
	case PCI_COMMAND:
		return PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	case PCI_BASE_ADDRESS_0 ... PCI_BASE_ADDRESS_0 + 3:
		return (u32)-MIGRATABLE_BAR_SIZE >>
		       8 * (at - PCI_BASE_ADDRESS_0);
	case PCI_INTERRUPT_LINE:
		return 0xff;
	default:
		return 0;
	}
}

static ssize_t config_read(struct migratable *dev, char __user *buf,
			   size_t count, u64 at)
{
	u8 config[PCI_CFG_SPACE_SIZE];

	if (at >= sizeof(config))
		return -EINVAL;
	scoped_guard(mutex, &dev->migration.lock)
		memcpy(config, dev->config, sizeof(config));
	count = min(count, sizeof(config) - at);
	return copy_to_user(buf, config + at, count) ? -EFAULT : count;
}

static ssize_t config_write(struct migratable *dev, const char __user *buf,
			    size_t count, u64 at)
{
	u8 value[PCI_CFG_SPACE_SIZE];

	if (at >= sizeof(value))
		return -EINVAL;
	count = min(count, sizeof(value) - at);
	if (copy_from_user(value, buf, count))
		return -EFAULT;
	guard(mutex)(&dev->migration.lock);
	for (size_t i = 0; i < count; i++) {
		u8 mask = config_writable(at + i);

		dev->config[at + i] &= ~mask;
		dev->config[at + i] |= value[i] & mask;
	}
	return count;
}

static ssize_t migratable_read(struct vfio_device *vdev, char __user *buf,
			       size_t count, loff_t *ppos)
{
	struct migratable *dev = to_migratable(vdev);
	u64 at = *ppos & (BIT_ULL(REGION_SHIFT) - 1);

	switch (*ppos >> REGION_SHIFT) {
	case VFIO_PCI_CONFIG_REGION_INDEX:
		return config_read(dev, buf, count, at);
	case VFIO_PCI_BAR0_REGION_INDEX:
		return migratable_bar_read(dev, buf, count, at);
	default:
		return -EINVAL;
	}
}

static ssize_t migratable_write(struct vfio_device *vdev,
				const char __user *buf, size_t count,
				loff_t *ppos)
{
	struct migratable *dev = to_migratable(vdev);
	u64 at = *ppos & (BIT_ULL(REGION_SHIFT) - 1);

	switch (*ppos >> REGION_SHIFT) {
	case VFIO_PCI_CONFIG_REGION_INDEX:
		return config_write(dev, buf, count, at);
	case VFIO_PCI_BAR0_REGION_INDEX:
		return migratable_bar_write(dev, buf, count, at);
	default:
		return -EINVAL;
	}
}

/* Migration: the state is the registers. Config space is the VMM's to restore. */

static struct migratable *migrating(struct migration *migration)
{
	return container_of(migration, struct migratable, migration);
}

static int migratable_save(struct migration *migration, void *data)
{
	struct migratable_state *state = data;

	state->magic = cpu_to_le32(MIGRATABLE_MAGIC);
	memcpy(state->registers, migrating(migration)->registers,
	       sizeof(state->registers));
	return 0;
}

static int migratable_load(struct migration *migration, const void *data)
{
	const struct migratable_state *state = data;

	if (le32_to_cpu(state->magic) != MIGRATABLE_MAGIC ||
	    le32_to_cpu(state->registers[MIGRATABLE_GO / 4]) > 1)
		return -EINVAL;
	memcpy(migrating(migration)->registers, state->registers,
	       sizeof(state->registers));
	return 0;
}

static struct file *migratable_set_state(struct vfio_device *vdev,
					 enum vfio_device_mig_state state)
{
	return migration_set_state(&to_migratable(vdev)->migration, vdev,
				   state);
}

static int migratable_get_state(struct vfio_device *vdev,
				enum vfio_device_mig_state *state)
{
	*state = migration_get_state(&to_migratable(vdev)->migration);
	return 0;
}

static int migratable_get_data_size(struct vfio_device *vdev,
				    unsigned long *length)
{
	*length = sizeof(struct migratable_state);
	return 0;
}

static const struct vfio_migration_ops migratable_mig_ops = {
	.migration_set_state = migratable_set_state,
	.migration_get_state = migratable_get_state,
	.migration_get_data_size = migratable_get_data_size,
};

/* The VFIO device */

/* The log outlives it: what was written is dirty all the same. */
static void migratable_reset(struct migratable *dev)
{
	guard(mutex)(&dev->migration.lock);
	migration_restart(&dev->migration);
	memset(dev->registers, 0, sizeof(dev->registers));
	config_reset(dev);
}

static long get_info(struct vfio_device_info __user *arg)
{
	unsigned long minsz = offsetofend(struct vfio_device_info, num_irqs);
	struct vfio_device_info info;

	if (copy_from_user(&info, arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;
	info.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
	info.num_regions = VFIO_PCI_NUM_REGIONS;
	info.num_irqs = VFIO_PCI_NUM_IRQS;
	return copy_to_user(arg, &info, minsz) ? -EFAULT : 0;
}

static long get_irq_info(struct vfio_irq_info __user *arg)
{
	unsigned long minsz = offsetofend(struct vfio_irq_info, count);
	struct vfio_irq_info info;

	if (copy_from_user(&info, arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz || info.index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	info.flags = 0;
	info.count = 0;
	return copy_to_user(arg, &info, minsz) ? -EFAULT : 0;
}

static long migratable_ioctl(struct vfio_device *vdev, unsigned int cmd,
			     unsigned long arg)
{
	switch (cmd) {
	case VFIO_DEVICE_GET_INFO:
		return get_info((void __user *)arg);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return get_irq_info((void __user *)arg);
	case VFIO_DEVICE_RESET:
		migratable_reset(to_migratable(vdev));
		return 0;
	default:
		return -ENOTTY;
	}
}

static int migratable_region_info(struct vfio_device *vdev,
				  struct vfio_region_info *info,
				  struct vfio_info_cap *caps)
{
	if (info->index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	info->flags = 0;
	info->size = 0;
	info->offset = (u64)info->index << REGION_SHIFT;
	if (info->index == VFIO_PCI_CONFIG_REGION_INDEX)
		info->size = PCI_CFG_SPACE_SIZE;
	else if (info->index == VFIO_PCI_BAR0_REGION_INDEX)
		info->size = MIGRATABLE_BAR_SIZE;
	if (info->size)
		info->flags = VFIO_REGION_INFO_FLAG_READ |
			      VFIO_REGION_INFO_FLAG_WRITE;
	return 0;
}

/* A page is pinned only under the lock: then none is any more. */
static void migratable_dma_unmap(struct vfio_device *vdev, u64 iova, u64 length)
{
	guard(mutex)(&to_migratable(vdev)->migration.lock);
}

static int migratable_open(struct vfio_device *vdev)
{
	migratable_reset(to_migratable(vdev));
	return 0;
}

static void migratable_close(struct vfio_device *vdev)
{
	struct migratable *dev = to_migratable(vdev);

	migratable_reset(dev);
	guard(mutex)(&dev->migration.lock);
	migratable_log_end(dev);
}

static int migratable_init(struct vfio_device *vdev)
{
	struct migratable *dev = to_migratable(vdev);

	BUILD_BUG_ON(sizeof(struct migratable_state) > MIGRATION_MAX);
	mutex_init(&dev->migration.lock);
	dev->migration.size = sizeof(struct migratable_state);
	dev->migration.save = migratable_save;
	dev->migration.load = migratable_load;
	xa_init(&dev->log);
	vdev->migration_flags = VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P;
	vdev->mig_ops = &migratable_mig_ops;
	return 0;
}

static void migratable_release(struct vfio_device *vdev)
{
	mutex_destroy(&to_migratable(vdev)->migration.lock);
}

static const struct vfio_device_ops migratable_ops = {
	.name = MIGRATABLE_NAME,
	.init = migratable_init,
	.release = migratable_release,
	.open_device = migratable_open,
	.close_device = migratable_close,
	.read = migratable_read,
	.write = migratable_write,
	.ioctl = migratable_ioctl,
	.get_region_info_caps = migratable_region_info,
	.dma_unmap = migratable_dma_unmap,
	.bind_iommufd = vfio_iommufd_emulated_bind,
	.unbind_iommufd = vfio_iommufd_emulated_unbind,
	.attach_ioas = vfio_iommufd_emulated_attach_ioas,
	.detach_ioas = vfio_iommufd_emulated_detach_ioas,
};

/* Mediated devices and what they hang from */

static struct mdev_type plain = {
	.sysfs_name = MIGRATABLE_PLAIN,
	.pretty_name = "without a DMA log",
};

static struct mdev_type logged = {
	.sysfs_name = MIGRATABLE_LOG,
	.pretty_name = "with a DMA log",
};

static struct mdev_type *types[] = { &plain, &logged };

static int migratable_probe(struct mdev_device *mdev)
{
	struct migratable *dev;
	int ret;

	dev = vfio_alloc_device(migratable, vdev, &mdev->dev, &migratable_ops);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	if (mdev->type == &logged)
		dev->vdev.log_ops = &migratable_log_ops;
	dev_set_drvdata(&mdev->dev, dev);
	ret = vfio_register_emulated_iommu_dev(&dev->vdev);
	if (ret)
		vfio_put_device(&dev->vdev);
	return ret;
}

static void migratable_remove(struct mdev_device *mdev)
{
	struct migratable *dev = dev_get_drvdata(&mdev->dev);

	vfio_unregister_group_dev(&dev->vdev);
	vfio_put_device(&dev->vdev);
}

static struct mdev_driver migratable_driver = {
	.device_api = VFIO_DEVICE_API_PCI_STRING,
	.max_instances = MAX_DEVICES,
	.probe = migratable_probe,
	.remove = migratable_remove,
	.driver = {
		.name = MIGRATABLE_NAME,
		.owner = THIS_MODULE,
		.mod_name = KBUILD_MODNAME,
	},
};

/* The types are named after it. */
static const struct class migratable_class = {
	.name = MIGRATABLE_NAME,
};

static struct device *parent_device;
static struct mdev_parent parent;

static int __init migratable_module_init(void)
{
	int ret;

	ret = class_register(&migratable_class);
	if (ret)
		return ret;
	ret = mdev_register_driver(&migratable_driver);
	if (ret)
		goto out_class;
	parent_device = device_create(&migratable_class, NULL, 0, NULL,
				      MIGRATABLE_NAME);
	ret = PTR_ERR_OR_ZERO(parent_device);
	if (ret)
		goto out_driver;
	ret = mdev_register_parent(&parent, parent_device, &migratable_driver,
				   types, ARRAY_SIZE(types));
	if (ret)
		goto out_device;
	return 0;

out_device:
	device_unregister(parent_device);
out_driver:
	mdev_unregister_driver(&migratable_driver);
out_class:
	class_unregister(&migratable_class);
	return ret;
}
module_init(migratable_module_init);

static void __exit migratable_module_exit(void)
{
	mdev_unregister_parent(&parent);
	device_unregister(parent_device);
	mdev_unregister_driver(&migratable_driver);
	class_unregister(&migratable_class);
}
module_exit(migratable_module_exit);

MODULE_IMPORT_NS("IOMMUFD");
MODULE_DESCRIPTION("Emulated VFIO devices that can be migrated, for the tests of iommufd-dirty");
MODULE_AUTHOR("The iommufd-dirty authors");
MODULE_LICENSE("GPL");
