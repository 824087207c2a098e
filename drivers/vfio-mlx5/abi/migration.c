// SPDX-License-Identifier: GPL-2.0
/*
 * The part of the migration of a VF that must be C.
 */
#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/vfio.h>
#include <linux/wait.h>

#include "migration.h"

/*
 * Rust's condition variables have no wait that only a kill ends, and let go of a
 * lock as it is: but who unlocks a migration has to look for a reset.
 */
struct vfio_mlx5_event {
	wait_queue_head_t waiters;
	atomic_t count;
};

struct vfio_mlx5_event *vfio_mlx5_event_new(void)
{
	struct vfio_mlx5_event *event = kzalloc_obj(*event, GFP_KERNEL);

	if (event)
		init_waitqueue_head(&event->waiters);
	return event;
}

void vfio_mlx5_event_free(struct vfio_mlx5_event *event)
{
	kfree(event);
}

int vfio_mlx5_event_count(struct vfio_mlx5_event *event)
{
	return atomic_read_acquire(&event->count);
}

void vfio_mlx5_event_notify(struct vfio_mlx5_event *event)
{
	atomic_inc_return(&event->count);
	wake_up_all(&event->waiters);
}

static bool has_come(struct vfio_mlx5_event *event, int seen)
{
	return vfio_mlx5_event_count(event) != seen;
}

void vfio_mlx5_event_wait(struct vfio_mlx5_event *event, int seen)
{
	wait_event(event->waiters, has_come(event, seen));
}

int vfio_mlx5_event_wait_killable(struct vfio_mlx5_event *event, int seen)
{
	return wait_event_killable(event->waiters, has_come(event, seen));
}

int vfio_mlx5_event_wait_interruptible(struct vfio_mlx5_event *event, int seen)
{
	return wait_event_interruptible(event->waiters, has_come(event, seen));
}

void vfio_mlx5_event_poll(struct vfio_mlx5_event *event, struct file *file,
			  struct poll_table_struct *table)
{
	poll_wait(file, &event->waiters, table);
}

bool vfio_mlx5_wants_reinit(struct vfio_device *device)
{
	return READ_ONCE(device->precopy_info_v2);
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
