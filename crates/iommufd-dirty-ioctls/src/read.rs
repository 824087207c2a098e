// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! READ: the calls of a round, and bitmaps as its result.

use crate::session::Running;
use crate::sys::Elements;
use crate::tracker::{id_in, Tracker};
use crate::{sys, Errno, Error, PageSize, Range, Result};
use iommufd_dirty_bindings::*;
use std::fmt;
use std::sync::atomic::AtomicU64;

/// What a READ or HARVEST reports in addition.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Status(u32);

impl Status {
    const NAMES: [(u32, &'static str); 4] = [
        (IOMMUFD_DIRTY_STATUS_HOLE, "hole"),
        (IOMMUFD_DIRTY_STATUS_IGNORED, "ignored"),
        (IOMMUFD_DIRTY_STATUS_ALL_DIRTY, "all dirty"),
        (IOMMUFD_DIRTY_STATUS_OVERREPORTED, "overreported"),
    ];

    pub(crate) fn from_raw(status: u32) -> Self {
        Self(status & !IOMMUFD_DIRTY_STATUS_MORE)
    }

    pub(crate) fn add(&mut self, status: u32) {
        self.0 |= Self::from_raw(status).0;
    }

    fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    /// A part of the request is not mapped or not tracked: it reads clean.
    pub fn has_hole(self) -> bool {
        self.has(IOMMUFD_DIRTY_STATUS_HOLE)
    }

    /// A tracker that cannot track was skipped: what its device wrote is not in the result.
    pub fn is_ignored(self) -> bool {
        self.has(IOMMUFD_DIRTY_STATUS_IGNORED)
    }

    /// A tracker that cannot track was reported dirty in all its ranges.
    pub fn is_all_dirty(self) -> bool {
        self.has(IOMMUFD_DIRTY_STATUS_ALL_DIRTY)
    }

    /// More may have been reported than was written.
    pub fn is_overreported(self) -> bool {
        self.has(IOMMUFD_DIRTY_STATUS_OVERREPORTED)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = Self::NAMES.iter().filter(|(bit, _)| self.has(*bit));
        f.debug_set().entries(set.map(|(_, name)| name)).finish()
    }
}

/// What a round found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadReport {
    /// Pages: the bits that were set and were not set before, or the pages in the extents.
    pub dirty: u64,
    /// Of all trackers.
    pub status: Status,
    /// Each tracker, in the order in which they were bound.
    pub trackers: Vec<TrackerRead>,
}

/// What a round found in one tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrackerRead {
    /// Its id.
    pub id: u32,
    /// As given when it was bound.
    pub cookie: u64,
    /// The error because of which its policy stands in for it.
    pub error: Option<Errno>,
    /// Its own.
    pub status: Status,
    /// Bytes that it reported dirty, before the trackers were merged.
    pub bytes: u64,
}

impl ReadReport {
    /// What one more call of the round has found.
    fn add(&mut self, cmd: &iommufd_dirty_read, results: &[iommufd_dirty_read_result]) {
        self.dirty = self.dirty.saturating_add(cmd.out_dirty);
        self.status.add(cmd.out_status);
        // A call that could not begin leaves them as they were: all 0.
        for result in results.iter().filter(|r| r.tracker_id != 0) {
            let error = Errno::of_result(result.error);
            match self.trackers.iter_mut().find(|t| t.id == result.tracker_id) {
                Some(tracker) => {
                    tracker.error = error.or(tracker.error);
                    tracker.status.add(result.status);
                    tracker.bytes = tracker.bytes.saturating_add(result.bytes);
                }
                None => self.trackers.push(TrackerRead {
                    id: result.tracker_id,
                    cookie: result.cookie,
                    error,
                    status: Status::from_raw(result.status),
                    bytes: result.bytes,
                }),
            }
        }
    }
}

/// A round of READ, which may take several calls.
#[derive(Debug)]
pub(crate) struct Round {
    /// With the cursor.
    cmd: iommufd_dirty_read,
    pub(crate) flags: u32,
    pub(crate) only: Option<Tracker>,
    /// The flags of the calls so far, if the round has begun and is not complete.
    underway: Option<u32>,
    pub(crate) report: ReadReport,
}

/// What remains to be done after a call.
pub(crate) enum After {
    Complete,
    More,
    Failed(Error),
}

impl Round {
    pub(crate) fn new(flags: u32) -> Self {
        Self {
            cmd: iommufd_dirty_read::default(),
            flags,
            only: None,
            underway: None,
            report: ReadReport::default(),
        }
    }

    /// The next call begins a round.
    pub(crate) fn restart(&mut self) {
        self.underway = None;
    }

    /// The next call. Returns how many extents it wrote. `flags` is FINAL or 0: a round is FINAL
    /// only if all its calls are, so another one begins where this changes.
    pub(crate) fn call(
        &mut self,
        running: &Running,
        elements: &Elements<'_>,
        extents: &mut [Range],
        flags: u32,
    ) -> (usize, After) {
        let flags = self.flags | flags;
        if self.underway != Some(flags) {
            self.cmd = iommufd_dirty_read::default();
            self.report = ReadReport::default();
            self.underway = Some(flags);
        }
        self.cmd.flags = flags;
        self.cmd.tracker_id = match id_in(&running.shared, self.only.as_ref()) {
            Ok(id) => id,
            Err(errno) => return (0, self.failed(errno)),
        };
        let mut results = vec![iommufd_dirty_read_result::default(); running.room];
        let fd = running.shared.fd();
        let result = sys::read(fd, &mut self.cmd, elements, extents, &mut results);
        self.report.add(&self.cmd, &results);
        let after = match result {
            Err(errno) if running.shared.gives_up(errno) => self.failed(errno),
            // Continues where the signal came.
            Err(_) => After::More,
            Ok(()) if self.cmd.out_status & IOMMUFD_DIRTY_STATUS_MORE != 0 => After::More,
            Ok(()) => {
                self.underway = None;
                After::Complete
            }
        };
        (self.cmd.out_nr_extents as usize, after)
    }

