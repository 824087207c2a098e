// SPDX-License-Identifier: GPL-2.0
/*
 * Emulated VFIO devices with a DMA engine that userspace programs, for tests:
 * they write guest memory by vfio_dma_rw() and to pages that they pin.
 */
#include <linux/highmem.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/vfio.h>

#include "iommufd_dirty_emulated.h"

#define MAX_DEVICES 8

static unsigned int nr = 2;
module_param(nr, uint, 0444);
MODULE_PARM_DESC(nr, "Devices, at most 8");

static struct platform_device *devices[MAX_DEVICES];

struct emulated {
	struct vfio_device vdev;
	/* Protects pins. Taken outside of iommufd's locks. */
	struct mutex lock;
	struct list_head pins;
};

struct pin {
	struct list_head list;
	u64 iova;
	unsigned int npages;
	struct page *pages[] __counted_by(npages);
};

static struct emulated *to_emulated(struct vfio_device *vdev)
{
	return container_of(vdev, struct emulated, vdev);
}

static void unpin(struct emulated *dev, struct pin *pin)
{
	lockdep_assert_held(&dev->lock);
	vfio_unpin_pages(&dev->vdev, pin->iova, pin->npages);
	list_del(&pin->list);
	kfree(pin);
}

/* All that overlaps [@iova, @iova + @length). */
static void unpin_range(struct emulated *dev, u64 iova, u64 length)
{
	u64 last = iova + length - 1;
	struct pin *pin, *next;

	guard(mutex)(&dev->lock);
	list_for_each_entry_safe(pin, next, &dev->pins, list) {
		if (pin->iova <= last &&
		    pin->iova + pin->npages * PAGE_SIZE - 1 >= iova)
			unpin(dev, pin);
	}
}

static long dma_rw(struct emulated *dev, const struct emulated_command *cmd,
		   bool write)
{
	void *buffer;
	long ret;

	if (!cmd->length || cmd->length > EMULATED_MAX_WRITE)
		return -EINVAL;
	buffer = kvmalloc(cmd->length, GFP_KERNEL);
	if (!buffer)
		return -ENOMEM;
	memset(buffer, cmd->pattern, cmd->length);
	ret = vfio_dma_rw(&dev->vdev, cmd->iova, buffer, cmd->length, write);
	kvfree(buffer);
	return ret;
}

static long pin_range(struct emulated *dev, const struct emulated_command *cmd,
		      bool write)
{
	u64 npages = cmd->length / PAGE_SIZE;
	struct pin *pin;
	int ret;

	if (!npages || npages > VFIO_PIN_PAGES_MAX_ENTRIES)
		return -EINVAL;
	pin = kzalloc(struct_size(pin, pages, npages), GFP_KERNEL);
	if (!pin)
		return -ENOMEM;
	pin->npages = npages;
	pin->iova = cmd->iova;

	guard(mutex)(&dev->lock);
	ret = vfio_pin_pages(&dev->vdev, cmd->iova, npages,
			     IOMMU_READ | (write ? IOMMU_WRITE : 0),
			     pin->pages);
	if (ret != npages) {
		kfree(pin);
		return ret < 0 ? ret : -EIO;
	}
	list_add(&pin->list, &dev->pins);
	return 0;
}

static long unpin_exact(struct emulated *dev, const struct emulated_command *cmd)
{
	struct pin *pin;

	guard(mutex)(&dev->lock);
	list_for_each_entry(pin, &dev->pins, list) {
		if (pin->iova == cmd->iova &&
		    pin->npages == cmd->length / PAGE_SIZE) {
			unpin(dev, pin);
			return 0;
		}
	}
	return -ENOENT;
}

static void fill_pages(struct page **pages, u64 offset, u64 length, u8 pattern)
{
	while (length) {
		size_t bytes = min(length, PAGE_SIZE - offset % PAGE_SIZE);

		memset_page(pages[offset / PAGE_SIZE], offset % PAGE_SIZE,
			    pattern, bytes);
		offset += bytes;
		length -= bytes;
	}
}

static long fill_pinned(struct emulated *dev, const struct emulated_command *cmd)
{
	struct pin *pin;

	guard(mutex)(&dev->lock);
	list_for_each_entry(pin, &dev->pins, list) {
		u64 size = pin->npages * PAGE_SIZE;
		u64 offset = cmd->iova - pin->iova;

		if (cmd->iova >= pin->iova && offset < size &&
		    cmd->length <= size - offset) {
			fill_pages(pin->pages, offset, cmd->length,
				   cmd->pattern);
			return 0;
		}
	}
	return -ENOENT;
}

