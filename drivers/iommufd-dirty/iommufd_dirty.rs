// SPDX-License-Identifier: GPL-2.0

//! Dirty tracking of I/O address spaces, for live migration of virtual machines.
//!
//! Whoever knows which pages a device wrote registers a [`tracker`]; userspace puts trackers into a
//! [`context`] and reads them one by one or merged. Who does what:
//!
//! - [`abi`]: everything that is unsafe: the device node, calls from and to trackers, pinned pages;
//! - [`ioctl`] with [`info`], [`bind`], [`ranges`], [`start`], [`read`], [`extents`], [`clear`]:
//!   the
//!   uAPI;
//! - [`state`]: a context's members; [`member`]: one of them; [`scan`]: reading them;
//! - [`source`]: where a tracker's dirty pages come from; [`hwpt`]: an iommufd page table as one;
//! - [`sink`]: where they go;
//! - [`logic`]: what needs no kernel, and is tested on the host.
//!
//! C headers: `include/uapi/linux/iommufd_dirty.h`, `include/linux/iommufd_dirty.h`.

use kernel::{
    debugfs,
    prelude::*, //
};

mod abi;
mod bind;
mod bound;
mod clear;
mod context;
mod debug;
mod extents;
#[cfg(CONFIG_IOMMUFD_DIRTY_HWPT)]
mod hwpt;
mod info;
mod ioctl;
#[cfg(CONFIG_KUNIT = "y")]
mod kunit;
pub mod logic;
pub mod mem;
mod member;
mod member_read;
mod outcome;
mod patience;
mod policy;
mod properties;
mod ranges;
mod read;
mod scan;
mod sink;
mod source;
mod start;
mod state;
mod stats;
mod tracker;
mod waker;

module! {
    type: IommufdDirty,
    name: "iommufd_dirty",
    authors: ["The iommufd-dirty authors"],
    description: "Dirty trackers of I/O address spaces",
    license: "GPL",
    imports_ns: ["IOMMUFD"],
    params: {
        residual_max_kib: u64 {
            default: 16384,
            description: "KiB of kernel memory that one tracker's residual may hold (at least 64)",
        },
    },
}

/// Bytes of kernel memory that one residual may hold.
fn residual_max() -> u64 {
    let kib = module_parameters::residual_max_kib.value();
    kib.clamp(64, 1 << 30) << 10
}

/// Bytes of memory of a residual that one extent may take, at worst: its blocks may be half full.
const BYTES_PER_EXTENT: u64 = 2 * core::mem::size_of::<logic::range::Range>() as u64;

/// Bytes of address space whose dirty pages a residual can hold however scattered they are: every
/// other page is the worst.
fn scatter_max() -> u64 {
    (residual_max() / BYTES_PER_EXTENT).saturating_mul(2 * logic::granule::MIN_PAGE_SIZE)
}

/// An empty residual with the limit in force.
fn new_residual() -> logic::extents::Extents {
    let mut residual = logic::extents::Extents::new();
    residual.set_limit(usize::try_from(residual_max()).unwrap_or(usize::MAX));
    residual
}

#[pin_data]
struct IommufdDirty {
    // Dropped in this order: the node first, so that nobody opens a context any more.
    #[pin]
    _node: abi::chardev::Node,
    #[pin]
    _trackers: debugfs::File<()>,
    _dir: debugfs::Dir,
    _workers: abi::worker::Workqueue,
}

impl kernel::InPlaceModule for IommufdDirty {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        abi::registry::init();
        #[cfg(CONFIG_IOMMUFD_DIRTY_HWPT)]
        abi::hwpt::init();
        let dir = debugfs::Dir::new(c"iommufd-dirty");
        try_pin_init!(Self {
            _trackers <- dir.read_callback_file(c"trackers", (), &debug::trackers),
            _dir: dir.clone(),
            _workers: abi::worker::Workqueue::new()?,
            _node <- abi::chardev::Node::new(),
        })
    }
}
