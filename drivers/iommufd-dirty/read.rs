// SPDX-License-Identifier: GPL-2.0

//! READ into bitmaps, and what all kinds of READ have in common.

use crate::{
    abi::{
        bindings::*,
        pages::{
            Pages,
            MAX_PAGES, //
        },
        uapi::{
            self,
            get,
            Bitmap, //
        }, //
    },
    logic::{
        granule::valid_page_size,
        range::Range,
        window::{
            BadRequest,
            Request, //
        }, //
    },
    sink::Target,
    state::{
        Found,
        How,
        State, //
    }, //
};
use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// Elements of a READ's or a CLEAR's array.
pub(crate) const MAX_READ_RANGES: u32 = 65536;

impl From<BadRequest> for Error {
    fn from(bad: BadRequest) -> Self {
        match bad {
            BadRequest::PageSize => EINVAL,
            BadRequest::Overflow => EOVERFLOW,
        }
    }
}

/// An element of a READ's or a CLEAR's array.
pub(crate) struct Element {
    pub(crate) range: Range,
    pub(crate) request: Request,
    bitmap_uptr: u64,
}

/// Element `at` of the array at `base`.
pub(crate) fn read_element(base: u64, at: u32, page_size: u64) -> Result<Element> {
    let raw: Bitmap = get(base, at)?;
    let range = Range::new(raw.iova, raw.length)?;
    Ok(Element {
        range,
        request: Request::new(range, page_size, raw.bitmap_uptr, raw.bit_offset)?,
        bitmap_uptr: raw.bitmap_uptr,
    })
}

/// `offset` bytes of `range` are done: what is left.
pub(crate) fn skip(range: Range, offset: u64) -> Option<Range> {
    Range::inclusive(range.first().checked_add(offset)?, range.last())
}

/// Bytes of `range` that are done when all up to `last` is.
pub(crate) fn done(range: Range, last: u64) -> u64 {
    last.saturating_sub(range.first()).saturating_add(1)
}

pub(crate) fn interrupted() -> bool {
    kernel::current!().signal_pending()
}

impl uapi::Read {
    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn wants_extents(&self) -> bool {
        self.has(IOMMUFD_DIRTY_READ_EXTENTS)
    }

    pub(crate) fn only_counts(&self) -> bool {
        self.has(IOMMUFD_DIRTY_READ_COUNT_ONLY)
    }

    /// What is found stays dirty.
    pub(crate) fn keeps(&self) -> bool {
        self.only_counts() || self.has(IOMMUFD_DIRTY_READ_NO_CLEAR)
    }

    fn is_strict(&self) -> bool {
        self.has(IOMMUFD_DIRTY_READ_STRICT)
    }

