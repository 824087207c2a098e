// SPDX-License-Identifier: GPL-2.0

//! A VFIO driver of the virtual functions of ConnectX devices, with a dirty tracker.

use kernel::prelude::*;

mod abi;
pub mod cmd;
pub mod cqe;
pub mod ifc;
pub mod limits;
mod qp;
#[path = "../iommufd-dirty/logic/range.rs"]
pub mod range;
pub mod report;
mod tracker;

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
    module_parameters::report_timeout_ms.value()
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
