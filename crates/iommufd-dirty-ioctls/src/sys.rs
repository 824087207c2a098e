// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The system calls. All of this crate's unsafe code is here: each function fills in the addresses
//! and lengths of what it is given, so that what the kernel reads and writes is what was borrowed.

use crate::{Errno, Range};
use iommufd_dirty_bindings::*;
use std::marker::PhantomData;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::AtomicU64;

#[cfg(test)]
use crate::fake as kernel;

pub(crate) type Result<T> = std::result::Result<T, Errno>;

/// The kernel proper. The tests of this crate put another one in its place.
#[cfg(not(test))]
mod kernel {
    use super::*;
    use std::fs::OpenOptions;
    use std::io;
    use std::os::fd::AsRawFd;

    pub(crate) fn open() -> Result<OwnedFd> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/iommufd-dirty");
        file.map(OwnedFd::from).map_err(errno_of)
    }

    fn errno_of(error: io::Error) -> Errno {
        Errno::new(error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// # Safety
    ///
    /// `arg` is what the ioctl `number` takes, and all that it points to may be read, and if the
    /// ioctl does so written, for as long as its length fields say.
    pub(crate) unsafe fn ioctl<T>(fd: BorrowedFd<'_>, number: u32, arg: &mut T) -> Result<()> {
        let arg: *mut T = arg;
        // SAFETY: the caller's promise is the kernel's only condition.
        match unsafe { libc::ioctl(fd.as_raw_fd(), number as _, arg) } {
            -1 => Err(errno_of(io::Error::last_os_error())),
            _ => Ok(()),
        }
    }

    pub(crate) fn poll(fd: BorrowedFd<'_>) -> Result<bool> {
        let mut poll = libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLPRI,
            revents: 0,
        };
        // SAFETY: it is one structure.
        match unsafe { libc::poll(&mut poll, 1, 0) } {
            -1 => Err(errno_of(io::Error::last_os_error())),
            _ => Ok(poll.revents & libc::POLLPRI != 0),
        }
    }
}

pub(crate) use kernel::{open, poll};

const fn size_of_u32<T>() -> u32 {
    size_of::<T>() as u32
}

/// The length of an array, for the kernel. If it does not fit into the field it is cut: for results
/// and extents that is as good, and the kernel takes far fewer ranges.
fn len_u32<T>(array: &[T]) -> u32 {
    u32::try_from(array.len()).unwrap_or(u32::MAX)
}

fn address<T>(array: &[T]) -> u64 {
    array.as_ptr() as u64
}

fn address_mut<T>(array: &mut [T]) -> u64 {
    array.as_mut_ptr() as u64
}

/// Functions for the ioctls that have no pointers: what they are given is what is written.
macro_rules! plain {
    ($($name:ident: $command:ident($argument:ty);)*) => {$(
        pub(crate) fn $name(fd: BorrowedFd<'_>, cmd: &mut $argument) -> Result<()> {
            cmd.size = size_of_u32::<$argument>();
            // SAFETY: this is the ioctl's structure, and it has no pointers.
            unsafe { kernel::ioctl(fd, $command, cmd) }
        }
    )*};
}

plain! {
    info: IOMMUFD_DIRTY_INFO(iommufd_dirty_info);
    bind_hwpt: IOMMUFD_DIRTY_BIND_HWPT(iommufd_dirty_bind_hwpt);
    bind_untracked: IOMMUFD_DIRTY_BIND_UNTRACKED(iommufd_dirty_bind_untracked);
    unbind: IOMMUFD_DIRTY_UNBIND(iommufd_dirty_unbind);
    tracker_info: IOMMUFD_DIRTY_TRACKER_INFO(iommufd_dirty_tracker_info);
    stop: IOMMUFD_DIRTY_STOP(iommufd_dirty_stop);
    set_policy: IOMMUFD_DIRTY_SET_POLICY(iommufd_dirty_set_policy);
    stats: IOMMUFD_DIRTY_STATS(iommufd_dirty_stats);
}

pub(crate) fn another(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    let mut cmd = iommufd_dirty_new {
        size: size_of_u32::<iommufd_dirty_new>(),
        ..Default::default()
    };
    // SAFETY: this is the ioctl's structure, and it has no pointers.
    unsafe { kernel::ioctl(fd, IOMMUFD_DIRTY_NEW, &mut cmd) }?;
    // SAFETY: the kernel has just made it, for us.
    Ok(unsafe { OwnedFd::from_raw_fd(cmd.out_fd) })
}

