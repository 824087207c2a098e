// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A kernel for the tests: one context, whose calls fail when a test says so. It belongs to the
//! thread, and so to the test.

use crate::sys::{Feature, Result};
use crate::{Errno, Range};
use iommufd_dirty_bindings::*;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd};

pub(crate) const PAGE: u64 = 4096;

/// What a call shall do instead of succeed.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) errno: i32,
    /// Of a call that goes through ranges: after so many pages.
    pub(crate) after: u64,
}

#[derive(Default)]
pub(crate) struct Kernel {
    /// The n-th call, from 1, fails.
    pub(crate) faults: HashMap<usize, Fault>,
    /// The number and the flags of each call so far.
    pub(crate) calls: Vec<(u32, u32)>,
    /// Numbers of pages of 4 KiB.
    pub(crate) dirty: BTreeSet<u64>,
    pub(crate) started: bool,
    pub(crate) trouble: bool,
    /// A READ says this of the first tracker.
    pub(crate) result_error: i32,
    trackers: Vec<(u32, u64, u32)>,
    ranges: Vec<Range>,
}

thread_local! {
    static KERNEL: RefCell<Kernel> = RefCell::default();
}

pub(crate) fn with<T>(f: impl FnOnce(&mut Kernel) -> T) -> T {
    KERNEL.with_borrow_mut(f)
}

fn errno(errno: i32) -> Errno {
    Errno::new(errno)
}

fn some_fd() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

/// Notes a call. An `Err` is the fault that it has.
fn enter(number: u32, flags: u32) -> std::result::Result<(), Fault> {
    with(|k| {
        k.calls.push((number, flags));
        k.faults.get(&k.calls.len()).map_or(Ok(()), |f| Err(*f))
    })
}

pub(crate) const OPEN: u32 = 0;
pub(crate) const POLL: u32 = 1;

pub(crate) fn open() -> Result<OwnedFd> {
    enter(OPEN, 0).map_err(|f| errno(f.errno))?;
    Ok(some_fd())
}

pub(crate) fn poll(_: BorrowedFd<'_>) -> Result<bool> {
    enter(POLL, 0).map_err(|f| errno(f.errno))?;
    Ok(with(|k| k.trouble))
}

/// An array of the caller's.
///
/// # Safety
///
/// `address` is that of `len` elements that nobody else uses meanwhile.
unsafe fn array<'a, T>(address: u64, len: u32) -> &'a mut [T] {
    if len == 0 {
        return &mut [];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts_mut(address as *mut T, len as usize) }
}

