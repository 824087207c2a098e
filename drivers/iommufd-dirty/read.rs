// SPDX-License-Identifier: GPL-2.0

//! READ into bitmaps, and what all kinds of READ have in common.

use crate::{
    abi::{
        bindings::*,
        pinned_pages::PinnedPages,
        uapi::{
            self,
            Array,
            Bitmap,
            ReadResult, //
        }, //
    },
    logic::{
        batch::Batch,
        granule::valid_page_size,
        range::Range,
        window::{
            BadRequest,
            Request, //
        }, //
    },
    outcome::Outcome,
    policy::Policy,
    scan::{
        interrupted,
        Resume,
        Scanned,
        Which, //
    },
    sink::Target,
    state::State, //
};
use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// Elements of the array of a READ, a CLEAR or a HARVEST.
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
    has_bitmap: bool,
}

impl Element {
    pub(crate) fn read(array: &Array<Bitmap>, at: u32, page_size: u64) -> Result<Self> {
        let raw = array.get(at)?;
        let range = Range::new(raw.iova, raw.length)?;
        Ok(Self {
            range,
            request: Request::new(range, page_size, raw.bitmap_uptr, raw.bit_offset)?,
            has_bitmap: raw.bitmap_uptr != 0,
        })
    }
}

/// Where an ioctl that goes through an array of ranges is.
#[derive(Clone, Copy)]
pub(crate) struct Cursor {
    pub(crate) element: u32,
    /// Bytes of it that are done.
    pub(crate) offset: u64,
    pub(crate) tracker: u32,
}

/// An ioctl with a cursor.
pub(crate) trait HasCursor {
    fn cursor(&self) -> Cursor;
    fn set_cursor(&mut self, cursor: Cursor);
    fn nr_ranges(&self) -> u32;

