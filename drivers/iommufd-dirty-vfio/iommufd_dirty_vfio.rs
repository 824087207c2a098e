// SPDX-License-Identifier: GPL-2.0

//! Dirty trackers of VFIO devices whose drivers have none of their own.
//!
//! VFIO asks for one when userspace wants `VFIO_DEVICE_FEATURE_DIRTY_TRACKER` of an open device, and
//! tells when the device is about to be closed. Which tracker it gets is [`create`]'s choice.
//!
//! - [`abi`]: everything that is unsafe;
//! - [`log`], with [`blocks`]: the tracker of a device that logs its DMA by itself;
//! - [`software`]: the tracker of an emulated device; [`tree`] is its bitmap, which needs no kernel
//!   and is tested on the host.
//!
//! C headers: `include/linux/iommufd_dirty.h`, and `include/linux/vfio.h` with `patches/` applied.

use abi::{
    device::Device,
    space::Space,
    Registered, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

mod abi;
pub mod blocks;
mod cells;
mod log;
#[path = "../iommufd-dirty/mem.rs"]
pub mod mem;
mod software;
pub mod tracked;
pub mod tree;

module! {
    type: IommufdDirtyVfio,
    name: "iommufd_dirty_vfio",
    authors: ["The iommufd-dirty authors"],
    description: "Dirty trackers of VFIO devices",
    license: "GPL",
    imports_ns: ["IOMMUFD", "IOMMUFD_DIRTY"],
    params: {
        software_max_kib: u64 {
            default: 65536,
            description: "KiB of kernel memory that the bitmap of one emulated device may take (at least 64)",
        },
    },
}

/// Bytes of kernel memory that the bitmap of one emulated device may take.
fn software_max() -> u64 {
    let kib = module_parameters::software_max_kib.value();
    kib.clamp(64, 1 << 30) << 10
}

struct IommufdDirtyVfio {
    _ops: abi::Ops,
}

impl kernel::Module for IommufdDirtyVfio {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _ops: abi::Ops::register()?,
        })
    }
}

/// The tracker of a device, which is in `space`. `ENOTTY` if there is nothing to make one of.
fn create(device: &Device, space: &Arc<Space>) -> Result<KBox<dyn Registered>> {
    if device.has_log() {
        return log::register(device, space);
    }
    if device.is_emulated() {
        return software::register(device, space);
    }
    Err(ENOTTY)
}