/// # Safety
///
/// As of the ioctl itself.
pub(crate) unsafe fn ioctl<T>(_: BorrowedFd<'_>, number: u32, arg: &mut T) -> Result<()> {
    let arg: *mut T = arg;
    /// The argument as the ioctl's structure, and its arrays.
    macro_rules! arg {
        ($t:ty) => {{
            assert_eq!(size_of::<T>(), size_of::<$t>());
            // SAFETY: the number says that this is what the caller has given.
            unsafe { &mut *arg.cast::<$t>() }
        }};
    }
    macro_rules! array {
        ($address:expr, $len:expr, $t:ty) => {
            // SAFETY: the caller says so in the structure.
            unsafe { array::<$t>($address, $len) }
        };
    }
    // All but one structure begin with their size and the flags.
    // SAFETY: all of them have these two words.
    let [size, flags] = unsafe { *arg.cast::<[u32; 2]>() };
    assert_eq!(size as usize, size_of::<T>());
    let fault = enter(number, flags).err();
    if let Some(Fault { errno: e, after: 0 }) = fault {
        return Err(errno(e));
    }
    match number {
        IOMMUFD_DIRTY_INFO => arg!(iommufd_dirty_info).out_max_trackers = 4,
        IOMMUFD_DIRTY_NEW => arg!(iommufd_dirty_new).out_fd = some_fd().into_raw_fd(),
        IOMMUFD_DIRTY_BIND_HWPT => {
            let cmd = arg!(iommufd_dirty_bind_hwpt);
            cmd.out_tracker_id = bind(cmd.cookie, cmd.policy);
        }
        IOMMUFD_DIRTY_BIND_UNTRACKED => {
            let cmd = arg!(iommufd_dirty_bind_untracked);
            cmd.out_tracker_id = bind(cmd.cookie, cmd.policy);
        }
        VFIO_DEVICE_FEATURE => {
            let data = &mut arg!(Feature).data;
            if flags & VFIO_DEVICE_FEATURE_PROBE == 0 {
                data.out_tracker_id = bind(data.cookie, data.policy);
            }
        }
        IOMMUFD_DIRTY_UNBIND => {
            let id = arg!(iommufd_dirty_unbind).tracker_id;
            with(|k| k.trackers.retain(|t| t.0 != id));
        }
        IOMMUFD_DIRTY_LIST => {
            let cmd = arg!(iommufd_dirty_list);
            let ids = array!(cmd.ids_uptr, cmd.nr_ids, u32);
            with(|k| {
                for (to, tracker) in ids.iter_mut().zip(&k.trackers) {
                    *to = tracker.0;
                }
                cmd.nr_ids = k.trackers.len() as u32;
            });
        }
        IOMMUFD_DIRTY_TRACKER_INFO => {
            let cmd = arg!(iommufd_dirty_tracker_info);
            let id = cmd.tracker_id;
            let there = with(|k| k.trackers.iter().find(|t| t.0 == id).copied());
            let (_, cookie, policy) = there.ok_or(errno(libc::ENOENT))?;
            cmd.out_kind = IOMMUFD_DIRTY_KIND_DEVICE;
            cmd.out_cookie = cookie;
            cmd.out_policy = policy;
            cmd.out_name[..4].copy_from_slice(b"fake");
        }
        IOMMUFD_DIRTY_SET_POLICY => {
            let cmd = arg!(iommufd_dirty_set_policy);
            with(|k| {
                for tracker in k.trackers.iter_mut().filter(|t| t.0 == cmd.tracker_id) {
                    tracker.2 = cmd.policy;
                }
            });
        }
        IOMMUFD_DIRTY_RANGES => {
            let cmd = arg!(iommufd_dirty_ranges);
            let ranges = array!(cmd.ranges_uptr, cmd.nr_ranges, Range);
            with(|k| match flags & IOMMUFD_DIRTY_RANGES_REMOVE {
                0 => k.ranges.extend_from_slice(ranges),
                _ => k.ranges.retain(|r| !ranges.contains(r)),
            });
        }
        IOMMUFD_DIRTY_LIST_RANGES => {
            let cmd = arg!(iommufd_dirty_list_ranges);
            let ranges = array!(cmd.ranges_uptr, cmd.nr_ranges, Range);
            with(|k| {
                for (to, range) in ranges.iter_mut().zip(&k.ranges) {
                    *to = *range;
                }
                cmd.nr_ranges = k.ranges.len() as u32;
            });
        }
        IOMMUFD_DIRTY_START => {
            let cmd = arg!(iommufd_dirty_start);
            let results = array!(cmd.results_uptr, cmd.nr_results, iommufd_dirty_start_result);
            with(|k| {
                for (to, tracker) in results.iter_mut().zip(&k.trackers) {
                    to.tracker_id = tracker.0;
                    to.cookie = tracker.1;
                    to.error = fault.map_or(0, |f| -f.errno);
                }
                cmd.nr_results = k.trackers.len() as u32;
                cmd.out_granule = cmd.page_size;
                if let Some(fault) = fault {
                    return Err(errno(fault.errno));
                }
                k.started |= flags & IOMMUFD_DIRTY_START_DRY_RUN == 0;
                Ok(())
            })?;
        }
        IOMMUFD_DIRTY_STOP => with(|k| k.started = false),
        IOMMUFD_DIRTY_STATS => arg!(iommufd_dirty_stats).out_reads = 7,
        IOMMUFD_DIRTY_READ => {
            let cmd = arg!(iommufd_dirty_read);
            let elements = array!(cmd.ranges_uptr, cmd.nr_ranges, iommufd_dirty_bitmap);
            let extents = array!(cmd.extents_uptr, cmd.nr_extents, Range);
            let results = array!(cmd.results_uptr, cmd.nr_results, iommufd_dirty_read_result);
            return with(|k| read(k, cmd, elements, extents, results, fault));
        }
        IOMMUFD_DIRTY_CLEAR => {
            let cmd = arg!(iommufd_dirty_clear);
            let elements = array!(cmd.ranges_uptr, cmd.nr_ranges, iommufd_dirty_bitmap);
            with(|k| {
                for element in elements {
                    for page in 0..element.length / cmd.page_size {
                        let word = word_of(element, page);
                        // SAFETY: the caller has a bitmap for the range.
                        if unsafe { *word.0 } & word.1 != 0 {
                            take(k, element.iova + page * cmd.page_size, cmd.page_size, false);
                        }
                    }
                }
            });
        }
        // What is dirty stays so, here.
        IOMMUFD_DIRTY_HARVEST => {
            let cmd = arg!(iommufd_dirty_harvest);
            cmd.out_status = IOMMUFD_DIRTY_STATUS_HOLE;
            if let Some(fault) = fault {
                cmd.next_range += 1;
                if cmd.next_range == cmd.nr_ranges {
                    cmd.next_range = 0;
                }
                return Err(errno(fault.errno));
            }
            cmd.next_range = 0;
        }
        other => panic!("no such ioctl: {other:#x}"),
    }
    Ok(())
}