static long run(struct emulated *dev, const struct emulated_command *cmd)
{
	switch (cmd->op) {
	case EMULATED_DMA_WRITE:
		return dma_rw(dev, cmd, true);
	case EMULATED_DMA_READ:
		return dma_rw(dev, cmd, false);
	case EMULATED_PIN:
		return pin_range(dev, cmd, false);
	case EMULATED_PIN_WRITE:
		return pin_range(dev, cmd, true);
	case EMULATED_FILL:
		return fill_pinned(dev, cmd);
	case EMULATED_UNPIN:
		return unpin_exact(dev, cmd);
	case EMULATED_NR_PINNED: {
		guard(mutex)(&dev->lock);
		return list_count_nodes(&dev->pins);
	}
	default:
		return -EOPNOTSUPP;
	}
}

static ssize_t emulated_write(struct vfio_device *vdev, const char __user *buf,
			      size_t count, loff_t *ppos)
{
	struct emulated_command cmd;
	long ret;

	if (*ppos || count != sizeof(cmd))
		return -EINVAL;
	if (copy_from_user(&cmd, buf, sizeof(cmd)))
		return -EFAULT;
	ret = run(to_emulated(vdev), &cmd);
	if (cmd.op == EMULATED_NR_PINNED)
		return ret;
	return ret ?: sizeof(cmd);
}

static void emulated_dma_unmap(struct vfio_device *vdev, u64 iova, u64 length)
{
	unpin_range(to_emulated(vdev), iova, length);
}

static void emulated_close_device(struct vfio_device *vdev)
{
	unpin_range(to_emulated(vdev), 0, U64_MAX);
}

static int emulated_init(struct vfio_device *vdev)
{
	struct emulated *dev = to_emulated(vdev);

	mutex_init(&dev->lock);
	INIT_LIST_HEAD(&dev->pins);
	return 0;
}

static void emulated_release(struct vfio_device *vdev)
{
	mutex_destroy(&to_emulated(vdev)->lock);
}

static const struct vfio_device_ops emulated_ops = {
	.name = EMULATED_NAME,
	.init = emulated_init,
	.release = emulated_release,
	.close_device = emulated_close_device,
	.write = emulated_write,
	.dma_unmap = emulated_dma_unmap,
	.bind_iommufd = vfio_iommufd_emulated_bind,
	.unbind_iommufd = vfio_iommufd_emulated_unbind,
	.attach_ioas = vfio_iommufd_emulated_attach_ioas,
	.detach_ioas = vfio_iommufd_emulated_detach_ioas,
};

static int emulated_probe(struct platform_device *pdev)
{
	struct emulated *dev;
	int ret;

	dev = vfio_alloc_device(emulated, vdev, &pdev->dev, &emulated_ops);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	ret = vfio_register_emulated_iommu_dev(&dev->vdev);
	if (ret)
		vfio_put_device(&dev->vdev);
	else
		platform_set_drvdata(pdev, dev);
	return ret;
}

static void emulated_remove(struct platform_device *pdev)
{
	struct emulated *dev = platform_get_drvdata(pdev);

	vfio_unregister_group_dev(&dev->vdev);
	vfio_put_device(&dev->vdev);
}

/* VFIO holds the driver's module while a device is open. */
static struct platform_driver emulated_driver = {
	.probe = emulated_probe,
	.remove = emulated_remove,
	.driver = {
		.name = EMULATED_NAME,
	},
};

static void emulated_exit(void)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		platform_device_unregister(devices[i]);
	platform_driver_unregister(&emulated_driver);
}
module_exit(emulated_exit);

static int __init emulated_init_module(void)
{
	unsigned int i;
	int ret;

	nr = min(nr, MAX_DEVICES);
	ret = platform_driver_register(&emulated_driver);
	if (ret)
		return ret;
	for (i = 0; i < nr; i++) {
		devices[i] = platform_device_register_simple(EMULATED_NAME, i,
							     NULL, 0);
		if (IS_ERR(devices[i])) {
			ret = PTR_ERR(devices[i]);
			nr = i;
			emulated_exit();
			return ret;
		}
	}
	return 0;
}
module_init(emulated_init_module);

MODULE_DESCRIPTION("Emulated VFIO devices for the tests of iommufd-dirty");
MODULE_AUTHOR("The iommufd-dirty authors");
MODULE_LICENSE("GPL");
