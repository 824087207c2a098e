// SPDX-License-Identifier: GPL-2.0
/*
 * BAR 0 of iommufd-dirty-migratable: its registers, its DMA, and the log of that.
 */
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/iova_bitmap.h>
#include <linux/moduleparam.h>
#include <linux/uaccess.h>

#include "migratable.h"

static unsigned int slow_ms;
module_param(slow_ms, uint, 0644);
MODULE_PARM_DESC(slow_ms, "Milliseconds that a report of the DMA log takes");

static u32 register_get(struct migratable *dev, enum migratable_register reg)
{
	return le32_to_cpu(dev->registers[reg / 4]);
}

static void register_set(struct migratable *dev, enum migratable_register reg,
			 u32 value)
{
	dev->registers[reg / 4] = cpu_to_le32(value);
}

static int write_pinned(struct migratable *dev, u64 iova, __le32 value)
{
	struct page *page;
	int ret;

	ret = vfio_pin_pages(&dev->vdev, iova, 1, IOMMU_READ | IOMMU_WRITE,
			     &page);
	if (ret != 1)
		return ret < 0 ? ret : -EIO;
	memcpy_to_page(page, offset_in_page(iova), (char *)&value,
		       sizeof(value));
	vfio_unpin_pages(&dev->vdev, iova, 1);
	return 0;
}

/*
 * The log has room for the page before it is written, and the page is in it after:
 * who reads the log and then the page misses nothing. The lock makes it one step
 * for who reads the log.
 */
static int migratable_dma(struct migratable *dev, bool pin)
{
	u64 iova = register_get(dev, MIGRATABLE_ADDRESS_LO) |
		   (u64)register_get(dev, MIGRATABLE_ADDRESS_HI) << 32;
	__le32 value = dev->registers[MIGRATABLE_VALUE / 4];
	unsigned long page = iova >> PAGE_SHIFT;
	int ret;

	if (!IS_ALIGNED(iova, sizeof(value)))
		return -EINVAL;
	if (dev->logging) {
		ret = xa_reserve(&dev->log, page, GFP_KERNEL_ACCOUNT);
		if (ret)
			return ret;
	}
	ret = pin ? write_pinned(dev, iova, value) :
		    vfio_dma_rw(&dev->vdev, iova, &value, sizeof(value), true);
	if (dev->logging) {
		if (ret)
			xa_release(&dev->log, page);
		else
			xa_store(&dev->log, page, xa_mk_value(1), 0);
	}
	return ret;
}

static void migratable_go(struct migratable *dev, u32 how)
{
	int ret = -EINVAL;

	if (how == MIGRATABLE_GO_RW || how == MIGRATABLE_GO_PIN)
		ret = migratable_dma(dev, how == MIGRATABLE_GO_PIN);
	register_set(dev, MIGRATABLE_GO, !!ret);
	if (!ret)
		register_set(dev, MIGRATABLE_COUNT,
			     register_get(dev, MIGRATABLE_COUNT) + 1);
}

static bool bar_access(size_t count, u64 at)
{
	return count == sizeof(__le32) && IS_ALIGNED(at, sizeof(__le32)) &&
	       at < MIGRATABLE_BAR_SIZE;
}

ssize_t migratable_bar_read(struct migratable *dev, char __user *buf,
			    size_t count, u64 at)
{
	__le32 value = 0;

	if (!bar_access(count, at))
		return -EINVAL;
	if (at < MIGRATABLE_END) {
		guard(mutex)(&dev->migration.lock);
		value = dev->registers[at / 4];
	}
	return copy_to_user(buf, &value, sizeof(value)) ? -EFAULT : count;
}

ssize_t migratable_bar_write(struct migratable *dev, const char __user *buf,
			     size_t count, u64 at)
{
	__le32 value;

	if (!bar_access(count, at))
		return -EINVAL;
	if (copy_from_user(&value, buf, sizeof(value)))
		return -EFAULT;
	guard(mutex)(&dev->migration.lock);
	if (!migration_running(&dev->migration))
		return -EBUSY;
	switch (at) {
	case MIGRATABLE_ADDRESS_LO:
	case MIGRATABLE_ADDRESS_HI:
	case MIGRATABLE_VALUE:
		dev->registers[at / 4] = value;
		break;
	case MIGRATABLE_GO:
		migratable_go(dev, le32_to_cpu(value));
		break;
	}
	return count;
}

/* DMA log: of all that is written, in whatever range. A bit is a page of 4 KiB. */

static int log_start(struct vfio_device *vdev, struct rb_root_cached *ranges,
		     u32 nnodes, u64 *page_size)
{
	struct migratable *dev = to_migratable(vdev);

	guard(mutex)(&dev->migration.lock);
	if (dev->logging)
		return -EINVAL;
	dev->logging = true;
	*page_size = PAGE_SIZE;
	return 0;
}

void migratable_log_end(struct migratable *dev)
{
	lockdep_assert_held(&dev->migration.lock);
	dev->logging = false;
	xa_destroy(&dev->log);
}

static int log_stop(struct vfio_device *vdev)
{
	struct migratable *dev = to_migratable(vdev);

	guard(mutex)(&dev->migration.lock);
	migratable_log_end(dev);
	return 0;
}

static int log_read_and_clear(struct vfio_device *vdev, unsigned long iova,
			      unsigned long length, struct iova_bitmap *bitmap)
{
	struct migratable *dev = to_migratable(vdev);
	unsigned long page;
	void *entry;

	msleep(READ_ONCE(slow_ms));

	guard(mutex)(&dev->migration.lock);
	if (!dev->logging)
		return -EINVAL;
	xa_for_each_range(&dev->log, page, entry, iova >> PAGE_SHIFT,
			  (iova + length - 1) >> PAGE_SHIFT) {
		iova_bitmap_set(bitmap, page << PAGE_SHIFT, PAGE_SIZE);
		xa_erase(&dev->log, page);
	}
	return 0;
}

const struct vfio_log_ops migratable_log_ops = {
	.log_start = log_start,
	.log_stop = log_stop,
	.log_read_and_clear = log_read_and_clear,
};
