/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VFIO's migration protocol for a device whose state is a few bytes and which does
 * nothing by itself: between states there is only the state to be taken or set.
 */
#ifndef __IOMMUFD_DIRTY_MIGRATION_H
#define __IOMMUFD_DIRTY_MIGRATION_H

#include <linux/anon_inodes.h>
#include <linux/cleanup.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/vfio.h>

#define MIGRATION_MAX 64

/**
 * struct migration - Where a device is in VFIO's state machine
 * @lock: Protects all that follows, and the state of the device. It is taken
 *        outside of iommufd's locks and of mmap_lock
 * @state: By that the device knows whether it may write
 * @file: The data file descriptor's, in STOP_COPY and RESUMING
 * @size: Bytes of the device's state, at most MIGRATION_MAX
 * @save: Copy the state of the device to @data
 * @load: Set it from @data. If that returns an error nothing is changed
 *
 * @save and @load are called with @lock held.
 */
struct migration {
	struct mutex lock; /* see above */
	enum vfio_device_mig_state state;
	struct file *file;
	size_t size;
	int (*save)(struct migration *migration, void *data);
	int (*load)(struct migration *migration, const void *data);
};

/**
 * struct migration_data - What a data file descriptor stands for
 * @lock: Protects all that follows. Inside of that of struct migration, and
 *        outside of mmap_lock
 * @over: The device has left the state that the data belongs to
 * @size: Bytes of a whole state
 * @done: Bytes that were read or written
 */
struct migration_data {
	struct mutex lock; /* see above */
	bool over;
	size_t size;
	loff_t done;
	u8 data[MIGRATION_MAX];
};

static inline ssize_t migration_data_read(struct file *file, char __user *buf,
					  size_t count, loff_t *ppos)
{
	struct migration_data *data = file->private_data;

	guard(mutex)(&data->lock);
	if (data->over)
		return -ENODEV;
	return simple_read_from_buffer(buf, count, &data->done, data->data,
				       data->size);
}

static inline ssize_t migration_data_write(struct file *file,
					   const char __user *buf,
					   size_t count, loff_t *ppos)
{
	struct migration_data *data = file->private_data;

	guard(mutex)(&data->lock);
	if (data->over)
		return -ENODEV;
	if (count > data->size - data->done)
		return -ENOSPC;
	return simple_write_to_buffer(data->data, data->size, &data->done, buf,
				      count);
}

static inline int migration_data_release(struct inode *inode, struct file *file)
{
	struct migration_data *data = file->private_data;

	mutex_destroy(&data->lock);
	kfree(data);
	return 0;
}

static const struct file_operations migration_save_fops = {
	.owner = THIS_MODULE,
	.read = migration_data_read,
	.release = migration_data_release,
};

static const struct file_operations migration_load_fops = {
	.owner = THIS_MODULE,
	.write = migration_data_write,
	.release = migration_data_release,
};

/* The device goes to STOP_COPY or RESUMING. The caller gets a file of its own. */
static inline struct file *migration_begin(struct migration *migration,
					   bool save)
{
	struct migration_data *data;
	struct file *file;
	int ret;

	data = kzalloc_obj(*data, GFP_KERNEL_ACCOUNT);
	if (!data)
		return ERR_PTR(-ENOMEM);
	mutex_init(&data->lock);
	data->size = migration->size;
	ret = save ? migration->save(migration, data->data) : 0;
	if (!ret) {
		file = anon_inode_getfile("iommufd-dirty-migration",
					  save ? &migration_save_fops :
						 &migration_load_fops,
					  data, save ? O_RDONLY : O_WRONLY);
		ret = PTR_ERR_OR_ZERO(file);
	}
	if (ret) {
		mutex_destroy(&data->lock);
		kfree(data);
		return ERR_PTR(ret);
	}
	stream_open(file_inode(file), file);
	migration->file = get_file(file);
	return file;
}

/* The device leaves that state. */
static inline void migration_end(struct migration *migration)
{
	struct migration_data *data;

	if (!migration->file)
		return;
	data = migration->file->private_data;
	scoped_guard(mutex, &data->lock)
		data->over = true;
	fput(migration->file);
	migration->file = NULL;
}

static inline int migration_load(struct migration *migration)
{
	struct migration_data *data = migration->file->private_data;

	guard(mutex)(&data->lock);
	if (data->done != data->size)
		return -EINVAL;
	return migration->load(migration, data->data);
}

/* One arc. If it returns an error the device is where it was. */
static inline struct file *migration_step(struct migration *migration,
					  enum vfio_device_mig_state next)
{
	if (migration->state == VFIO_DEVICE_STATE_RESUMING) {
		int ret = migration_load(migration);

		if (ret)
			return ERR_PTR(ret);
	}
	migration_end(migration);
	if (next == VFIO_DEVICE_STATE_STOP_COPY)
		return migration_begin(migration, true);
	if (next == VFIO_DEVICE_STATE_RESUMING)
		return migration_begin(migration, false);
	return NULL;
}

static inline struct file *migration_set_state(struct migration *migration,
					       struct vfio_device *vdev,
					       enum vfio_device_mig_state state)
{
	enum vfio_device_mig_state next;
	struct file *file = NULL;

	guard(mutex)(&migration->lock);
	while (migration->state != state) {
		int ret = vfio_mig_get_next_state(vdev, migration->state, state,
						  &next);

		if (ret)
			return ERR_PTR(ret);
		/* Only the last arc of a way returns a file. */
		file = migration_step(migration, next);
		if (IS_ERR(file))
			return file;
		migration->state = next;
	}
	return file;
}

static inline enum vfio_device_mig_state
migration_get_state(struct migration *migration)
{
	guard(mutex)(&migration->lock);
	return migration->state;
}

/* As after a reset, but for the device's own state. */
static inline void migration_restart(struct migration *migration)
{
	lockdep_assert_held(&migration->lock);
	migration_end(migration);
	migration->state = VFIO_DEVICE_STATE_RUNNING;
}

static inline bool migration_running(struct migration *migration)
{
	lockdep_assert_held(&migration->lock);
	return migration->state == VFIO_DEVICE_STATE_RUNNING;
}

#endif
