/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Two emulated VFIO devices of one IOAS, and a context with their trackers.
 */
#ifndef SELFTESTS_SOFTWARE_H
#define SELFTESTS_SOFTWARE_H

#include "emulated.h"

#define BASE MEMBERS_BASE
#define SIZE MEMBERS_SIZE
#define PAGES (SIZE / SZ_4K)

/* A context with two devices of one IOAS, started by the tests. */
FIXTURE(software)
{
	struct members members;
	struct emulated dev[EMULATED_DEVICES];
	int fd;
	__u64 seed;
};

FIXTURE_SETUP(software)
{
	struct members_variant none = {};
	unsigned int i;

	self->members = (struct members){ .fd = -1, .iommu = -1 };
	for (i = 0; i < EMULATED_DEVICES; i++)
		self->dev[i].fd = -1;
	if (!have_emulated())
		SKIP(return, NO_TRACKER);
	ASSERT_EQ(0, load_emulated(""));
	members_open(_metadata, &self->members, &none);
	members_open_iommu(_metadata, &self->members, false);
	self->fd = self->members.fd;
	self->seed = 0x7654321;
	for (i = 0; i < EMULATED_DEVICES; i++) {
		emulated_open(&self->dev[i], i, self->members.iommu,
			      self->members.ioas_id);
		test_vfio_dirty_bind(self->dev[i].fd, self->fd, POLICY_FAIL,
				     &self->dev[i].id);
	}
}

FIXTURE_TEARDOWN(software)
{
	unsigned int i;

	for (i = 0; i < EMULATED_DEVICES; i++) {
		if (self->dev[i].fd != -1)
			close(self->dev[i].fd);
	}
	members_close(&self->members);
}

/* A READ of a part, merged, compared with the model. */
#define read_part(at, bytes, ...)                                           \
	({                                                                  \
		unsigned int __i;                                           \
									    \
		for (__i = 0; __i < EMULATED_DEVICES; __i++)                \
			emulated_pins(&self->members.model,                 \
				      &self->dev[__i]);                     \
		model_read(&self->members.model, .fd = self->fd,            \
			   .who = MODEL_ALL, .iova = at, .length = bytes,   \
			   .page_size = SZ_4K, ##__VA_ARGS__);              \
	})

#define read_all(...) read_part(BASE, SIZE, ##__VA_ARGS__)

/* A READ of one device. */
#define read_one(dev)                                                      \
	({                                                                 \
		emulated_pins(&self->members.model, dev);                  \
		model_read(&self->members.model, .fd = self->fd,           \
			   .tracker_id = (dev)->id, .who = (dev)->who,     \
			   .iova = BASE, .length = SIZE,                   \
			   .page_size = SZ_4K);                            \
	})

#define write_by(dev, at, bytes) \
	emulated_write(&self->members.model, dev, at, bytes)
#define unpin_by(dev, at, bytes) \
	emulated_unpin(&self->members.model, dev, at, bytes)

/* Of any alignment, from a byte to some pages. */
#define write_some(dev, times)                                              \
	do {                                                                \
		unsigned int __n;                                           \
									    \
		for (__n = 0; __n < (times); __n++) {                       \
			__u64 __length = 1 + next_random(&self->seed) %     \
				(__n % 2 ? 64 : 5 * SZ_4K);                 \
			__u64 __at = next_random(&self->seed) %             \
				(SIZE - __length);                          \
									    \
			write_by(dev, BASE + __at, __length);               \
		}                                                           \
	} while (0)

#endif
