// SPDX-License-Identifier: GPL-2.0

//! READ into an array of extents, and READ that only counts.
//!
//! There is no bitmap to OR into: the trackers are read into their residuals, a chunk of the
//! address space at a time, and what is delivered is the union of these. What did not fit into the
//! array stays in the residuals.

use crate::{
    abi::{
        bindings::*,
        uapi::{
            self,
            Array,
            DirtyRange, //
        }, //
    },
    logic::{
        extents::Extents,
        paged::{
            Grow,
            PageCounter, //
        },
        range::Range, //
    },
    read::{
        Element,
        HasCursor, //
    },
    scan::{
        interrupted,
        Resume,
        Which, //
    },
    sink::Target,
    state::State, //
};
use kernel::prelude::*;

/// The first chunk of a call is so long that a residual can hold it however scattered the dirty
/// pages are; while chunks turn out to have few of them the next ones are longer by this factor.
const GROWTH: u64 = 4;

/// Extents are few if they take one in so many bytes of what a residual may hold.
const FEW: u64 = 64;

/// What became of an extent that was to be delivered.
enum Delivered {
    Yes,
    /// The array is full.
    Full,
}

impl State {
    /// READ with EXTENTS or COUNT_ONLY.
    pub(crate) fn read_extents(&mut self, cmd: &mut uapi::Read) -> Result {
        let array = cmd.ranges()?;
        let mut chunk_max = crate::scatter_max();
        while !cmd.is_done() {
            let at = cmd.cursor().element;
            let range = Element::read(&array, at, cmd.page_size)?.range;
            let left = cmd.left_of(at, range)?;
            // What is not tracked may be large, and there is nothing in it but what was harvested.
            let Some(first) = self.next_dirty(left, cmd.tracker_id) else {
                cmd.out_status |= IOMMUFD_DIRTY_STATUS_HOLE;
                cmd.done(at, range, range.last());
                continue;
            };
            let offset = first.saturating_sub(range.first()) & cmd.page_size.wrapping_neg();
            let begin = range.first().saturating_add(offset).max(left.first());
            let chunk = chunk(begin, left.last(), chunk_max, cmd.page_size).ok_or(EINVAL)?;
            if !self.tracked.covers(&left) {
                cmd.out_status |= IOMMUFD_DIRTY_STATUS_HOLE;
            }
            let few = crate::residual_max() / FEW / core::mem::size_of::<Range>() as u64;
            let before = self.recorded();
            let begins = cmd.begins();
            if begins {
                self.must_begin_again(Which::merged(cmd.tracker_id));
            }
            if let Delivered::Full = self.read_chunk(cmd, at, range, chunk)? {
                cmd.out_status |= IOMMUFD_DIRTY_STATUS_MORE;
                return Ok(());
            }
            if !begins && !cmd.only_counts() && self.must_begin_again(Which::merged(cmd.tracker_id))
            {
                // What is written so far is not wrong, but not all.
                cmd.rewind();
                cmd.out_status |= IOMMUFD_DIRTY_STATUS_MORE;
                return Ok(());
            }
            let found = self.recorded().saturating_sub(before);
            chunk_max = if found > few {
                crate::scatter_max()
            } else {
                chunk_max.saturating_mul(GROWTH)
            };
            cmd.done(at, range, chunk.last());
            if !cmd.is_done() && interrupted() {
                return Err(EINTR);
            }
        }
        Ok(())
    }

    /// The first address in `range` that is tracked, or dirty though it is not.
    fn next_dirty(&self, range: Range, only: u32) -> Option<u64> {
        let tracked = self.tracked.within(range).next();
        let held = self.holding(range, only).filter_map(|e| e.first_in(range));
        Iterator::chain(tracked.into_iter(), held)
            .map(Range::first)
            .min()
    }

    /// How many extents there are could not be told: all is dirty again, as they are and more.
    pub(crate) fn undo_read(&mut self, cmd: &uapi::Read, _done: bool) {
        let Some(written) = self.written.take() else {
            return;
        };
        let only = self.members.iter_mut().find(|m| m.id() == cmd.tracker_id);
        let held = only.map_or(&mut self.kept, |m| &mut m.harvested);
        held.insert_unsure(written);
    }

    fn read_chunk(
        &mut self,
        cmd: &mut uapi::Read,
        at: u32,
        range: Range,
        chunk: Range,
    ) -> Result<Delivered> {
        let which = Which::merged(cmd.tracker_id);
        let target = if cmd.keeps() {
            Target::Scratch(chunk)
        } else {
            Target::Residual(chunk)
        };
        let cursor = cmd.cursor();
        // A longer call may have gone on elsewhere.
        let resume = Resume::at(chunk.first(), cursor.tracker);
        let scanned = self.scan(target, which, resume, cmd.keeps(), cmd.op_flags());
        // What was found before an error is in the residuals.
        let whole = match scanned.interrupted {
            None => Some(chunk),
            Some(place) => place
                .address
                .checked_sub(1)
                .and_then(|last| Range::inclusive(chunk.first(), last)),
        };
        let mut reported = None;
        let delivered = cmd.add(&scanned).and_then(|()| match whole {
            Some(whole) => self.report_chunk(cmd, range, whole, &mut reported),
            None => Ok(Delivered::Yes),
        });
        if let Some(reported) = reported {
            self.count_reported(reported, which);
            // At once: to remove an extent moves those behind it.
            if !cmd.keeps() {
                self.written = Some(self.written.map_or(reported, |all| all.hull(reported)));
                self.forget(reported, which);
            }
        }
        for m in self.members.iter_mut() {
            m.scratch.clear();
        }
        let delivered = delivered?;
        match (scanned.interrupted, &delivered) {
            (Some(place), Delivered::Yes) => {
                cmd.go_on(at, range, place.address, place.tracker);
                Err(EINTR)
            }
            _ => Ok(delivered),
        }
    }