    /// All but the cursor's place in its element. `EINVAL`.
    fn check_cursor(&self) -> Result {
        let at = self.cursor();
        let beyond = at.element >= self.nr_ranges() && !self.begins();
        if self.nr_ranges() > MAX_READ_RANGES || beyond {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Is it at the beginning of a round?
    fn begins(&self) -> bool {
        let at = self.cursor();
        at.element == 0 && at.offset == 0 && at.tracker == 0
    }

    /// What is left of an element when the call begins there: `range` is that of number `at`.
    fn left_of(&self, at: u32, range: Range) -> Result<Range> {
        let cursor = self.cursor();
        if at != cursor.element {
            return Ok(range);
        }
        skip(range, cursor.offset).ok_or(EINVAL)
    }

    /// `address` of the element `at`, whose range is `range`, is the next to be done.
    fn go_on(&mut self, at: u32, range: Range, address: u64, tracker: u32) {
        self.set_cursor(Cursor {
            element: at,
            offset: address.saturating_sub(range.first()),
            tracker,
        });
    }

    /// All up to `last` of the element `at`, whose range is `range`, is done.
    fn done(&mut self, at: u32, range: Range, last: u64) {
        let next = match range.last() > last {
            true => Some((at, last.saturating_sub(range.first()).saturating_add(1))),
            false => at.checked_add(1).map(|next| (next, 0)),
        };
        let (element, offset) = next.unwrap_or((at, 0));
        self.set_cursor(Cursor {
            element,
            offset,
            tracker: 0,
        });
    }

    /// Is the round complete?
    fn is_done(&self) -> bool {
        self.cursor().element >= self.nr_ranges()
    }

    /// The round is complete: the structure is ready for the next one.
    fn rewind(&mut self) {
        self.set_cursor(Cursor {
            element: 0,
            offset: 0,
            tracker: 0,
        });
    }
}

macro_rules! has_cursor {
    ($($t:ty),*) => {$(
        impl HasCursor for $t {
            fn cursor(&self) -> Cursor {
                Cursor {
                    element: self.next_range,
                    offset: self.next_offset,
                    tracker: self.next_tracker,
                }
            }

            fn set_cursor(&mut self, cursor: Cursor) {
                self.next_range = cursor.element;
                self.next_offset = cursor.offset;
                self.next_tracker = cursor.tracker;
            }

            fn nr_ranges(&self) -> u32 {
                self.nr_ranges
            }
        }
    )*};
}

has_cursor!(uapi::Read, uapi::Clear, uapi::Harvest);

/// The bytes of `range` that are left when `offset` of them are done; `None` if there are none.
fn skip(range: Range, offset: u64) -> Option<Range> {
    Range::inclusive(range.first().checked_add(offset)?, range.last())
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

    /// `IOMMUFD_DIRTY_OP_*`
    pub(crate) fn op_flags(&self) -> u32 {
        let mut flags = 0;
        if self.has(IOMMUFD_DIRTY_READ_FINAL) {
            flags |= IOMMUFD_DIRTY_OP_FINAL;
        }
        if self.is_strict() {
            flags |= IOMMUFD_DIRTY_OP_STRICT;
        }
        flags
    }

    pub(crate) fn ranges(&self) -> Result<Array<Bitmap>> {
        Array::new(self.ranges_uptr, self.nr_ranges, self.range_len)
    }

    /// Adds what was found. An error, and with STRICT a hole, ends the READ.
    pub(crate) fn add(&mut self, scanned: &Scanned) -> Result {
        self.out_status |= scanned.status;
        self.out_dirty = self.out_dirty.saturating_add(scanned.fresh);
        scanned.error.map_or(Ok(()), Err)?;
        if self.is_strict() && scanned.status & IOMMUFD_DIRTY_STATUS_HOLE != 0 {
            return Err(ENXIO);
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
        let extents = self.extents_uptr != 0 || self.nr_extents != 0 || self.extent_len != 0;
        if self.wants_extents() != extents
            || (self.wants_extents() && (self.nr_extents == 0 || self.only_counts()))
            || !valid_page_size(self.page_size)
        {
            return Err(EINVAL);
        }
        self.check_cursor()?;
        if state.session.is_none() {
            return Err(ENODATA);
        }
        state.check_only(self.tracker_id)?;
        let array = self.ranges()?;
        let mut holes = false;
        for at in self.next_range..self.nr_ranges {
            if crate::abi::killed() {
                return Err(EINTR);
            }
            let element = Element::read(&array, at, self.page_size)?;
            if (self.wants_extents() || self.only_counts()) && element.has_bitmap {
                return Err(EINVAL);
            }
            let left = self.left_of(at, element.range)?;
            holes |= !state.tracked.covers(&left);
        }
        if self.is_strict() && holes {
            return Err(ENXIO);
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
        self.written = None;
        cmd.check(self)?;
        self.results.fill(Outcome::default());
        let results = Array::new(cmd.results_uptr, cmd.nr_results, cmd.result_len)?;
        // First, so that a bad address fails before anything is cleared.
        self.write_results(&results)?;
        cmd.out_nr_results = u32::try_from(self.members.len())?;
        let begin = Instant::<Monotonic>::now();
        let before = self.recorded();
        let result = if cmd.wants_extents() || cmd.only_counts() {
            self.read_extents(cmd)
        } else {
            let (mut pages, mut batch) = match self.pages.take() {
                Some(kept) => kept,
                None => (PinnedPages::new()?, Batch::new()),
            };
            let result = self.read_bitmaps(cmd, &mut pages, &mut batch);
            pages.unpin();
            self.pages = Some((pages, batch));
            result
        };
        if cmd.is_done() && result.is_ok() {
            cmd.rewind();
        }
        let ns = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(0);
        let extents = self.recorded().saturating_sub(before);
        self.stats.count(ns, extents, result);
        result.and(self.write_results(&results))
    }

    /// What this call did with each tracker.
    fn write_results(&self, results: &Array<ReadResult>) -> Result {
        let members = self.members.iter().zip(self.results.iter());
        results.write_all(members.map(|(m, result)| ReadResult {
            tracker_id: m.id(),
            error: result.error.map_or(0, |e| e.to_errno()),
            status: result.status,
            __reserved: 0,
            bytes: result.bytes,
            cookie: m.who.cookie,
        }))
    }

    /// Extents that the members recorded so far.
    pub(crate) fn recorded(&self) -> u64 {
        self.members
            .iter()
            .fold(0, |sum, m| sum.saturating_add(m.stats.extents))
    }

    fn read_bitmaps(
        &mut self,
        cmd: &mut uapi::Read,
        pages: &mut PinnedPages,
        batch: &mut Batch,
    ) -> Result {
        let array = cmd.ranges()?;
        let which = Which::merged(cmd.tracker_id);
        while !cmd.is_done() {
            let begins = cmd.begins();
            if begins {
                // Trouble that is known when a round begins is known to all of it.
                self.must_begin_again(which);
            }
            // First, so that a bad address fails before anything is cleared.
            let resume = self.collect(cmd, &array, pages, batch)?;
            let target = Target::Bitmap(pages, batch);
            let mut scanned = self.scan(target, which, resume, cmd.keeps(), cmd.op_flags());
            let range_of = |at: usize| {
                let slot = batch.slots().get(at).ok_or(EINVAL)?;
                let element = Element::read(&array, slot.element, cmd.page_size)?;
                Ok::<_, Error>((slot.element, element.range, slot.window.range.last()))
            };
            if batch
                .slots()
                .iter()
                .any(|slot| !self.tracked.covers(&slot.window.range))
            {
                scanned.status |= IOMMUFD_DIRTY_STATUS_HOLE;
            }
            let next = match scanned.interrupted {
                Some(place) => Err((range_of(place.part)?, place)),
                None => Ok(range_of(batch.slots().len().saturating_sub(1))?),
            };
            cmd.add(&scanned)?;
            if self.must_begin_again(which) && !begins {
                cmd.rewind();
                if interrupted() {
                    return Err(EINTR);
                }
                continue;
            }
            match next {
                Err(((element, range, _), place)) => {
                    cmd.go_on(element, range, place.address, place.tracker);
                    return Err(EINTR);
                }
                Ok((element, range, last)) => cmd.done(element, range, last),
            }
            if !cmd.is_done() && interrupted() {
                return Err(EINTR);
            }
        }
        Ok(())
    }

    /// Is there a tracker that was lost, all of whose ranges are to be reported dirty from now on?
    /// Then what this round reported before it was known is not enough. Once for each tracker and
    /// session.
    pub(crate) fn must_begin_again(&mut self, which: Which) -> bool {
        let mut again = false;
        for m in self.members.iter_mut().filter(|m| which.has(m)) {
            if m.policy == Policy::AllDirty && m.trouble().is_some() {
                again |= !core::mem::replace(&mut m.stands_in, true);
            }
        }
        again
    }

    /// Pins the bitmaps of what is to be read next: of one window, and if there is a tracker that
    /// waits for hardware, of those near it.
    fn collect(
        &self,
        cmd: &uapi::Read,
        array: &Array<Bitmap>,
        pages: &mut PinnedPages,
        batch: &mut Batch,
    ) -> Result<Resume> {
        let which = Which::merged(cmd.tracker_id);
        let joins = self.members.iter().any(|m| which.has(m) && m.waits());
        let cursor = cmd.cursor();
        let mut resume = Resume::default();
        pages.unpin();
        batch.clear();
        for at in cursor.element..cmd.nr_ranges {
            let element = Element::read(array, at, cmd.page_size)?;
            let left = cmd.left_of(at, element.range)?;
            let begin = left.first().saturating_sub(element.range.first());
            let Some(window) = element.request.windows(begin, pages.room().max(1)).next() else {
                return Err(EINVAL);
            };
            if batch.slots().is_empty() {
                resume = Resume::at(left.first(), cursor.tracker);
            } else if !joins || !batch.takes(&window, &self.tracked, crate::scatter_max()) {
                break;
            }
            let first = match pages.pin(&window) {
                Ok(first) => first,
                // What is wrong with it is said when it is its turn.
                Err(_) if !batch.slots().is_empty() => break,
                Err(e) => return Err(e),
            };
            if !batch.push(window, at, first, &self.tracked) {
                break;
            }
            if window.range.last() != element.range.last() {
                break;
            }
        }
        if batch.slots().is_empty() {
            return Err(ENOMEM);
        }
        Ok(resume)
    }
}
