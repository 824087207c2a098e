// SPDX-License-Identifier: GPL-2.0

//! READ into an array of extents, and READ that only counts.
//!
//! There is no bitmap to OR into: the trackers are read into their residuals, a chunk of the address
//! space at a time, and what is delivered is the union of these. What did not fit into the array
//! stays in the residuals.

use crate::{
    abi::{
        bindings::*,
        uapi::{
            self,
            put,
            DirtyRange, //
        }, //
    },
    logic::{
        extents::Extents,
        granule::MIN_PAGE_SIZE,
        range::Range,
        window::{
            Grow,
            PageCounter, //
        }, //
    },
    read::{
        done,
        interrupted,
        read_element,
        skip, //
    },
    sink::Target,
    state::{
        Found,
        State, //
    }, //
};
use kernel::prelude::*;

/// Bytes of memory of a residual that one extent may take, at worst: its blocks may be half full.
const BYTES_PER_EXTENT: u64 = 2 * core::mem::size_of::<Range>() as u64;

/// The longest chunk, also with a residual that may hold all the memory there is.
const MAX_CHUNK: u64 = 1 << 40;

/// What became of an extent that was to be delivered.
enum Delivered {
    Yes,
    /// The array is full.
    Full,
}

impl State {
    /// READ with EXTENTS or COUNT_ONLY.
    pub(crate) fn read_extents(&mut self, cmd: &mut uapi::Read) -> Result {
        while cmd.next_range < cmd.nr_ranges {
            let range = read_element(cmd.ranges_uptr, cmd.next_range, cmd.page_size)?.range;
            while let Some(left) = skip(range, cmd.next_offset) {
                // What is not tracked may be large, and there is nothing in it.
                let next = self.tracked.within(left).next();
                let hole = next.map_or(u64::MAX, |part| part.first().saturating_sub(left.first()));
                let Some(left) = skip(left, hole & cmd.page_size.wrapping_neg()) else {
                    cmd.out_status |= IOMMUFD_DIRTY_STATUS_HOLE;
                    break;
                };
                if hole != 0 {
                    cmd.out_status |= IOMMUFD_DIRTY_STATUS_HOLE;
                }
                let chunk = chunk(left, cmd.page_size);
                if let Delivered::Full = self.read_chunk(cmd, range, chunk)? {
                    cmd.out_status |= IOMMUFD_DIRTY_STATUS_MORE;
                    return Ok(());
                }
                if chunk.last() == range.last() {
                    break;
                }
                cmd.next_offset = done(range, chunk.last());
                if interrupted() {
                    return Err(EINTR);
                }
            }
            cmd.next_element()?;
        }
        Ok(())
    }

    /// How many extents there are could not be told: all is dirty again, as they are and more.
    pub(crate) fn undo_read(&mut self, cmd: &uapi::Read, _done: bool) {
        if cmd.out_nr_extents == 0 || cmd.keeps() {
            return;
        }
        let only = self.members.iter_mut().find(|m| m.id == cmd.tracker_id);
        let residual = only.map_or(&mut self.residual, |m| &mut m.residual);
        for range in self.tracked.as_slice() {
            residual.insert(*range);
        }
    }

    fn read_chunk(
        &mut self,
        cmd: &mut uapi::Read,
        range: Range,
        chunk: Range,
    ) -> Result<Delivered> {
        let mut found = Found::default();
        let how = cmd.how(if cmd.keeps() {
            Target::Scratch
        } else {
            Target::Residual
        });
        self.for_parts(chunk, |state, part| state.pass(part, how, &mut found));
        if !self.tracked.covers(&chunk) {
            found.status |= IOMMUFD_DIRTY_STATUS_HOLE;
        }
        // What was found before an error is in the residuals.
        let mut told = None;
        let delivered = cmd
            .add(&found)
            .and_then(|()| self.tell_chunk(cmd, range, chunk, &mut told));
        for m in self.members.iter_mut() {
            m.scratch.clear();
        }
        // At once: to remove an extent moves those behind it.
        if let Some(told) = told.filter(|_| !cmd.keeps()) {
            self.forget(told, how.only);
        }
        delivered
    }

