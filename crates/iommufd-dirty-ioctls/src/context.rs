// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A context: its trackers, its ranges, and how a session begins.

use crate::session::Session;
use crate::tracker::{Binding, Policy, Stats, Tracker, UntrackedPolicy};
use crate::{sys, Errno, Error, PageSize, Range, Result};
use iommufd_dirty_bindings::*;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// One open of `/dev/iommufd-dirty`: the trackers of one I/O address space, the ranges that they
/// track, and one session at a time. Two address spaces need two contexts.
///
/// It can be shared by threads: the kernel handles one call after the other. When the context, its
/// session and its [`Tracker`]s are all dropped, everything is stopped and unbound.
#[derive(Debug)]
pub struct Context {
    shared: Arc<Shared>,
}

/// What a context has in common with its session and its trackers.
#[derive(Debug)]
pub(crate) struct Shared {
    fd: OwnedFd,
    interrupter: Interrupter,
}

impl Shared {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Must a call end if a signal has interrupted it?
    pub(crate) fn gives_up(&self, errno: Errno) -> bool {
        errno.raw() != libc::EINTR || self.interrupter.is_set()
    }

    /// Makes a call, and repeats it after a signal.
    pub(crate) fn retry<T>(
        &self,
        mut call: impl FnMut(BorrowedFd<'_>) -> sys::Result<T>,
    ) -> sys::Result<T> {
        loop {
            match call(self.fd()) {
                Err(errno) if !self.gives_up(errno) => continue,
                done => return done,
            }
        }
    }
}

/// Lets a signal end the calls of a context.
///
/// A signal alone does not: the call continues where it was, and nothing is lost by that. If
/// [`set()`](Self::set) was called before the signal, the call ends with `EINTR`. A signal that
/// comes just before the system call does not reach it: send it again until the thread is back.
///
/// STOP, which is short, is the exception when a session is dropped: it is not interrupted.
#[derive(Debug, Clone, Default)]
pub struct Interrupter(Arc<AtomicBool>);

impl Interrupter {
    /// Signals end calls from now on. May be called by a signal handler.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Signals no longer end calls.
    pub fn reset(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What the kernel can do, and its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// [`Context::bind_hwpt()`] works.
    pub hwpt: bool,
    /// Trackers that one context may hold.
    pub max_trackers: u32,
    /// Disjoint ranges that one context may track.
    pub max_ranges: u32,
    /// Ranges of one READ, CLEAR or HARVEST.
    pub max_read_ranges: u32,
    /// Bytes of kernel memory that one tracker's residual may hold; beyond that more is reported
    /// than was written.
    pub max_residual: u64,
}

/// What START did, or would do, with each tracker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartReport {
    /// Bytes: no dirty page is reported more precisely than this.
    pub granule: u64,
    /// In the order in which they were bound.
    pub trackers: Vec<TrackerStart>,
}

/// What START did, or would do, with one tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrackerStart {
    /// Its id.
    pub id: u32,
    /// As given when it was bound.
    pub cookie: u64,
    /// Why it could not start.
    pub error: Option<Errno>,
    /// Bytes per bit; with `ERANGE` the nearest that it can do.
    pub granule: u64,
    /// Ranges used, after joining.
    pub ranges: u32,
    /// Bytes of kernel memory.
    pub memory: u64,
}

impl Context {
    /// Opens `/dev/iommufd-dirty`.
    pub fn open() -> Result<Self> {
        sys::open().map(Self::from).map_err(Error::Open)
    }

    /// Creates another, empty context, for a program that was given one and may not open the node.
    pub fn another(&self) -> Result<Self> {
        let fd = self.shared.retry(sys::another).map_err(Error::Another)?;
        Ok(Self::from(fd))
    }

    /// What the kernel can do, and its limits.
    pub fn info(&self) -> Result<Info> {
        let mut cmd = iommufd_dirty_info::default();
        self.shared
            .retry(|fd| sys::info(fd, &mut cmd))
            .map_err(Error::Info)?;
        Ok(Info {
            hwpt: cmd.out_features & u64::from(IOMMUFD_DIRTY_FEATURE_HWPT) != 0,
            max_trackers: cmd.out_max_trackers,
            max_ranges: cmd.out_max_ranges,
            max_read_ranges: cmd.out_max_read_ranges,
            max_residual: cmd.out_max_residual,
        })
    }

