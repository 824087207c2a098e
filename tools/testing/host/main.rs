// SPDX-License-Identifier: GPL-2.0

//! Host tests of `drivers/iommufd-dirty/logic/` and of some files of `drivers/iommufd-dirty-vfio/`,
//! against models that are too simple to be wrong.

mod batch;
mod common;
mod extents;
mod granule;
mod owed;
mod range;
mod range_set;
mod tree;
mod whole_units;
mod window;