    /// Counts for each tracker how much of what was reported in `reported` it had found.
    fn count_reported(&mut self, reported: Range, which: Which) {
        let members = self.members.iter().zip(self.results.iter_mut());
        for (m, result) in members.filter(|(m, _)| which.has(m)) {
            for held in [&m.residual, &m.harvested, &m.scratch] {
                held.for_each_in(reported, |dirty| result.delivered(dirty, 0));
            }
        }
    }

    /// Reports what is dirty in `chunk`, see [`write_extents`].
    fn report_chunk(
        &self,
        cmd: &mut uapi::Read,
        range: Range,
        chunk: Range,
        reported: &mut Option<Range>,
    ) -> Result<Delivered> {
        let mut holding = self.holding(chunk, cmd.tracker_id);
        let union;
        let dirty = match (holding.next(), holding.next()) {
            (None, _) => return Ok(Delivered::Yes),
            (Some(one), None) => one,
            _ => {
                union = self.union(chunk, cmd.tracker_id);
                &union
            }
        };
        if cmd.only_counts() {
            let mut pages = PageCounter::new(range, cmd.page_size).ok_or(EINVAL)?;
            dirty.for_each_in(chunk, |dirty| pages.push(dirty));
            cmd.out_dirty = cmd.out_dirty.saturating_add(pages.total());
            *reported = Some(chunk);
            return Ok(Delivered::Yes);
        }
        write_extents(cmd, range, chunk, dirty, reported)
    }

    /// Where something is dirty in `chunk`: taken, peeked at, or left by who is no member any more.
    fn holding(&self, chunk: Range, only: u32) -> impl Iterator<Item = &Extents> {
        let which = Which::merged(only);
        let members = self
            .members
            .iter()
            .filter(move |m| which.has(m))
            .flat_map(|m| [&m.residual, &m.harvested, &m.scratch]);
        let left = (only == 0).then_some(&self.kept);
        // By its full name: `pin_init` has a `chain()`, too.
        Iterator::chain(members, left).filter(move |extents| extents.first_in(chunk).is_some())
    }

    /// All of these in one.
    fn union(&self, chunk: Range, only: u32) -> Extents {
        let mut union = crate::new_residual();
        for extents in self.holding(chunk, only) {
            extents.for_each_in(chunk, |dirty| union.insert(dirty));
        }
        union
    }

    /// All of `reported` was delivered.
    pub(crate) fn forget(&mut self, reported: Range, which: Which) {
        for m in self.members.iter_mut().filter(|m| which.has(m)) {
            m.residual.remove(reported);
            m.harvested.remove(reported);
        }
        if which == Which::All {
            self.kept.remove(reported);
        }
    }
}

/// Writes what is dirty in `chunk` to the user's array. `reported` becomes the part of it that is
/// written, also if this fails: with all that is dirty in there.
fn write_extents(
    cmd: &mut uapi::Read,
    range: Range,
    chunk: Range,
    extents: &Extents,
    reported: &mut Option<Range>,
) -> Result<Delivered> {
    let mut grow = Grow::new(range, cmd.page_size).ok_or(EINVAL)?;
    let mut left = Some(chunk);
    while let Some(dirty) = left.and_then(|left| extents.first_in(left)) {
        if cmd.out_nr_extents % 1024 == 1023 && interrupted() {
            return Err(EINTR);
        }
        if let Some(extent) = grow.push(dirty) {
            if let Delivered::Full = write_extent(cmd, range, extent, reported)? {
                return Ok(Delivered::Full);
            }
        }
        left = dirty
            .last()
            .checked_add(1)
            .and_then(|next| Range::inclusive(next, chunk.last()));
    }
    match grow.finish() {
        Some(extent) => write_extent(cmd, range, extent, reported),
        None => Ok(Delivered::Yes),
    }
}

/// Writes one extent to the user's array.
fn write_extent(
    cmd: &mut uapi::Read,
    range: Range,
    extent: Range,
    reported: &mut Option<Range>,
) -> Result<Delivered> {
    // To go on here: extents begin with a page of the request.
    cmd.next_offset = extent.first().saturating_sub(range.first());
    cmd.next_tracker = 0;
    if cmd.out_nr_extents == cmd.nr_extents {
        return Ok(Delivered::Full);
    }
    let raw = DirtyRange {
        iova: extent.first(),
        length: extent.length(),
    };
    let array: Array<DirtyRange> = Array::new(cmd.extents_uptr, cmd.nr_extents, cmd.extent_len)?;
    array.put(cmd.out_nr_extents, &raw)?;
    cmd.out_nr_extents = cmd.out_nr_extents.saturating_add(1);
    let pages = extent.length().div_ceil(cmd.page_size.max(1));
    cmd.out_dirty = cmd.out_dirty.saturating_add(pages);
    cmd.next_offset = extent
        .last()
        .saturating_sub(range.first())
        .saturating_add(1);
    *reported = Some(reported.map_or(extent, |all| all.hull(extent)));
    Ok(Delivered::Yes)
}

/// The piece of at most `max` bytes, but at least a page, from `first` on; not beyond `last`.
fn chunk(first: u64, last: u64, max: u64, page_size: u64) -> Option<Range> {
    let bytes = max.max(page_size) & page_size.wrapping_neg();
    Range::inclusive(
        first,
        first.saturating_add(bytes.saturating_sub(1)).min(last),
    )
}
