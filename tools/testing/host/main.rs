// SPDX-License-Identifier: GPL-2.0

//! Host tests of `drivers/iommufd-dirty/logic/`, against models that are too simple to be wrong.

mod blocks;
mod common;
mod extents;
mod granule;
mod range;
mod range_set;
mod window;
