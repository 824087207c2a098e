// SPDX-License-Identifier: GPL-2.0
/*
 * Test module: emulated VFIO devices with a DMA log, see iommufd_dirty_quirks.h.
 */
#include <linux/delay.h>
#include <linux/interval_tree.h>
#include <linux/iova_bitmap.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/sizes.h>
#include <linux/uaccess.h>
#include <linux/vfio.h>
#include <linux/xarray.h>

#include "iommufd_dirty_quirks.h"

/* VFIO gives no driver more of them. */
#define QUIRKS_RANGES 256

/* Pages, counted from IOVA 0. */
struct quirks_range {
	u64 first;
	u64 last;
};

struct quirks {
	struct vfio_device vdev;
	struct mutex lock; /* protects all that follows */
	u64 quirk[QUIRKS_NR];
	bool failed; /* a read has */
	unsigned int shift;
	struct quirks_range ranges[QUIRKS_RANGES];
	struct quirks_state state;
	struct xarray dirty; /* the log: an entry for each dirty page */
};

static struct quirks *to_quirks(struct vfio_device *vdev)
{
	return container_of(vdev, struct quirks, vdev);
}

static bool quirks_logging(struct quirks *quirks)
{
	return quirks->state.page_size;
}

static u64 quirks_page_size(struct quirks *quirks, u64 wanted)
{
	u64 max = quirks->quirk[QUIRKS_PAGE_MAX] ?: U64_MAX;

	return clamp(wanted, quirks->quirk[QUIRKS_PAGE_MIN], max);
}

static int quirks_log_start(struct vfio_device *vdev,
			    struct rb_root_cached *ranges, u32 nnodes,
			    u64 *page_size)
{
	struct quirks *quirks = to_quirks(vdev);
	struct quirks_state *state = &quirks->state;
	struct interval_tree_node *node;
	u32 max = quirks->quirk[QUIRKS_MAX_RANGES];

	guard(mutex)(&quirks->lock);
	if (quirks_logging(quirks)) {
		state->misuse++;
		if (!quirks->quirk[QUIRKS_NO_STATE])
			return -EINVAL;
	}
	if (quirks->quirk[QUIRKS_FAIL_START])
		return -(int)quirks->quirk[QUIRKS_FAIL_START];

	*page_size = quirks_page_size(quirks, *page_size);
	quirks->shift = ilog2(*page_size);
	if (max && nnodes > max)
		vfio_combine_iova_ranges(ranges, nnodes, max);
	state->nr_ranges = 0;
	for (node = interval_tree_iter_first(ranges, 0, ULONG_MAX);
	     node && state->nr_ranges < QUIRKS_RANGES;
	     node = interval_tree_iter_next(node, 0, ULONG_MAX)) {
		quirks->ranges[state->nr_ranges].first =
			node->start >> quirks->shift;
		quirks->ranges[state->nr_ranges].last =
			node->last >> quirks->shift;
		state->nr_ranges++;
	}
	xa_destroy(&quirks->dirty);
	quirks->failed = false;
	state->page_size = *page_size;
	state->starts++;
	if (quirks->quirk[QUIRKS_BAD_PAGE])
		*page_size = quirks->quirk[QUIRKS_BAD_PAGE];
	return 0;
}

static int quirks_log_stop(struct vfio_device *vdev)
{
	struct quirks *quirks = to_quirks(vdev);

	guard(mutex)(&quirks->lock);
	if (!quirks_logging(quirks))
		quirks->state.misuse++;
	quirks->state.stops++;
	quirks->state.page_size = 0;
	quirks->state.nr_ranges = 0;
	xa_destroy(&quirks->dirty);
	return -(int)quirks->quirk[QUIRKS_FAIL_STOP];
}

/* Clear the pages @first to @last; report those that begin in the request. */
static void quirks_take(struct quirks *quirks, u64 first, u64 last,
			unsigned long iova, unsigned long length, bool drop,
			struct iova_bitmap *bitmap)
{
	unsigned long page;
	void *entry;

	xa_for_each_range(&quirks->dirty, page, entry, first, last) {
		u64 start = (u64)page << quirks->shift;

		xa_erase(&quirks->dirty, page);
		if (drop && (start < iova || start - iova >= length))
			quirks->state.dropped++;
		else
			iova_bitmap_set(bitmap, start, BIT_ULL(quirks->shift));
	}
}