    /// Lets a signal end the calls of this context, its session and its trackers.
    pub fn interrupter(&self) -> Interrupter {
        self.shared.interrupter.clone()
    }

    /// Binds a page table of `iommufd` that was allocated with `IOMMU_HWPT_ALLOC_DIRTY_TRACKING`.
    pub fn bind_hwpt(
        &self,
        iommufd: impl AsFd,
        hwpt_id: u32,
        binding: &Binding,
    ) -> Result<Tracker> {
        let mut cmd = iommufd_dirty_bind_hwpt {
            flags: binding.flags(),
            iommufd: iommufd.as_fd().as_raw_fd(),
            hwpt_id,
            policy: binding.policy as u32,
            cookie: binding.cookie,
            ..Default::default()
        };
        self.shared
            .retry(|fd| sys::bind_hwpt(fd, &mut cmd))
            .map_err(Error::BindHwpt)?;
        Ok(self.tracker(cmd.out_tracker_id))
    }

    /// Does the VFIO device have a tracker that can be bound?
    pub fn device_has_tracker(&self, device: impl AsFd) -> Result<bool> {
        match self.shared.retry(|_| sys::vfio_probe(device.as_fd())) {
            Ok(()) => Ok(true),
            Err(errno) if errno.raw() == libc::ENOTTY => Ok(false),
            Err(errno) => Err(Error::ProbeDevice(errno)),
        }
    }

    /// Binds the tracker of a VFIO device, which is in an iommufd and attached.
    pub fn bind_device(&self, device: impl AsFd, binding: &Binding) -> Result<Tracker> {
        let mut feature = sys::Feature::default();
        self.shared
            .retry(|fd| {
                feature.data = vfio_device_feature_dirty_tracker {
                    context_fd: fd.as_raw_fd(),
                    policy: binding.policy as u32,
                    flags: binding.flags(),
                    cookie: binding.cookie,
                    ..Default::default()
                };
                sys::vfio_bind(device.as_fd(), &mut feature)
            })
            .map_err(Error::BindDevice)?;
        Ok(self.tracker(feature.data.out_tracker_id))
    }

    /// Adds a member that cannot track, which makes explicit what is done about it.
    pub fn bind_untracked(&self, policy: UntrackedPolicy, cookie: u64) -> Result<Tracker> {
        let mut cmd = iommufd_dirty_bind_untracked {
            policy: Policy::from(policy) as u32,
            cookie,
            ..Default::default()
        };
        self.shared
            .retry(|fd| sys::bind_untracked(fd, &mut cmd))
            .map_err(Error::BindUntracked)?;
        Ok(self.tracker(cmd.out_tracker_id))
    }

    fn tracker(&self, id: u32) -> Tracker {
        Tracker::new(Arc::clone(&self.shared), id)
    }

    /// The context's trackers, in the order in which they were bound.
    pub fn trackers(&self) -> Result<Vec<Tracker>> {
        let ids = self
            .listed(0u32, sys::list)
            .map_err(Error::Trackers)?
            .into_iter();
        Ok(ids.map(|id| self.tracker(id)).collect())
    }

    /// The ranges that the context tracks, in ascending order, with adjacent ranges joined.
    pub fn ranges(&self) -> Result<Vec<Range>> {
        self.listed(Range::default(), sys::list_ranges)
            .map_err(Error::Ranges)
    }

