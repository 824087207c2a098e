/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What of the migration of a VF is inline, or not for modules in Rust: part of
 * what bindgen reads.
 */
#ifndef __VFIO_MLX5_MIGRATION_H
#define __VFIO_MLX5_MIGRATION_H

#include <linux/types.h>
#include <linux/vfio.h>

struct file;
struct file_operations;
struct poll_table_struct;
struct vfio_mlx5_event;

/* bindgen does not evaluate macros of macros. */
enum {
	VFIO_MLX5_GET_PRECOPY_INFO = VFIO_MIG_GET_PRECOPY_INFO,
};

/*
 * What can be waited for. A wait ends when the event has come since its count was
 * @seen.
 */
struct vfio_mlx5_event *vfio_mlx5_event_new(void);
void vfio_mlx5_event_free(struct vfio_mlx5_event *event);
int vfio_mlx5_event_count(struct vfio_mlx5_event *event);
void vfio_mlx5_event_notify(struct vfio_mlx5_event *event);
void vfio_mlx5_event_wait(struct vfio_mlx5_event *event, int seen);
int vfio_mlx5_event_wait_killable(struct vfio_mlx5_event *event, int seen);
int vfio_mlx5_event_wait_interruptible(struct vfio_mlx5_event *event, int seen);
void vfio_mlx5_event_poll(struct vfio_mlx5_event *event, struct file *file,
			  struct poll_table_struct *table);

/* Was it opted for that VFIO_PRECOPY_INFO_REINIT may be reported? */
bool vfio_mlx5_wants_reinit(struct vfio_device *device);

/* A stream with the state of a VF. */
struct file *vfio_mlx5_stream(const struct file_operations *fops, void *data,
			      bool reads);

#endif
