// SPDX-License-Identifier: GPL-2.0

//! A VFIO driver of the virtual functions of ConnectX devices, with a dirty tracker.
//!
//! All that VFIO does for any PCI device is vfio-pci-core's. What is here is about the page tracker
//! of the firmware: by it a VF is a tracker of /dev/iommufd-dirty, and has VFIO's DMA logging.
//!
//! - [`abi`]: everything that is unsafe;
//! - [`vf`]: a VF, who uses its page tracker, and when that has to end;
//! - [`dirty`], [`log`]: the two who may use it; [`wakers`]: how they are woken;
//! - [`tracker`], with [`qp`]: the page tracker, and the queues by which it reports;
//! - [`migration`]: how it goes to another host; [`image`], [`outgoing`]: the stream that it goes
//!   as;
//! - [`cmd`], [`ifc`]: the firmware's commands and their layouts; [`limits`], [`report`], [`cqe`]:
//!   what it can take, and what it says. These need no kernel and are tested on the host;
//! - [`logic`], [`mem`]: of iommufd-dirty.
//!
//! C headers: `include/linux/{vfio,vfio_pci_core}.h`, `include/linux/mlx5/*.h`.

use kernel::prelude::*;

mod abi;
pub mod cmd;
pub mod cqe;
mod dirty;
pub mod ifc;
pub mod image;
pub mod limits;
mod log;
#[path = "../iommufd-dirty/mem.rs"]
pub mod mem;
mod migration;
pub mod outgoing;
mod qp;
pub mod report;
mod tracker;
mod vf;
mod wakers;

/// What iommufd-dirty has that needs no kernel, as far as it is of use here.
#[path = "../iommufd-dirty/logic"]
pub mod logic {
    mod cut;
    pub mod extents;
    pub mod range;
    pub mod range_set;

    use cut::cut;
}
pub use logic::range;

module! {
    type: VfioMlx5,
    name: "vfio_mlx5",
    authors: ["The iommufd-dirty authors"],
    description: "VFIO driver of ConnectX VFs with a dirty tracker",
    license: "GPL",
    imports_ns: ["IOMMUFD", "IOMMUFD_DIRTY"],
    params: {
        report_timeout_ms: u32 {
            default: 10000,
            description: "Milliseconds that a VF's page tracker may be silent in the midst of a report",
        },
    },
}

/// How long a page tracker may be silent in the midst of a report, in milliseconds.
fn report_timeout_ms() -> u32 {
    // The largest numbers would be for ever.
    module_parameters::report_timeout_ms
        .value()
        .clamp(1, 600_000)
}

struct VfioMlx5 {
    _driver: abi::Driver,
}

impl kernel::Module for VfioMlx5 {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _driver: abi::Driver::register()?,
        })
    }
}