    /// An array that the kernel fills, of the length that it returns.
    fn listed<T: Copy>(
        &self,
        empty: T,
        list: fn(BorrowedFd<'_>, &mut [T]) -> sys::Result<usize>,
    ) -> sys::Result<Vec<T>> {
        let mut array = Vec::new();
        loop {
            let there = self.shared.retry(|fd| list(fd, &mut array))?;
            if there <= array.len() {
                array.truncate(there);
                return Ok(array);
            }
            array.resize(there, empty);
        }
    }

    /// Adds ranges, all or none; they are aligned to 4 KiB. While tracking they are reported
    /// dirty once, because their pages may have been written before.
    pub fn add_ranges(&self, ranges: &[Range]) -> Result<()> {
        self.change_ranges(0, ranges).map_err(Error::AddRanges)
    }

    /// Adds ranges to which nothing is known to have been written, such as those that a guest is
    /// about to map in its virtual IOMMU.
    pub fn add_clean_ranges(&self, ranges: &[Range]) -> Result<()> {
        self.change_ranges(IOMMUFD_DIRTY_RANGES_ASSUME_CLEAN, ranges)
            .map_err(Error::AddRanges)
    }

    /// Removes ranges. What was not read or harvested from them is dropped.
    pub fn remove_ranges(&self, ranges: &[Range]) -> Result<()> {
        self.change_ranges(IOMMUFD_DIRTY_RANGES_REMOVE, ranges)
            .map_err(Error::RemoveRanges)
    }

    fn change_ranges(&self, flags: u32, ranges: &[Range]) -> sys::Result<()> {
        self.shared.retry(|fd| sys::ranges(fd, flags, ranges))
    }

    /// Negotiates and reports; fails where [`start()`](Self::start) would, and starts nothing.
    pub fn dry_run(&self, options: &StartOptions) -> Result<StartReport> {
        let room = self.info()?.max_trackers as usize;
        self.do_start(options.flags() | IOMMUFD_DIRTY_START_DRY_RUN, options, room)
    }

    /// Starts all trackers, or none.
    pub fn start(&self, options: &StartOptions) -> Result<Session> {
        let room = self.info()?.max_trackers as usize;
        let report = self.do_start(options.flags(), options, room)?;
        Ok(Session::new(Arc::clone(&self.shared), report, room))
    }

    fn do_start(&self, flags: u32, options: &StartOptions, room: usize) -> Result<StartReport> {
        let mut cmd = iommufd_dirty_start {
            flags,
            page_size: options.page_size.bytes(),
            ..Default::default()
        };
        let mut results = vec![iommufd_dirty_start_result::default(); room];
        let result = self
            .shared
            .retry(|fd| sys::start(fd, &mut cmd, &mut results));
        // A call that fails early leaves them as they were.
        let trackers = results.iter().filter(|r| r.tracker_id != 0);
        let report = StartReport {
            granule: cmd.out_granule,
            trackers: trackers
                .map(|r| TrackerStart {
                    id: r.tracker_id,
                    cookie: r.cookie,
                    error: Errno::of_result(r.error),
                    granule: r.granule,
                    ranges: r.nr_ranges,
                    memory: r.memory,
                })
                .collect(),
        };
        match result {
            Ok(()) => Ok(report),
            Err(errno) => Err(Error::Start { errno, report }),
        }
    }

    /// Counts, times and memory of the context as a whole.
    pub fn stats(&self) -> Result<Stats> {
        Stats::of(&self.shared, 0)
    }

    /// Does a tracker have trouble that was not acknowledged? Does not wait. To wait in an event
    /// loop, poll the file descriptor for `EPOLLPRI`.
    ///
    /// [`Tracker::info()`] of the tracker acknowledges it.
    pub fn has_trouble(&self) -> Result<bool> {
        self.shared.retry(sys::poll).map_err(Error::Poll)
    }
}

/// How to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartOptions {
    page_size: PageSize,
    exact: bool,
}

impl StartOptions {
    /// Each tracker gets the coarsest of its granules that is not coarser than `page_size`, or else
    /// its finest.
    pub fn new(page_size: PageSize) -> Self {
        Self {
            page_size,
            exact: false,
        }
    }

    /// `ERANGE` if a tracker's finest granule is coarser than the page size.
    pub fn exact(self) -> Self {
        Self {
            exact: true,
            ..self
        }
    }

    fn flags(&self) -> u32 {
        if self.exact {
            IOMMUFD_DIRTY_START_EXACT
        } else {
            0
        }
    }
}

/// For a program that was given an open one. It must be a `/dev/iommufd-dirty`, or else its calls
/// fail with `ENOTTY`.
impl From<OwnedFd> for Context {
    fn from(fd: OwnedFd) -> Self {
        Self {
            shared: Arc::new(Shared {
                fd,
                interrupter: Interrupter::default(),
            }),
        }
    }
}

impl AsFd for Context {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.fd()
    }
}

impl AsRawFd for Context {
    fn as_raw_fd(&self) -> RawFd {
        self.shared.fd().as_raw_fd()
    }
}
