// SPDX-License-Identifier: GPL-2.0

//! Dirty trackers of VFIO devices whose drivers have none of their own.
//!
//! VFIO asks for one when userspace wants `VFIO_DEVICE_FEATURE_DIRTY_TRACKER` of an open device,
//! and tells when the device is about to be closed. Which tracker it gets is [`create`]'s choice.
//!
//! - [`abi`]: everything that is unsafe;
//! - [`log`], with [`whole_units`]: the tracker of a device that logs its DMA by itself;
//! - [`software`]: the tracker of an emulated device; [`tree`] is its bitmap, which needs no kernel
//!   and is tested on the host;
//! - [`logging`]: VFIO's DMA logging of devices whose drivers have none, with [`source`], and
//!   [`owed`], which is tested on the host as well.
//!
//! C headers: `include/linux/iommufd_dirty.h`, and `include/linux/vfio.h` with `patches/` applied.

use abi::{
    device::Device,
    space::Space,
    Registered, //
};
use kernel::{
    debugfs,
    prelude::*,
    sync::Arc, //
};

mod abi;
mod cells;
mod log;
mod logging;
#[path = "../iommufd-dirty/mem.rs"]
pub mod mem;
pub mod owed;
mod software;
mod source;
pub mod tracked;
pub mod tree;
pub mod whole_units;

/// What iommufd-dirty has that needs no kernel, as far as it is of use here.
#[path = "../iommufd-dirty/logic"]
pub mod logic {
    mod cut;
    pub mod extents;
    pub mod granule;
    pub mod range;
    pub mod range_set;

    use cut::cut;
}

module! {
    type: IommufdDirtyVfio,
    name: "iommufd_dirty_vfio",
    authors: ["The iommufd-dirty authors"],
    description: "Dirty trackers of VFIO devices",
    license: "GPL",
    imports_ns: ["IOMMUFD", "IOMMUFD_DIRTY"],
    params: {
        dma_log: u8 {
            default: 0,
            description: "1: VFIO's DMA logging of devices whose drivers have none, by their page tables or the kernel's writes (0)",
        },
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

/// Does every device with a source of dirty pages have VFIO's DMA logging?
fn dma_log_is_on() -> bool {
    module_parameters::dma_log.value() == 1
}

#[pin_data]
struct IommufdDirtyVfio {
    // Dropped in this order: first VFIO asks no more.
    _ops: abi::Ops,
    #[pin]
    _logs: debugfs::File<()>,
    _dir: debugfs::Dir,
}

impl kernel::InPlaceModule for IommufdDirtyVfio {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        abi::sources::init();
        let dir = debugfs::Dir::new(c"iommufd-dirty-vfio");
        try_pin_init!(Self {
            _logs <- dir.read_callback_file(c"logs", (), &source::list),
            _dir: dir.clone(),
            _ops: {
                if module_parameters::dma_log.value() > 1 {
                    return Err(EINVAL);
                }
                abi::Ops::register(dma_log_is_on())?
            },
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