static int quirks_take_words(struct quirks *quirks, unsigned long iova,
			     unsigned long length, struct iova_bitmap *bitmap)
{
	u64 page = iova >> quirks->shift;
	u64 nr = round_up(length >> quirks->shift ?: 1, 64);

	for (u32 i = 0; i < quirks->state.nr_ranges; i++) {
		struct quirks_range *range = &quirks->ranges[i];
		u64 pages = range->last - range->first + 1;
		u64 from;

		if (page < range->first || page > range->last)
			continue;
		if ((iova + length - 1) >> quirks->shift > range->last)
			return -EINVAL;
		from = round_up(page - range->first, 8);
		if (from + nr > round_up(pages, 64))
			quirks->state.overruns++;
		quirks_take(quirks, range->first + from,
			    range->first + from + nr - 1, iova, length, true,
			    bitmap);
		return 0;
	}
	return -EINVAL;
}

static int quirks_log_read_and_clear(struct vfio_device *vdev,
				     unsigned long iova, unsigned long length,
				     struct iova_bitmap *bitmap)
{
	struct quirks *quirks = to_quirks(vdev);
	u64 *fail = &quirks->quirk[QUIRKS_FAIL_READ];

	if (quirks->quirk[QUIRKS_READ_MS])
		msleep(quirks->quirk[QUIRKS_READ_MS]);

	guard(mutex)(&quirks->lock);
	quirks->state.reads++;
	if (!quirks_logging(quirks)) {
		quirks->state.misuse++;
		return quirks->quirk[QUIRKS_NO_STATE] ? 0 : -EINVAL;
	}
	if (*fail && !--*fail)
		quirks->failed = true;
	if (quirks->failed) {
		unsigned long page;
		void *entry;

		xa_for_each_range(&quirks->dirty, page, entry,
				  iova >> quirks->shift,
				  (iova + length - 1) >> quirks->shift)
			xa_erase(&quirks->dirty, page);
		return -(int)(quirks->quirk[QUIRKS_READ_ERROR] ?: EIO);
	}
	if (quirks->quirk[QUIRKS_WORDS])
		return quirks_take_words(quirks, iova, length, bitmap);
	quirks_take(quirks, iova >> quirks->shift,
		    (iova + length - 1) >> quirks->shift, iova, length,
		    quirks->quirk[QUIRKS_DROP_BELOW], bitmap);
	return 0;
}

static const struct vfio_log_ops quirks_log_ops = {
	.log_start = quirks_log_start,
	.log_stop = quirks_log_stop,
	.log_read_and_clear = quirks_log_read_and_clear,
};

/* What is not logged leaves no trace. */
static int quirks_dirty(struct quirks *quirks, u64 iova, u64 length)
{
	u64 first, last, end;
	int ret;

	if (!length || check_add_overflow(iova, length - 1, &end))
		return -EINVAL;
	for (u32 i = 0; i < quirks->state.nr_ranges; i++) {
		first = max(iova >> quirks->shift, quirks->ranges[i].first);
		last = min(end >> quirks->shift, quirks->ranges[i].last);
		for (; first <= last; first++) {
			ret = xa_err(xa_store(&quirks->dirty, first,
					      xa_mk_value(1), GFP_KERNEL));
			if (ret)
				return ret;
		}
	}
	return 0;
}

static ssize_t quirks_write(struct vfio_device *vdev, const char __user *buf,
			    size_t count, loff_t *ppos)
{
	struct quirks *quirks = to_quirks(vdev);
	struct quirks_cmd cmd;
	int ret = 0;

	if (*ppos || count != sizeof(cmd))
		return -EINVAL;
	if (copy_from_user(&cmd, buf, sizeof(cmd)))
		return -EFAULT;

	guard(mutex)(&quirks->lock);
	switch (cmd.op) {
	case QUIRKS_DIRTY:
		ret = quirks_dirty(quirks, cmd.value, cmd.length);
		break;
	case QUIRKS_SET:
		if (cmd.quirk >= QUIRKS_NR)
			return -EINVAL;
		if (cmd.quirk <= QUIRKS_PAGE_MAX && cmd.value &&
		    (cmd.value < SZ_4K || !is_power_of_2(cmd.value)))
			return -EINVAL;
		quirks->quirk[cmd.quirk] = cmd.value;
		if (cmd.quirk == QUIRKS_FAIL_READ)
			quirks->failed = false;
		break;
	case QUIRKS_SWITCH_OFF:
		quirks->state.page_size = 0;
		quirks->state.nr_ranges = 0;
		break;
	default:
		return -EINVAL;
	}
	return ret ?: count;
}

