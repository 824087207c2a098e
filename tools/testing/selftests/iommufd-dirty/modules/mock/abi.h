/* SPDX-License-Identifier: GPL-2.0 */
/* What the mock's Rust takes from C: read by bindgen. */
#ifndef __IOMMUFD_DIRTY_MOCK_ABI_H
#define __IOMMUFD_DIRTY_MOCK_ABI_H

#include <linux/iommufd_dirty.h>

#include "iommufd_dirty_mock.h"

/* bindgen does not evaluate _IO(). */
enum mock_cmd {
	MOCK_CMD_CREATE = MOCK_CREATE,
	MOCK_CMD_BIND = MOCK_BIND,
	MOCK_CMD_DIRTY = MOCK_DIRTY,
	MOCK_CMD_KNOB = MOCK_KNOB,
	MOCK_CMD_STATE = MOCK_STATE,
	MOCK_CMD_UNREGISTER = MOCK_UNREGISTER,
};

#endif
