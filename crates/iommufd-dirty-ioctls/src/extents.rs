// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! READ with extents as its result.

use crate::read::{After, ReadReport, Round};
use crate::session::Running;
use crate::sys::Elements;
use crate::tracker::Tracker;
use crate::{Error, PageSize, Range, Result};
use iommufd_dirty_bindings::*;

/// A request to READ extents: ranges, and room for extents.
///
/// It keeps what the kernel has delivered and the iterator has not returned yet. An iterator
/// that is dropped early loses nothing: the next one begins with the rest. But keep the request:
/// the extents in it are lost with it.
#[derive(Debug)]
pub struct Extents {
    round: Round,
    elements: Elements<'static>,
    #[cfg(feature = "vm-memory")]
    ranges: Vec<Range>,
    buffer: Vec<Range>,
    /// How much of `buffer` the kernel has written, and how much of that was returned.
    written: usize,
    taken: usize,
    /// The flags of a round that is complete except for what is in `buffer`.
    complete: Option<u32>,
}

impl Extents {
    /// Extents of `ranges` in whole pages, counted from the range's beginning. A call takes up to
    /// `room` extents.
    pub fn new(ranges: &[Range], page_size: PageSize, room: usize) -> Self {
        let mut elements = Elements::new(page_size.bytes());
        for range in ranges {
            elements.push_bare(*range);
        }
        Self {
            round: Round::new(IOMMUFD_DIRTY_READ_EXTENTS),
            elements,
            #[cfg(feature = "vm-memory")]
            ranges: ranges.to_vec(),
            buffer: vec![Range::default(); room.max(1)],
            written: 0,
            taken: 0,
            complete: None,
        }
    }

    /// Reads this tracker alone.
    pub fn only(mut self, tracker: &Tracker) -> Self {
        self.round.only = Some(tracker.clone());
        self.round.restart();
        self
    }

    /// A part that is not tracked or not mapped is an error, `ENXIO`, rather than a status.
    pub fn strict(mut self) -> Self {
        self.round.flags |= IOMMUFD_DIRTY_READ_STRICT;
        self
    }

    /// Like [`Bitmaps::restart()`](crate::Bitmaps::restart). What is in the request stays there.
    pub fn restart(&mut self) {
        self.round.restart();
    }

    /// What this round has found so far, or what the last one found.
    pub fn report(&self) -> &ReadReport {
        &self.round.report
    }

    #[cfg(feature = "vm-memory")]
    pub(crate) fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    #[cfg(feature = "vm-memory")]
    pub(crate) fn page_size(&self) -> u64 {
        self.elements.page_size()
    }

    fn take(&mut self) -> Option<Range> {
        let extent = *self.buffer.get(self.taken..self.written)?.first()?;
        self.taken += 1;
        Some(extent)
    }
}

/// The extents of one round, which ascend in each of its ranges. Ends after an error; then another
/// iterator over the same request continues.
///
/// A round that was interrupted by a signal and continues may repeat a page larger than 4 KiB.
#[derive(Debug)]
pub struct ExtentsIter<'s, 'r> {
    running: &'s Running,
    request: &'r mut Extents,
    flags: u32,
    failed: Option<Error>,
    ended: bool,
}

impl<'s, 'r> ExtentsIter<'s, 'r> {
    pub(crate) fn new(running: &'s Running, request: &'r mut Extents, flags: u32) -> Self {
        Self {
            running,
            request,
            flags,
            failed: None,
            ended: false,
        }
    }
}

impl Iterator for ExtentsIter<'_, '_> {
    type Item = Result<Range>;

    fn next(&mut self) -> Option<Self::Item> {
        let request = &mut *self.request;
        loop {
            if let Some(extent) = request.take() {
                return Some(Ok(extent));
            }
            if let Some(error) = self.failed.take() {
                self.ended = true;
                return Some(Err(error));
            }
            // What was left of a round without FINAL does not make one with FINAL complete.
            if self.ended || request.complete.take() == Some(self.flags) {
                self.ended = true;
                return None;
            }
            let (written, after) = request.round.call(
                self.running,
                &request.elements,
                &mut request.buffer,
                self.flags,
            );
            request.written = written;
            request.taken = 0;
            match after {
                After::Complete => request.complete = Some(self.flags),
                After::More => (),
                After::Failed(error) => self.failed = Some(error),
            }
        }
    }
}

impl std::iter::FusedIterator for ExtentsIter<'_, '_> {}
