/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A context with a virtual function of mlx5-model, and the model of what it wrote.
 */
#ifndef SELFTESTS_MLX5_TRACKER_H
#define SELFTESTS_MLX5_TRACKER_H

#include "mlx5_control.h"
#include "mlx5_ways.h"

#define NOT_OURS "what the driver can do shows only when it is started"

FIXTURE(tracker)
{
	struct vf vf;
	struct tracking tracking;
	int control;
	int fd;
	__u32 id;
	struct model model;
	__u64 seed;
};

FIXTURE_SETUP(tracker)
{
	self->seed = 0x5eed;
	vf_init(&self->vf);
	tracking_init(&self->tracking);
	self->control = control_open();
	ASSERT_NE(-1, self->control);
	ASSERT_TRUE(model_init(&self->model, IOVA, SIZE, 12));
	vf_open(_metadata, &self->vf, 0);
	test_tracking_open(&self->tracking, WAY_CONTEXT, &self->vf, POLICY_FAIL);
	self->fd = self->tracking.fd;
	self->id = self->tracking.id;
}

FIXTURE_TEARDOWN(tracker)
{
	tracking_close(&self->tracking);
	vf_close(&self->vf);
	close(self->control);
	model_free(&self->model);
}

/* What the function does, and what it makes dirty goes into the model. */
#define dma_write(vf, model, who, iova, length, unit)                        \
	({                                                                   \
		ASSERT_EQ(0, engine_fill((vf)->engine, iova, length));       \
		model_write(model, who, iova, length, unit);                 \
	})

#define write_some(writes, unit)                                             \
	({                                                                   \
		for (unsigned int __n = 0; __n < (writes); __n++) {          \
			__u64 __len = 1 + next_random(&self->seed) % SZ_64K; \
			__u64 __at = IOVA +                                  \
				next_random(&self->seed) % (SIZE - __len);   \
									     \
			dma_write(&self->vf, &self->model, 1, __at, __len, unit); \
		}                                                            \
	})

#define read_part(_iova, _length, _page_size)                                \
	model_read(&self->model, .fd = self->fd, .who = MODEL_ALL,           \
		   .iova = _iova, .length = _length, .page_size = _page_size)

#define read_all() read_part(IOVA, SIZE, SZ_4K)

#define start_results(fd, flags, page_size, result, granule)                 \
	({                                                                   \
		__u32 __nr = ARRAY_SIZE(result);                             \
									     \
		_test_cmd_start_results(fd, flags, page_size, granule,       \
					result, &__nr);                      \
	})

/* The model's tracker objects. */
#define trackers()                                                           \
	({                                                                   \
		char *__answer = control(self->control, "trackers");         \
		unsigned int __count = 0;                                    \
		char *__at;                                                  \
									     \
		ASSERT_NE(NULL, __answer);                                   \
		for (__at = __answer; (__at = strchr(__at, ' ')); __at++)    \
			__count++;                                           \
		free(__answer);                                              \
		__count;                                                     \
	})

#endif