    pub(crate) fn how<'a>(&self, into: Target<'a>) -> How<'a> {
        let mut flags = 0;
        if self.has(IOMMUFD_DIRTY_READ_FINAL) {
            flags |= IOMMUFD_DIRTY_OP_FINAL;
        }
        if self.is_strict() {
            flags |= IOMMUFD_DIRTY_OP_STRICT;
        }
        How {
            into,
            keep: self.keeps(),
            flags,
            only: self.tracker_id,
        }
    }

    /// An element is done. `EINTR` if there are more, and a signal.
    pub(crate) fn next_element(&mut self) -> Result {
        self.next_range = self.next_range.saturating_add(1);
        self.next_offset = 0;
        if self.next_range < self.nr_ranges && interrupted() {
            return Err(EINTR);
        }
        Ok(())
    }

    /// Adds what was found. An error, and with STRICT a hole, ends the READ.
    pub(crate) fn add(&mut self, found: &Found) -> Result {
        self.out_status |= found.status;
        self.out_dirty = self.out_dirty.saturating_add(found.fresh);
        found.error.map_or(Ok(()), Err)?;
        if self.is_strict() && found.status & IOMMUFD_DIRTY_STATUS_HOLE != 0 {
            return Err(ENOENT);
        }
        Ok(())
    }

    /// What can be told to be wrong before anything is read.
    fn check(&self, state: &State) -> Result {
        use IOMMUFD_DIRTY_READ_FINAL as FINAL;
        use IOMMUFD_DIRTY_READ_NO_CLEAR as NO_CLEAR;
        let known = NO_CLEAR
            | FINAL
            | IOMMUFD_DIRTY_READ_COUNT_ONLY
            | IOMMUFD_DIRTY_READ_EXTENTS
            | IOMMUFD_DIRTY_READ_STRICT;
        if self.flags & !known != 0 {
            return Err(EOPNOTSUPP);
        }
        let extents = self.extents_uptr != 0 || self.nr_extents != 0;
        if self.wants_extents() != extents
            || (self.wants_extents() && (self.nr_extents == 0 || self.only_counts()))
            || !valid_page_size(self.page_size)
            || self.nr_ranges > MAX_READ_RANGES
            || self.next_range > self.nr_ranges
            || self.next_offset & self.page_size.wrapping_sub(1) != 0
            || (self.next_range == self.nr_ranges && self.next_offset != 0)
        {
            return Err(EINVAL);
        }
        if !state.started {
            return Err(ENODATA);
        }
        state.check_only(self.tracker_id)?;
        for at in self.next_range..self.nr_ranges {
            let element = read_element(self.ranges_uptr, at, self.page_size)?;
            if (self.wants_extents() || self.only_counts()) && element.bitmap_uptr != 0 {
                return Err(EINVAL);
            }
            if at == self.next_range && self.next_offset >= element.range.length() {
                return Err(EINVAL);
            }
            if self.is_strict() && !state.tracked.covers(&element.range) {
                return Err(ENOENT);
            }
        }
        Ok(())
    }
}

impl State {
    /// `ioctl(IOMMUFD_DIRTY_READ)`
    pub(crate) fn read(&mut self, cmd: &mut uapi::Read) -> Result {
        cmd.out_status = 0;
        cmd.out_dirty = 0;
        cmd.out_nr_extents = 0;
        cmd.check(self)?;
        let begin = Instant::<Monotonic>::now();
        let before = self.recorded();
        let result = if cmd.wants_extents() || cmd.only_counts() {
            self.read_extents(cmd)
        } else {
            let mut pages = match self.pages.take() {
                Some(pages) => pages,
                None => Pages::new()?,
            };
            let result = self.read_bitmaps(cmd, &mut pages);
            pages.unpin();
            self.pages = Some(pages);
            result
        };
        let ns = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(0);
        let extents = self.recorded().saturating_sub(before);
        self.stats.count(ns, extents, result);
        result
    }

    /// Extents that the members recorded so far.
    fn recorded(&self) -> u64 {
        self.members
            .iter()
            .fold(0, |sum, m| sum.saturating_add(m.stats.extents))
    }

    fn read_bitmaps(&mut self, cmd: &mut uapi::Read, pages: &mut Pages) -> Result {
        while cmd.next_range < cmd.nr_ranges {
            let Element { range, request, .. } =
                read_element(cmd.ranges_uptr, cmd.next_range, cmd.page_size)?;
            for window in request.windows(cmd.next_offset, MAX_PAGES) {
                // First, so that a bad address fails before anything is cleared.
                pages.pin(&window)?;
                let mut found = Found::default();
                let how = cmd.how(Target::Bitmap(pages, &window));
                self.for_parts(window.range, |state, part| {
                    state.pass(part, how, &mut found)
                });
                if !self.tracked.covers(&window.range) {
                    found.status |= IOMMUFD_DIRTY_STATUS_HOLE;
                }
                cmd.add(&found)?;
                cmd.next_offset = done(range, window.range.last());
                if window.range.last() != range.last() && interrupted() {
                    return Err(EINTR);
                }
            }
            cmd.next_element()?;
        }
        Ok(())
    }
}
