/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VFIO's own DMA logging of a device, compared with a model. iommufd-dirty-vfio.ko
 * does it for devices whose drivers do not, if it is loaded with dma_log=1.
 */
#ifndef __SELFTEST_IOMMUFD_DIRTY_VFIO_LOG
#define __SELFTEST_IOMMUFD_DIRTY_VFIO_LOG

#include "modules.h"
#include "vfio_device.h"

#define LOGS_FILE "/sys/kernel/debug/iommufd-dirty-vfio/logs"
#define NO_DMA_LOG "this kernel's VFIO lets no module log the DMA of devices"

/* With other parameters than it may have by now. No device has a tracker. */
static inline int reload_vfio(const char *params)
{
	char command[128];

	remove_module("iommufd_dirty_vfio");
	snprintf(command, sizeof(command), "modprobe iommufd-dirty-vfio %s",
		 params);
	return system(command);
}

/* busybox' modinfo succeeds whatever it is asked for. */
static inline bool have_dma_log(void)
{
	return !system("find /lib/modules -name 'iommufd-dirty-vfio.ko*' | grep -q .");
}

/* Does the list of the logs have @text? */
static inline bool logs_have(const char *text)
{
	char command[256];

	snprintf(command, sizeof(command), "grep -q '%s' " LOGS_FILE, text);
	return !system(command);
}

/* Logs that are started, made of @source. */
static inline unsigned int logs_count(const char *source)
{
	char line[256], name[64];
	unsigned int nr = 0;
	FILE *file;

	file = fopen(LOGS_FILE, "r");
	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%*s %63s", name) == 1 && !strcmp(name, source))
			nr++;
	}
	fclose(file);
	return nr;
}

static inline int _vfio_log_probe(int device)
{
	return _vfio_feature(device,
			     VFIO_DEVICE_FEATURE_PROBE |
				     VFIO_DEVICE_FEATURE_SET |
				     VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
			     NULL, 0);
}

/* As _vfio_log_start(), with any number of ranges. */
static inline int
_vfio_log_start_ranges(int device, const struct iommufd_dirty_range *ranges,
		       unsigned int nr, __u64 *page_size)
{
	struct vfio_device_feature_dma_logging_control data = {
		.page_size = *page_size,
		.num_ranges = nr,
		/* Both have an address and a length. */
		.ranges = (uintptr_t)ranges,
	};
	int ret = _vfio_feature(device,
				VFIO_DEVICE_FEATURE_SET |
					VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
				&data, sizeof(data));

	*page_size = data.page_size;
	return ret;
}

#define test_log_start(device, iova, length)                                \
	({                                                                  \
		__u64 __page_size = SZ_4K;                                  \
									    \
		ASSERT_EQ(0, _vfio_log_start(device, iova, length,          \
					     &__page_size));                \
		EXPECT_EQ(SZ_4K, __page_size);                              \
	})
#define test_err_log_start(_errno, device, iova, length, page_size)         \
	({                                                                  \
		__u64 __page_size = page_size;                              \
									    \
		EXPECT_ERRNO(_errno, _vfio_log_start(device, iova, length,  \
						     &__page_size));        \
	})
#define test_log_stop(device) ASSERT_EQ(0, _vfio_log_stop(device))
#define test_err_log_report(_errno, device, iova, length, bits)             \
	EXPECT_ERRNO(_errno, _vfio_log_report(device, iova, length, SZ_4K, bits))

/**
 * struct model_report - A REPORT that is compared with the model
 * @device: The VFIO device
 * @who: The bits of the model's cells that it has to report
 * @misalign: Bytes from a page boundary to the bitmap, a multiple of 8
 */
struct model_report {
	int device;
	__u16 who;
	__u64 iova;
	__u64 length;
	__u64 page_size;
	size_t misalign;
};

static inline void __model_report(struct __test_metadata *_metadata,
				  struct model *model,
				  const struct model_report *report)
{
	struct placement at = { .misalign = report->misalign };
	struct guarded guarded;

	ASSERT_TRUE(guarded_init(&guarded,
				 (report->length - 1) / report->page_size + 1,
				 &at, 0));
	model_bits(model, report->who, report->iova, report->length,
		   report->page_size, guarded.shadow_bits, 0);
	ASSERT_EQ(0, _vfio_log_report(report->device, report->iova,
				      report->length, report->page_size,
				      guarded.bits))
	{
		TH_LOG("REPORT of 0x%llx+0x%llx: %s", report->iova,
		       report->length, strerror(errno));
	}
	ASSERT_EQ(LONG_MAX, guarded_diff(&guarded))
	{
		long byte = guarded_diff(&guarded);

		TH_LOG("REPORT of 0x%llx+0x%llx, page size 0x%llx: byte %ld is %02x, not %02x",
		       report->iova, report->length, report->page_size, byte,
		       guarded.bits[byte], guarded.shadow_bits[byte]);
	}
	model_clean(model, report->who, report->iova, report->length);
	guarded_free(&guarded);
}

/* Stops the test at the first difference. */
#define model_report(model, ...) \
	__model_report(_metadata, model, &(struct model_report){ __VA_ARGS__ })

#endif
