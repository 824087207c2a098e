/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Emulated VFIO devices as members of a context, with an I/O address space that
 * has MEMBERS_SIZE bytes of memory at MEMBERS_BASE.
 */
#ifndef __SELFTEST_IOMMUFD_DIRTY_EMULATED
#define __SELFTEST_IOMMUFD_DIRTY_EMULATED

#include "../modules/emulated/iommufd_dirty_emulated.h"
#include "members.h"
#include "modules.h"
#include "vfio_device.h"

#define EMULATED_DEVICES 2
#define EMULATED_MAX_PINS 16

/* The model's bit of an emulated device: clear of those of the members. */
#define EMULATED_WHO(n) (1U << (MEMBERS_MAX + (n)))

/**
 * struct emulated - An emulated device
 * @fd: Its character device
 * @id: Tracker id in the context
 * @who: Its bit in the model's cells
 * @pins: What it has pinned for writing
 */
struct emulated {
	int fd;
	__u32 id;
	__u16 who;
	unsigned int nr_pins;
	struct iommufd_dirty_range pins[EMULATED_MAX_PINS];
};

#define NO_TRACKER "this kernel's VFIO cannot be given dirty trackers"

/* The modules that only these tests need. */
static inline int load_emulated(const char *params)
{
	char command[256];

	snprintf(command, sizeof(command),
		 "modprobe iommufd-dirty-emulated && modprobe iommufd-dirty-vfio %s",
		 params);
	return system(command);
}

/* The modinfo of busybox succeeds whatever it is asked for. */
static inline bool have_emulated(void)
{
	return !system("find /lib/modules -name 'iommufd-dirty-vfio.ko*' | grep -q .");
}

/* Emulated device @n, or -1. */
static inline int _emulated_open(unsigned int n)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/platform/devices/%s.%u",
		 EMULATED_NAME, n);
	return vfio_device_open(path);
}

/* 0 or more, or -1. */
static inline int _emulated_run(int device, __u32 op, __u64 iova, __u64 length,
				__u32 pattern)
{
	struct emulated_command cmd = {
		.op = op,
		.pattern = pattern,
		.iova = iova,
		.length = length,
	};
	ssize_t ret = pwrite(device, &cmd, sizeof(cmd), 0);

	return ret == sizeof(cmd) ? 0 : ret;
}

/* What the device does, and what it makes dirty goes into the model. */
static inline void
__emulated_write(struct __test_metadata *_metadata, struct model *model,
		 struct emulated *dev, __u64 iova, __u64 length)
{
	ASSERT_EQ(0, _emulated_run(dev->fd, EMULATED_DMA_WRITE, iova, length,
				   0xa5))
	{
		TH_LOG("write of 0x%llx+0x%llx: %s", iova, length,
		       strerror(errno));
	}
	model_write(model, dev->who, iova, length, SZ_4K);
}

static inline void
__emulated_pin(struct __test_metadata *_metadata, struct emulated *dev,
	       __u64 iova, __u64 length)
{
	ASSERT_LT(dev->nr_pins, EMULATED_MAX_PINS);
	ASSERT_EQ(0, _emulated_run(dev->fd, EMULATED_PIN_WRITE, iova, length,
				   0));
	dev->pins[dev->nr_pins++] = (struct iommufd_dirty_range){
		.iova = iova,
		.length = length,
	};
}

/* It is no longer pinned, and dirty once more. */
static inline void emulated_unpinned(struct model *model, struct emulated *dev,
				     __u64 iova, __u64 length)
{
	unsigned int i;

	for (i = 0; i < dev->nr_pins; i++) {
		if (dev->pins[i].iova == iova && dev->pins[i].length == length)
			break;
	}
	if (i == dev->nr_pins)
		return;
	dev->pins[i] = dev->pins[--dev->nr_pins];
	model_write(model, dev->who, iova, length, SZ_4K);
}

static inline void
__emulated_unpin(struct __test_metadata *_metadata, struct model *model,
		 struct emulated *dev, __u64 iova, __u64 length)
{
	ASSERT_EQ(0, _emulated_run(dev->fd, EMULATED_UNPIN, iova, length, 0));
	emulated_unpinned(model, dev, iova, length);
}

/* Before each READ: what is pinned for writing is dirty in it. */
static inline void emulated_pins(struct model *model,
				 const struct emulated *dev)
{
	unsigned int i;

	for (i = 0; i < dev->nr_pins; i++)
		model_write(model, dev->who, dev->pins[i].iova,
			    dev->pins[i].length, SZ_4K);
}

#define emulated_write(...) __emulated_write(_metadata, __VA_ARGS__)
#define emulated_pin(...) __emulated_pin(_metadata, __VA_ARGS__)
#define emulated_unpin(...) __emulated_unpin(_metadata, __VA_ARGS__)

#define test_err_emulated(_errno, dev, op, iova, length) \
	EXPECT_ERRNO(_errno, _emulated_run((dev)->fd, op, iova, length, 0))

static inline void __emulated_open(struct __test_metadata *_metadata,
				   struct emulated *dev, unsigned int n,
				   int iommu, __u32 pt_id)
{
	*dev = (struct emulated){ .who = EMULATED_WHO(n) };
	dev->fd = _emulated_open(n);
	ASSERT_NE(-1, dev->fd)
	{
		TH_LOG("cannot open device %u: %s", n, strerror(errno));
	}
	ASSERT_EQ(0, _vfio_bind_iommufd(dev->fd, iommu, NULL));
	ASSERT_EQ(0, _vfio_attach(dev->fd, pt_id));
}

#define emulated_open(...) __emulated_open(_metadata, __VA_ARGS__)

#endif
