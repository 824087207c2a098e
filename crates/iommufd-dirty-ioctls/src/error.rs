// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use crate::{Range, ReadReport, StartReport};
use std::fmt;
use std::io;

/// What a call of the kernel failed with.
///
/// Each has one meaning: see "Errors" in the kernel's
/// `Documentation/userspace-api/iommufd-dirty.rst`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    pub(crate) const fn new(errno: i32) -> Self {
        Self(errno)
    }

    /// From a result, which has 0 or a negative number.
    pub(crate) fn of_result(error: i32) -> Option<Self> {
        (error != 0).then(|| Self(error.wrapping_neg()))
    }

    /// The number, as in `libc::EIO`.
    pub const fn raw(self) -> i32 {
        self.0
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&io::Error::from(*self), f)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&io::Error::from(*self), f)
    }
}

impl std::error::Error for Errno {}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

/// What failed, and where the dirty bits are then: a variant for each call.
///
/// `EINTR` ends a call only if an [`Interrupter`](crate::Interrupter) asked for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `/dev/iommufd-dirty` cannot be opened: is the module loaded?
    #[error("cannot open /dev/iommufd-dirty: {0}")]
    Open(#[source] Errno),
    /// INFO failed.
    #[error("cannot ask what the kernel can do: {0}")]
    Info(#[source] Errno),
    /// NEW failed.
    #[error("cannot make another context: {0}")]
    Another(#[source] Errno),
    /// BIND_HWPT failed, and the page table is not bound.
    #[error("cannot bind a page table: {0}")]
    BindHwpt(#[source] Errno),
    /// The device's tracker is not bound. `ENOTTY`: it has none.
    #[error("cannot bind a device's tracker: {0}")]
    BindDevice(#[source] Errno),
    /// The device cannot be asked whether it has a tracker.
    #[error("cannot ask a device for its tracker: {0}")]
    ProbeDevice(#[source] Errno),
    /// BIND_UNTRACKED failed.
    #[error("cannot bind a member that cannot track: {0}")]
    BindUntracked(#[source] Errno),
    /// UNBIND failed. After `EINTR` the tracker is still bound, and what it had is in the tracker
    /// or in the context.
    #[error("cannot unbind a tracker: {0}")]
    Unbind(#[source] Errno),
    /// LIST failed.
    #[error("cannot list the trackers: {0}")]
    Trackers(#[source] Errno),
    /// TRACKER_INFO failed.
    #[error("cannot get information about a tracker: {0}")]
    TrackerInfo(#[source] Errno),
    /// RANGES failed: the context tracks what it did. Trackers may have been restarted; then
    /// they report all their ranges dirty once.
    #[error("cannot add ranges: {0}")]
    AddRanges(#[source] Errno),
    /// Like [`Error::AddRanges`].
    #[error("cannot remove ranges: {0}")]
    RemoveRanges(#[source] Errno),
    /// LIST_RANGES failed.
    #[error("cannot list the ranges: {0}")]
    Ranges(#[source] Errno),
    /// START failed: no tracker is started. For a dry run: START would fail.
    #[error("cannot start tracking: {errno}")]
    Start {
        /// The errno of the tracker that failed, or of the call.
        #[source]
        errno: Errno,
        /// Which tracker it was, and with `ERANGE` the nearest granules.
        report: StartReport,
    },
    /// STOP failed in a tracker; all are stopped nevertheless. After `EINTR` none is, and the
    /// session stops when it is dropped.
    #[error("tracking did not stop cleanly: {0}")]
    Stop(#[source] Errno),
    /// READ failed. What it had found is in the bitmaps, or among the extents. The rest is still
    /// dirty, and the next READ delivers it; the same request continues where this one failed.
    ///
    /// With `EIO`, `ESHUTDOWN` and `EXDEV` a tracker cannot report what was written: treat all
    /// its ranges as dirty, or give it another policy and continue.
    #[error("cannot read what is dirty: {errno}")]
    Read {
        /// Why.
        #[source]
        errno: Errno,
        /// What the round had found until then, and which tracker failed.
        report: ReadReport,
    },
    /// CLEAR failed. Some of the pages may still be dirty; no page that was not asked for is clean.
    #[error("cannot clear what is dirty: {0}")]
    Clear(#[source] Errno),
    /// HARVEST failed, but not in a tracker: do not unmap. What was harvested before is kept,
    /// the rest is where it was.
    #[error("cannot harvest what is dirty: {0}")]
    Harvest(#[source] Errno),
    /// SET_POLICY failed.
    #[error("cannot set a policy: {0}")]
    SetPolicy(#[source] Errno),
    /// STATS failed.
    #[error("cannot get statistics: {0}")]
    Stats(#[source] Errno),
    /// poll() failed.
    #[error("cannot poll a context: {0}")]
    Poll(#[source] Errno),
    /// The range is empty, or wraps. No call was made.
    #[error("not a range: {length:#x} bytes from {iova:#x}")]
    Range {
        /// The first byte.
        iova: u64,
        /// In bytes.
        length: u64,
    },
    /// It is not a power of two, or less than 4 KiB. No call was made.
    #[error("not a page size: {bytes:#x} bytes")]
    PageSize {
        /// What was asked for.
        bytes: u64,
    },
    /// No call was made, and nothing is lost.
    #[error("a bitmap is too short: {range:x?} takes {needed} bits")]
    BitmapTooShort {
        /// What it is for.
        range: Range,
        /// Bits, from the bitmap's first one on.
        needed: u64,
    },
    /// There is not a bitmap for each range. No call was made, and nothing is lost.
    #[error("{ranges} ranges and {bitmaps} bitmaps")]
    BitmapsMissing {
        /// How many were needed.
        ranges: usize,
        /// How many were given.
        bitmaps: usize,
    },
}

impl Error {
    /// The kernel's errno; `None` if no call was made.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Open(e)
            | Self::Info(e)
            | Self::Another(e)
            | Self::BindHwpt(e)
            | Self::BindDevice(e)
            | Self::ProbeDevice(e)
            | Self::BindUntracked(e)
            | Self::Unbind(e)
            | Self::Trackers(e)
            | Self::TrackerInfo(e)
            | Self::AddRanges(e)
            | Self::RemoveRanges(e)
            | Self::Ranges(e)
            | Self::Stop(e)
            | Self::Clear(e)
            | Self::Harvest(e)
            | Self::SetPolicy(e)
            | Self::Stats(e)
            | Self::Poll(e) => Some(*e),
            Self::Start { errno, .. } | Self::Read { errno, .. } => Some(*errno),
            Self::Range { .. }
            | Self::PageSize { .. }
            | Self::BitmapTooShort { .. }
            | Self::BitmapsMissing { .. } => None,
        }
    }

    /// Did an [`Interrupter`](crate::Interrupter) end it?
    pub fn is_interrupted(&self) -> bool {
        self.errno().is_some_and(|e| e.raw() == libc::EINTR)
    }
}

/// The result of all calls here.
pub type Result<T> = std::result::Result<T, Error>;