/// A `struct vfio_device_feature` and the data that follows it.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Feature {
    argsz: u32,
    flags: u32,
    pub(crate) data: vfio_device_feature_dirty_tracker,
}

pub(crate) fn vfio_probe(device: BorrowedFd<'_>) -> Result<()> {
    vfio_feature(device, VFIO_DEVICE_FEATURE_PROBE, &mut Feature::default())
}

pub(crate) fn vfio_bind(device: BorrowedFd<'_>, feature: &mut Feature) -> Result<()> {
    vfio_feature(device, 0, feature)
}

fn vfio_feature(device: BorrowedFd<'_>, flags: u32, feature: &mut Feature) -> Result<()> {
    feature.argsz = size_of_u32::<Feature>();
    feature.flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DIRTY_TRACKER | flags;
    // SAFETY: `argsz` says how long it is, and there are no pointers.
    unsafe { kernel::ioctl(device, VFIO_DEVICE_FEATURE, feature) }
}

/// Returns how many trackers there are, which may be more than `ids` takes.
pub(crate) fn list(fd: BorrowedFd<'_>, ids: &mut [u32]) -> Result<usize> {
    let mut cmd = iommufd_dirty_list {
        size: size_of_u32::<iommufd_dirty_list>(),
        nr_ids: len_u32(ids),
        ids_uptr: address_mut(ids),
        ..Default::default()
    };
    // SAFETY: `nr_ids` says how many `ids` there are.
    unsafe { kernel::ioctl(fd, IOMMUFD_DIRTY_LIST, &mut cmd) }?;
    Ok(cmd.nr_ids as usize)
}

pub(crate) fn ranges(fd: BorrowedFd<'_>, flags: u32, ranges: &[Range]) -> Result<()> {
    let mut cmd = iommufd_dirty_ranges {
        size: size_of_u32::<iommufd_dirty_ranges>(),
        flags,
        nr_ranges: len_u32(ranges),
        range_len: size_of_u32::<Range>(),
        ranges_uptr: address(ranges),
    };
    // SAFETY: `nr_ranges` and `range_len` say how long `ranges` is, and it is only read.
    unsafe { kernel::ioctl(fd, IOMMUFD_DIRTY_RANGES, &mut cmd) }
}

/// Returns how many ranges there are, which may be more than `ranges` takes.
pub(crate) fn list_ranges(fd: BorrowedFd<'_>, ranges: &mut [Range]) -> Result<usize> {
    let mut cmd = iommufd_dirty_list_ranges {
        size: size_of_u32::<iommufd_dirty_list_ranges>(),
        nr_ranges: len_u32(ranges),
        range_len: size_of_u32::<Range>(),
        ranges_uptr: address_mut(ranges),
        ..Default::default()
    };
    // SAFETY: `nr_ranges` and `range_len` say how long `ranges` is. Any bits make a `Range`.
    unsafe { kernel::ioctl(fd, IOMMUFD_DIRTY_LIST_RANGES, &mut cmd) }?;
    Ok(cmd.nr_ranges as usize)
}

/// `cmd.nr_results` is how many trackers there are afterwards.
pub(crate) fn start(
    fd: BorrowedFd<'_>,
    cmd: &mut iommufd_dirty_start,
    results: &mut [iommufd_dirty_start_result],
) -> Result<()> {
    cmd.size = size_of_u32::<iommufd_dirty_start>();
    cmd.nr_results = len_u32(results);
    cmd.result_len = size_of_u32::<iommufd_dirty_start_result>();
    cmd.results_uptr = address_mut(results);
    // SAFETY: `nr_results` and `result_len` say how long `results` is.
    unsafe { kernel::ioctl(fd, IOMMUFD_DIRTY_START, cmd) }
}

/// Ranges, each with a bitmap that is long enough for it, as long as bits stand for pages of
/// `page_size` or more; or all without.
#[derive(Debug)]
pub(crate) struct Elements<'a> {
    page_size: u64,
    array: Vec<iommufd_dirty_bitmap>,
    bitmaps: PhantomData<&'a [AtomicU64]>,
}