    fn failed(&self, errno: Errno) -> After {
        After::Failed(Error::Read {
            errno,
            report: self.report.clone(),
        })
    }
}

/// A request to READ: ranges, each with a bitmap.
///
/// The bitmaps are words that the kernel ORs bits into, while others may do so as well: bit `n` is
/// bit `n % 64` of word `n / 64`. They must stay for as long as the request is used:
///
/// ```
/// # use iommufd_dirty_ioctls::{Bitmaps, PageSize, Range};
/// # use std::sync::atomic::AtomicU64;
/// let bitmap = [const { AtomicU64::new(0) }; 4];
/// let range = Range::new(0x1_0000_0000, 256 * 4096)?;
/// let request = Bitmaps::new(PageSize::KIB_4).with(range, &bitmap)?;
/// drop(request);
/// drop(bitmap);
/// # Ok::<(), iommufd_dirty_ioctls::Error>(())
/// ```
///
/// ```compile_fail,E0505
/// # use iommufd_dirty_ioctls::{Bitmaps, PageSize, Range};
/// # use std::sync::atomic::AtomicU64;
/// let bitmap = [const { AtomicU64::new(0) }; 4];
/// let range = Range::new(0x1_0000_0000, 256 * 4096)?;
/// let request = Bitmaps::new(PageSize::KIB_4).with(range, &bitmap)?;
/// drop(bitmap);
/// drop(request);
/// # Ok::<(), iommufd_dirty_ioctls::Error>(())
/// ```
///
/// The memory of a bitmap must stay in place: if a file is truncated while a call lasts, the bits
/// are lost with the pages.
#[derive(Debug)]
pub struct Bitmaps<'a> {
    round: Round,
    elements: Elements<'a>,
}

impl<'a> Bitmaps<'a> {
    /// No range yet; each bit stands for `page_size`.
    pub fn new(page_size: PageSize) -> Self {
        Self {
            round: Round::new(0),
            elements: Elements::new(page_size.bytes()),
        }
    }

    pub(crate) fn count(ranges: &[Range], page_size: PageSize) -> Self {
        let mut count = Self {
            round: Round::new(IOMMUFD_DIRTY_READ_COUNT_ONLY),
            elements: Elements::new(page_size.bytes()),
        };
        for range in ranges {
            count.elements.push_bare(*range);
        }
        count
    }

    /// Adds a range, whose first page is bit 0 of `bitmap`.
    pub fn with(self, range: Range, bitmap: &'a [AtomicU64]) -> Result<Self> {
        self.with_offset(range, bitmap, 0)
    }

    /// Adds a range, whose first page is bit `bit_offset` of `bitmap`. This translates a range that
    /// a virtual IOMMU has mapped: the bitmap is that of the guest's memory, and the offset is the
    /// page there. Ranges may share a bitmap.
    ///
    /// Ascending ranges need the fewest calls of a device. [`Error::BitmapTooShort`].
    pub fn with_offset(
        mut self,
        range: Range,
        bitmap: &'a [AtomicU64],
        bit_offset: u64,
    ) -> Result<Self> {
        self.elements
            .push(range, bitmap, bit_offset)
            .map_err(|needed| Error::BitmapTooShort { range, needed })?;
        Ok(self)
    }

    /// Reads this tracker alone.
    pub fn only(mut self, tracker: &Tracker) -> Self {
        self.round.only = Some(tracker.clone());
        self.round.restart();
        self
    }

    /// What is reported stays dirty, until [`Session::clear()`](crate::Session::clear).
    pub fn keep_dirty(mut self) -> Self {
        self.round.flags |= IOMMUFD_DIRTY_READ_NO_CLEAR;
        self
    }

    /// A part that is not tracked or not mapped is an error, `ENXIO`, rather than a status.
    pub fn strict(mut self) -> Self {
        self.round.flags |= IOMMUFD_DIRTY_READ_STRICT;
        self
    }

    /// After an error: the next READ begins a new round instead of continuing this one.
    /// Nothing is lost by that, and what was delivered is not delivered again.
    pub fn restart(&mut self) {
        self.round.restart();
    }

    pub(crate) fn elements(&self) -> &Elements<'a> {
        &self.elements
    }

    pub(crate) fn only_tracker(&self) -> Option<&Tracker> {
        self.round.only.as_ref()
    }

    pub(crate) fn read(&mut self, running: &Running, flags: u32) -> Result<ReadReport> {
        loop {
            let (_, after) = self.round.call(running, &self.elements, &mut [], flags);
            match after {
                After::Complete => return Ok(std::mem::take(&mut self.round.report)),
                After::More => (),
                After::Failed(error) => return Err(error),
            }
        }
    }
}
