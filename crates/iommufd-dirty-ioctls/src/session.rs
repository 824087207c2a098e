// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What can be done while the trackers track.

use crate::context::{Shared, StartReport};
use crate::extents::{Extents, ExtentsIter};
use crate::read::{Bitmaps, ReadReport, Status};
use crate::tracker::{id_in, Tracker};
use crate::{sys, Errno, Error, PageSize, Range, Result};
use iommufd_dirty_bindings::*;
use std::sync::Arc;

/// The trackers of a context track.
///
/// Dropping it gives up: tracking stops, and what was not read is dropped. A migration that
/// succeeds ends with [`devices_stopped()`](Self::devices_stopped).
#[derive(Debug)]
pub struct Session {
    running: Running,
    report: StartReport,
}

/// A session whose devices are stopped: what is read now is the last, and STOP follows.
#[derive(Debug)]
pub struct LastRound {
    running: Running,
}

/// Stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) shared: Arc<Shared>,
    /// The maximum number of results of a READ.
    pub(crate) room: usize,
    stopped: bool,
}

/// What HARVEST found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Harvested {
    /// Of all ranges.
    pub status: Status,
    /// The first error of a tracker. Its ranges are recorded as dirty: unmap, and the next READ
    /// reports them.
    pub error: Option<Errno>,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, report: StartReport, room: usize) -> Self {
        Self {
            running: Running {
                shared,
                room,
                stopped: false,
            },
            report,
        }
    }

    /// What START did with each tracker, and the granule.
    pub fn start_report(&self) -> &StartReport {
        &self.report
    }

    /// A round: sets the bits of what was written since the last round. Bits that are set stay set.
    ///
    /// Continues after signals. If it fails, what was found is in the bitmaps, and the same request
    /// continues where it failed; see [`Bitmaps::restart()`].
    pub fn read(&self, request: &mut Bitmaps<'_>) -> Result<ReadReport> {
        request.read(&self.running, 0)
    }

    /// A round as an iterator: the extents that were written since the last round.
    pub fn extents<'s, 'r>(&'s self, request: &'r mut Extents) -> ExtentsIter<'s, 'r> {
        ExtentsIter::new(&self.running, request, 0)
    }

    /// Marks what was written since the last round in the bitmaps of vm-memory: `bitmaps` has one
    /// for each range of `request`, in this order, with the same first byte.
    ///
    /// Bits that are set stay set. If it fails, what was found is marked, and the same request
    /// continues.
    #[cfg(feature = "vm-memory")]
    pub fn mark(
        &self,
        request: &mut Extents,
        bitmaps: &[&vm_memory::bitmap::AtomicBitmap],
    ) -> Result<ReadReport> {
        crate::mark::mark(request, bitmaps, |request| self.extents(request))
    }

    /// How many pages are dirty in the ranges. Nothing is cleared. `only` asks one tracker.
    pub fn count(
        &self,
        ranges: &[Range],
        page_size: PageSize,
        only: Option<&Tracker>,
    ) -> Result<ReadReport> {
        let mut count = Bitmaps::count(ranges, page_size);
        if let Some(tracker) = only {
            count = count.only(tracker);
        }
        count.read(&self.running, 0)
    }

    /// Clears the pages whose bits are set, after a READ that kept them dirty
    /// ([`Bitmaps::keep_dirty()`]). Clear first, then copy the pages.
    pub fn clear(&self, bitmaps: &Bitmaps<'_>) -> Result<Status> {
        let shared = &self.running.shared;
        let mut cmd = iommufd_dirty_clear {
            tracker_id: id_in(shared, bitmaps.only_tracker()).map_err(Error::Clear)?,
            ..Default::default()
        };
        let mut status = Status::default();
        let result = shared.retry(|fd| {
            let result = sys::clear(fd, &mut cmd, bitmaps.elements());
            status.add(cmd.out_status);
            result
        });
        result.map_err(Error::Clear)?;
        Ok(status)
    }

    /// To be called before the ranges are unmapped: for trackers that would lose it, saves what is
    /// dirty in them for the next READ. The devices must no longer write to them.
    ///
    /// If this fails, do not unmap. Do not use it for an address that may be mapped to another page
    /// before the next READ, as with a virtual IOMMU: read it instead.
    pub fn harvest(&self, ranges: &[Range], only: Option<&Tracker>) -> Result<Harvested> {
        let shared = &self.running.shared;
        let mut cmd = iommufd_dirty_harvest {
            tracker_id: id_in(shared, only).map_err(Error::Harvest)?,
            ..Default::default()
        };
        let mut done = Harvested {
            status: Status::default(),
            error: None,
        };
        loop {
            let result = shared.retry(|fd| {
                let result = sys::harvest(fd, &mut cmd, ranges);
                done.status.add(cmd.out_status);
                result
            });
            match result {
                Ok(()) => return Ok(done),
                // The kernel has recorded the range as dirty, and continues behind it.
                Err(errno) if is_of_tracker(errno) => {
                    done.error.get_or_insert(errno);
                }
                Err(errno) => return Err(Error::Harvest(errno)),
            }
            if (cmd.next_range, cmd.next_offset, cmd.next_tracker) == (0, 0, 0) {
                return Ok(done);
            }
        }
    }

    /// The devices are stopped, and write no more. From now on reads have FINAL; the only way back
    /// to pre-copy is to start again.
    pub fn devices_stopped(self) -> LastRound {
        LastRound {
            running: self.running,
        }
    }

    /// Gives up: what was not read is dropped.
    pub fn stop(self) -> Result<()> {
        self.running.stop()
    }
}

/// An error of a tracker rather than of the call.
fn is_of_tracker(errno: Errno) -> bool {
    matches!(
        errno.raw(),
        libc::EIO | libc::ESHUTDOWN | libc::EXDEV | libc::ENOMEM
    )
}

impl LastRound {
    /// Like [`Session::read()`], for the last time. If it fails, it may be called again.
    pub fn read(&self, request: &mut Bitmaps<'_>) -> Result<ReadReport> {
        request.read(&self.running, IOMMUFD_DIRTY_READ_FINAL)
    }

    /// Like [`Session::extents()`], for the last time.
    pub fn extents<'s, 'r>(&'s self, request: &'r mut Extents) -> ExtentsIter<'s, 'r> {
        ExtentsIter::new(&self.running, request, IOMMUFD_DIRTY_READ_FINAL)
    }

    /// Like [`Session::mark()`], for the last time.
    #[cfg(feature = "vm-memory")]
    pub fn mark(
        &self,
        request: &mut Extents,
        bitmaps: &[&vm_memory::bitmap::AtomicBitmap],
    ) -> Result<ReadReport> {
        crate::mark::mark(request, bitmaps, |request| self.extents(request))
    }

    /// Ends the session.
    pub fn stop(self) -> Result<()> {
        self.running.stop()
    }
}

impl Running {
    fn stop(mut self) -> Result<()> {
        let result = self
            .shared
            .retry(|fd| sys::stop(fd, &mut iommufd_dirty_stop::default()));
        // After any other error all trackers are stopped.
        self.stopped = !matches!(result, Err(errno) if errno.raw() == libc::EINTR);
        result.map_err(Error::Stop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        while !self.stopped {
            let result = sys::stop(self.shared.fd(), &mut iommufd_dirty_stop::default());
            self.stopped = !matches!(result, Err(errno) if errno.raw() == libc::EINTR);
        }
    }
}