impl<'a> Elements<'a> {
    /// `page_size` is not 0.
    pub(crate) fn new(page_size: u64) -> Self {
        Self {
            page_size,
            array: Vec::new(),
            bitmaps: PhantomData,
        }
    }

    /// Returns how many bits it takes, if the bitmap has fewer.
    pub(crate) fn push(
        &mut self,
        range: Range,
        bitmap: &'a [AtomicU64],
        bit_offset: u64,
    ) -> std::result::Result<(), u64> {
        let bits = (bitmap.len() as u64).saturating_mul(u64::BITS.into());
        let needed = bit_offset.saturating_add(range.length().div_ceil(self.page_size));
        if needed > bits {
            return Err(needed);
        }
        self.array.push(iommufd_dirty_bitmap {
            iova: range.iova(),
            length: range.length(),
            bitmap_uptr: address(bitmap),
            bit_offset,
        });
        Ok(())
    }

    pub(crate) fn push_bare(&mut self, range: Range) {
        self.array.push(iommufd_dirty_bitmap {
            iova: range.iova(),
            length: range.length(),
            ..Default::default()
        });
    }

    #[cfg(feature = "vm-memory")]
    pub(crate) fn page_size(&self) -> u64 {
        self.page_size
    }
}

/// What is out is of this call, whatever it returns. `extents` is empty unless `cmd.flags` has
/// EXTENTS.
pub(crate) fn read(
    fd: BorrowedFd<'_>,
    cmd: &mut iommufd_dirty_read,
    elements: &Elements<'_>,
    extents: &mut [Range],
    results: &mut [iommufd_dirty_read_result],
) -> Result<()> {
    cmd.size = size_of_u32::<iommufd_dirty_read>();
    cmd.page_size = elements.page_size;
    cmd.nr_ranges = len_u32(&elements.array);
    cmd.range_len = size_of_u32::<iommufd_dirty_bitmap>();
    cmd.ranges_uptr = address(&elements.array);
    if !extents.is_empty() {
        cmd.nr_extents = len_u32(extents);
        cmd.extent_len = size_of_u32::<Range>();
        cmd.extents_uptr = address_mut(extents);
    }
    cmd.nr_results = len_u32(results);
    cmd.result_len = size_of_u32::<iommufd_dirty_read_result>();
    cmd.results_uptr = address_mut(results);
    // A call that could not begin leaves these as they are.
    cmd.out_status = 0;
    cmd.out_dirty = 0;
    cmd.out_nr_extents = 0;
    cmd.out_nr_results = 0;
    // SAFETY: the fields above say how long the arrays are. Any bits make a `Range`. The bitmaps
    // have a bit for each page of their ranges: see `Elements`. They are borrowed for as long as
    // `elements` lives, by atomic words, so that the kernel may change them.
    unsafe { kernel::ioctl(fd, IOMMUFD_DIRTY_READ, cmd) }
}

pub(crate) fn clear(
    fd: BorrowedFd<'_>,
    cmd: &mut iommufd_dirty_clear,
    elements: &Elements<'_>,
) -> Result<()> {
    cmd.size = size_of_u32::<iommufd_dirty_clear>();
    cmd.page_size = elements.page_size;
    cmd.nr_ranges = len_u32(&elements.array);
    cmd.range_len = size_of_u32::<iommufd_dirty_bitmap>();
    cmd.ranges_uptr = address(&elements.array);
    cmd.out_status = 0;
    // SAFETY: as for READ; the bitmaps are only read.
    unsafe { kernel::ioctl(fd, IOMMUFD_DIRTY_CLEAR, cmd) }
}

pub(crate) fn harvest(
    fd: BorrowedFd<'_>,
    cmd: &mut iommufd_dirty_harvest,
    ranges: &[Range],
) -> Result<()> {
    cmd.size = size_of_u32::<iommufd_dirty_harvest>();
    cmd.nr_ranges = len_u32(ranges);
    cmd.range_len = size_of_u32::<Range>();
    cmd.ranges_uptr = address(ranges);
    cmd.out_status = 0;
    // SAFETY: as for RANGES.
    unsafe { kernel::ioctl(fd, IOMMUFD_DIRTY_HARVEST, cmd) }
}