    /// Tells what is dirty in `chunk`, see [`tell_all`].
    fn tell_chunk(
        &self,
        cmd: &mut uapi::Read,
        range: Range,
        chunk: Range,
        told: &mut Option<Range>,
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
            return Ok(Delivered::Yes);
        }
        tell_all(cmd, range, chunk, dirty, told)
    }

    /// Where something is dirty in `chunk`: taken, peeked at, or left by who is no member any more.
    fn holding(&self, chunk: Range, only: u32) -> impl Iterator<Item = &Extents> {
        let members = self
            .members
            .iter()
            .filter(move |m| only == 0 || only == m.id)
            .flat_map(|m| [&m.residual, &m.scratch]);
        let left = (only == 0).then_some(&self.residual);
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

    /// All of `told` was delivered.
    fn forget(&mut self, told: Range, only: u32) {
        for m in self.members.iter_mut() {
            if only == 0 || only == m.id {
                m.residual.remove(told);
            }
        }
        if only == 0 {
            self.residual.remove(told);
        }
    }
}

/// Writes what is dirty in `chunk` to the user's array. `told` becomes the part of it that is written,
/// also if this fails: with all that is dirty in there.
fn tell_all(
    cmd: &mut uapi::Read,
    range: Range,
    chunk: Range,
    extents: &Extents,
    told: &mut Option<Range>,
) -> Result<Delivered> {
    let mut grow = Grow::new(range, cmd.page_size).ok_or(EINVAL)?;
    let mut left = Some(chunk);
    while let Some(dirty) = left.and_then(|left| extents.first_in(left)) {
        if let Some(extent) = grow.push(dirty) {
            if let Delivered::Full = tell(cmd, range, extent, told)? {
                return Ok(Delivered::Full);
            }
        }
        left = dirty
            .last()
            .checked_add(1)
            .and_then(|next| Range::inclusive(next, chunk.last()));
    }
    match grow.finish() {
        Some(extent) => tell(cmd, range, extent, told),
        None => Ok(Delivered::Yes),
    }
}

/// Writes one extent to the user's array.
fn tell(
    cmd: &mut uapi::Read,
    range: Range,
    extent: Range,
    told: &mut Option<Range>,
) -> Result<Delivered> {
    // To go on here: extents begin with a page of the request.
    cmd.next_offset = extent.first().saturating_sub(range.first());
    if cmd.out_nr_extents == cmd.nr_extents {
        return Ok(Delivered::Full);
    }
    let raw = DirtyRange {
        iova: extent.first(),
        length: extent.length(),
    };
    put(cmd.extents_uptr, cmd.out_nr_extents, &raw)?;
    cmd.out_nr_extents = cmd.out_nr_extents.saturating_add(1);
    let pages = extent.length().div_ceil(cmd.page_size.max(1));
    cmd.out_dirty = cmd.out_dirty.saturating_add(pages);
    cmd.next_offset = done(range, extent.last());
    *told = Some(told.map_or(extent, |told| told.hull(extent)));
    Ok(Delivered::Yes)
}

/// The first piece of `left` whose dirt a residual can hold however scattered it is; whole pages.
fn chunk(left: Range, page_size: u64) -> Range {
    // Every other granule dirty is the worst.
    let bytes = (crate::residual_max() / BYTES_PER_EXTENT).saturating_mul(2 * MIN_PAGE_SIZE);
    let bytes = bytes.min(MAX_CHUNK).max(page_size) & page_size.wrapping_neg();
    let last = bytes.saturating_sub(1).saturating_add(left.first());
    let last = last.min(left.last());
    Range::inclusive(left.first(), last).unwrap_or(left)
}
