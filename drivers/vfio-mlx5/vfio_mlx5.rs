// SPDX-License-Identifier: GPL-2.0

//! A VFIO driver of the virtual functions of ConnectX devices, with a dirty tracker.

use kernel::prelude::*;

mod abi;
pub mod cmd;
pub mod cqe;
pub mod ifc;
pub mod limits;
#[path = "../iommufd-dirty/logic/range.rs"]
pub mod range;
pub mod report;

module! {
    type: VfioMlx5,
    name: "vfio_mlx5",
    authors: ["The iommufd-dirty authors"],
    description: "VFIO driver of ConnectX VFs with a dirty tracker",
    license: "GPL",
    imports_ns: ["IOMMUFD", "IOMMUFD_DIRTY"],
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