fn bind(cookie: u64, policy: u32) -> u32 {
    with(|k| {
        let id = k.trackers.len() as u32 + 1;
        k.trackers.push((id, cookie, policy));
        id
    })
}

/// Is the page dirty? It is clean afterwards, if it is not to be kept.
fn take(k: &mut Kernel, iova: u64, page_size: u64, keep: bool) -> bool {
    let pages = iova / PAGE..(iova + page_size).div_ceil(PAGE);
    let mut dirty = false;
    for page in pages {
        dirty |= match keep {
            true => k.dirty.contains(&page),
            false => k.dirty.remove(&page),
        };
    }
    dirty
}

fn word_of(element: &iommufd_dirty_bitmap, page: u64) -> (*mut u64, u64) {
    let bit = element.bit_offset + page;
    let word = (element.bitmap_uptr as *mut u64).wrapping_add((bit / 64) as usize);
    (word, 1 << (bit % 64))
}

fn read(
    k: &mut Kernel,
    cmd: &mut iommufd_dirty_read,
    elements: &[iommufd_dirty_bitmap],
    extents: &mut [Range],
    results: &mut [iommufd_dirty_read_result],
    fault: Option<Fault>,
) -> Result<()> {
    if !k.started {
        return Err(errno(libc::ENODATA));
    }
    let keep = cmd.flags & (IOMMUFD_DIRTY_READ_NO_CLEAR | IOMMUFD_DIRTY_READ_COUNT_ONLY) != 0;
    let mut budget = fault.map_or(u64::MAX, |f| f.after);
    cmd.out_nr_results = k.trackers.len() as u32;
    for (to, tracker) in results.iter_mut().zip(&k.trackers) {
        to.tracker_id = tracker.0;
        to.cookie = tracker.1;
    }
    while let Some(element) = elements.get(cmd.next_range as usize) {
        while cmd.next_offset < element.length {
            let page = cmd.next_offset / cmd.page_size;
            let iova = element.iova + cmd.next_offset;
            if budget == 0 {
                results[0].error = k.result_error;
                return Err(errno(fault.unwrap().errno));
            }
            let full = cmd.out_nr_extents as usize == extents.len();
            if cmd.flags & IOMMUFD_DIRTY_READ_EXTENTS != 0
                && full
                && take(k, iova, cmd.page_size, true)
            {
                cmd.out_status |= IOMMUFD_DIRTY_STATUS_MORE;
                return Ok(());
            }
            if take(k, iova, cmd.page_size, keep) {
                results[0].bytes += cmd.page_size;
                cmd.out_dirty += 1;
                if cmd.flags & IOMMUFD_DIRTY_READ_EXTENTS != 0 {
                    let length = cmd.page_size.min(element.length - cmd.next_offset);
                    extents[cmd.out_nr_extents as usize] = Range::new(iova, length).unwrap();
                    cmd.out_nr_extents += 1;
                } else if cmd.flags & IOMMUFD_DIRTY_READ_COUNT_ONLY == 0 {
                    let (word, bit) = word_of(element, page);
                    // SAFETY: the caller has a bitmap for the range.
                    unsafe { *word |= bit };
                }
            }
            budget -= 1;
            cmd.next_offset += cmd.page_size;
        }
        cmd.next_range += 1;
        cmd.next_offset = 0;
    }
    cmd.next_range = 0;
    Ok(())
}