static ssize_t quirks_read(struct vfio_device *vdev, char __user *buf,
			   size_t count, loff_t *ppos)
{
	struct quirks *quirks = to_quirks(vdev);

	if (*ppos || count != sizeof(quirks->state))
		return -EINVAL;
	guard(mutex)(&quirks->lock);
	if (copy_to_user(buf, &quirks->state, count))
		return -EFAULT;
	return count;
}

static int quirks_open(struct vfio_device *vdev)
{
	struct quirks *quirks = to_quirks(vdev);

	memset(quirks->quirk, 0, sizeof(quirks->quirk));
	memset(&quirks->state, 0, sizeof(quirks->state));
	return 0;
}

static void quirks_close(struct vfio_device *vdev)
{
	struct quirks *quirks = to_quirks(vdev);

	/* Whoever has started the log has stopped it, or was userspace. */
	xa_destroy(&quirks->dirty);
}

static int quirks_init(struct vfio_device *vdev)
{
	struct quirks *quirks = to_quirks(vdev);

	mutex_init(&quirks->lock);
	xa_init(&quirks->dirty);
	vdev->log_ops = &quirks_log_ops;
	return 0;
}

static void quirks_release(struct vfio_device *vdev)
{
	mutex_destroy(&to_quirks(vdev)->lock);
}

static const struct vfio_device_ops quirks_ops = {
	.name = QUIRKS_NAME,
	.init = quirks_init,
	.release = quirks_release,
	.bind_iommufd = vfio_iommufd_emulated_bind,
	.unbind_iommufd = vfio_iommufd_emulated_unbind,
	.attach_ioas = vfio_iommufd_emulated_attach_ioas,
	.detach_ioas = vfio_iommufd_emulated_detach_ioas,
	.open_device = quirks_open,
	.close_device = quirks_close,
	.read = quirks_read,
	.write = quirks_write,
};

static int quirks_probe(struct platform_device *pdev)
{
	struct quirks *quirks;
	int ret;

	quirks = vfio_alloc_device(quirks, vdev, &pdev->dev, &quirks_ops);
	if (IS_ERR(quirks))
		return PTR_ERR(quirks);
	platform_set_drvdata(pdev, quirks);
	ret = vfio_register_emulated_iommu_dev(&quirks->vdev);
	if (ret)
		vfio_put_device(&quirks->vdev);
	return ret;
}

static void quirks_remove(struct platform_device *pdev)
{
	struct quirks *quirks = platform_get_drvdata(pdev);

	vfio_unregister_group_dev(&quirks->vdev);
	vfio_put_device(&quirks->vdev);
}

static struct platform_driver quirks_driver = {
	.driver.name = QUIRKS_NAME,
	.probe = quirks_probe,
	.remove = quirks_remove,
};

static struct platform_device *quirks_devices[QUIRKS_DEVICES];

static void quirks_remove_devices(void)
{
	for (int i = 0; i < QUIRKS_DEVICES; i++)
		platform_device_unregister(quirks_devices[i]);
}

static int __init quirks_module_init(void)
{
	int ret = platform_driver_register(&quirks_driver);

	for (int i = 0; !ret && i < QUIRKS_DEVICES; i++) {
		struct platform_device *pdev;

		pdev = platform_device_register_simple(QUIRKS_NAME, i, NULL, 0);
		if (IS_ERR(pdev)) {
			ret = PTR_ERR(pdev);
			quirks_remove_devices();
			platform_driver_unregister(&quirks_driver);
		} else {
			quirks_devices[i] = pdev;
		}
	}
	return ret;
}
module_init(quirks_module_init);

static void __exit quirks_module_exit(void)
{
	quirks_remove_devices();
	platform_driver_unregister(&quirks_driver);
}
module_exit(quirks_module_exit);

MODULE_IMPORT_NS("IOMMUFD");
MODULE_DESCRIPTION("VFIO devices with a DMA log, for tests of iommufd-dirty");
MODULE_LICENSE("GPL");
