// SPDX-License-Identifier: GPL-2.0

//! The residual: dirt that was taken out of a tracker and not yet delivered.
//!
//! It may be one page or a million, it comes at times when nothing may fail any more, and it must
//! not be lost. So it is sparse, an insert costs two binary searches and a bounded move, and when
//! memory cannot be had it reports more than was inserted, never less.

use super::{
    range::{
        Range,
        ALL, //
    },
    range_set::gap, //
};

mod blocks;

use blocks::{
    Blocks,
    Place, //
};

/// A set of dirty byte ranges that never loses one and whose inserts cannot fail.
///
/// A single extent needs no memory.
///
/// # Invariants
///
/// - No two extents touch.
/// - `lone` is `None` if `blocks` is not empty.
pub struct Extents {
    lone: Option<Range>,
    blocks: Blocks,
    overreported: u64,
    /// Where more may be dirty than was inserted as dirty.
    unsure: Option<Range>,
}

impl Extents {
    /// The empty set, without a limit. Allocates nothing.
    pub const fn new() -> Self {
        // INVARIANT: There are no extents.
        Self {
            lone: None,
            blocks: Blocks::new(),
            overreported: 0,
            unsure: None,
        }
    }

    /// Sets the bytes of memory that [`Self::bytes()`] may reach. What is held already stays.
    pub fn set_limit(&mut self, bytes: usize) {
        self.blocks.set_limit(bytes);
    }

    /// Is nothing dirty?
    pub fn is_empty(&self) -> bool {
        self.lone.is_none() && self.blocks.is_empty()
    }

    /// Extents in the set: disjoint, and no two of them touch.
    pub fn len(&self) -> usize {
        match self.lone {
            Some(_) => 1,
            None => self.blocks.count(),
        }
    }

    /// Dirty bytes. `u64::MAX` also for the whole address space, which has one more.
    pub fn dirty_bytes(&self) -> u64 {
        match self.lone {
            Some(lone) => lone.length(),
            None => self.blocks.dirty(),
        }
    }

    /// Bytes that are or were dirty and of which nobody knows whether they were written: what lies
    /// between two extents, for want of memory, and what [`Self::insert_unsure()`] was given. Only
    /// grows.
    pub fn overreported(&self) -> u64 {
        self.overreported
    }

    /// May some of what is dirty in `range` not have been written? Rather too often than not.
    pub fn is_unsure_in(&self, range: Range) -> bool {
        self.unsure
            .and_then(|unsure| unsure.intersect(range))
            .is_some_and(|part| self.first_in(part).is_some())
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.blocks.bytes()
    }

    /// Makes everything clean and frees the memory. The limit and [`Self::overreported()`] stay.
    pub fn clear(&mut self) {
        self.lone = None;
        self.unsure = None;
        self.blocks.clear();
    }

    /// Makes `range` dirty, of which nobody knows whether it was written.
    pub fn insert_unsure(&mut self, range: Range) {
        self.count_overreport(range, range.length());
        self.insert(range);
    }

    /// Takes over all that `other` holds.
    pub fn absorb(&mut self, other: &Self) {
        if let Some(unsure) = other.unsure {
            self.count_overreport(unsure, other.overreported);
        }
        other.for_each_in(ALL, |dirty| self.insert(dirty));
    }

    /// Makes `range` dirty. If memory cannot be had, so does the gap to the nearest extent.
    pub fn insert(&mut self, range: Range) {
        if self.blocks.is_empty() {
            self.insert_beside_lone(range);
            return;
        }

        // INVARIANT: All that `range` touches becomes one extent with it.
        let place = self.blocks.seek(range.first().saturating_sub(1));
        match self.blocks.get(place) {
            Some(head) if head.touches(range) => self.grow(place, head.hull(range)),
            _ => {
                if self.blocks.insert(place, range).is_err() {
                    self.insert_into_neighbour(place, range);
                }
            }
        }
    }

    /// Makes all of `range` clean. If an extent must be split and memory cannot be had, that
    /// extent stays as it is.
    pub fn remove(&mut self, range: Range) {
        self.take_out(range);
        // Where it stays in two pieces the hull of both is kept.
        self.unsure = match self.unsure.map(|unsure| unsure.minus(range)) {
            Some((Some(_), Some(_))) => self.unsure,
            Some((before, after)) => before.or(after),
            None => None,
        };
        if self.is_empty() {
            self.unsure = None;
        }
    }

    fn take_out(&mut self, range: Range) {
        if self.blocks.is_empty() {
            self.remove_from_lone(range);
            return;
        }

        // INVARIANT: What stays of an extent lies within it, at its place.
        let mut from = self.blocks.seek(range.first());
        let Some(head) = self.blocks.get(from) else {
            return;
        };
        if head.intersect(range).is_none() {
            return;
        }
        match head.minus(range) {
            (Some(below), Some(above)) => {
                self.blocks.set(from, below);
                if self.blocks.insert(from.next(), above).is_err() {
                    self.blocks.set(from, head);
                    self.count_overreport(head, range.length());
                }
                return;
            }
            (Some(below), None) => {
                self.blocks.set(from, below);
                from = from.next();
            }
            _ => (),
        }

        let mut to = self.blocks.seek_above(range.last());
        if let Some(last) = to.previous() {
            let tail = self.blocks.get(last);
            if let Some((_, Some(above))) = tail.map(|tail| tail.minus(range)) {
                self.blocks.set(last, above);
                to = last;
            }
        }
        self.blocks.cut(from, to);
    }

    /// The first dirty extent in `range`, clipped to it.
    pub fn first_in(&self, range: Range) -> Option<Range> {
        let first = match self.lone {
            Some(lone) => lone,
            None => self.blocks.get(self.blocks.seek(range.first()))?,
        };
        first.intersect(range)
    }

    /// Calls `f` for each dirty extent in `range`, clipped to it, ascending.
    pub fn for_each_in(&self, range: Range, f: impl FnMut(Range)) {
        let from = self.blocks.seek(range.first());

        self.lone
            .into_iter()
            .chain(self.blocks.from(from))
            .map_while(|extent| extent.intersect(range))
            .for_each(f);
    }

    /// Calls `f` for each dirty extent in `range`, clipped to it, ascending, and makes `range`
    /// clean as [`Self::remove()`] does.
    pub fn take(&mut self, range: Range, f: impl FnMut(Range)) {
        self.for_each_in(range, f);
        self.remove(range);
    }

    /// [`Self::insert()`] while there is no block.
    fn insert_beside_lone(&mut self, range: Range) {
        let Some(lone) = self.lone else {
            self.lone = Some(range);
            return;
        };

        if !lone.touches(range) {
            let (low, high) = if lone.first() < range.first() {
                (lone, range)
            } else {
                (range, lone)
            };
            if self.blocks.start(low, high).is_ok() {
                self.lone = None;
                return;
            }
            self.count_overreport(low.hull(high), gap(low, high));
        }
        self.lone = Some(lone.hull(range));
    }

    /// [`Self::remove()`] while there is no block.
    fn remove_from_lone(&mut self, range: Range) {
        let Some(lone) = self.lone else {
            return;
        };

        match lone.minus(range) {
            (Some(below), Some(above)) => {
                if self.blocks.start(below, above).is_ok() {
                    self.lone = None;
                } else {
                    self.count_overreport(lone, range.length());
                }
            }
            (below, above) => self.lone = below.or(above),
        }
    }

    /// What an insert at `place` does without memory: `range` and the gap to its nearest neighbour
    /// are added to that neighbour.
    fn insert_into_neighbour(&mut self, place: Place, range: Range) {
        let below = self.blocks.before(place);
        let above = self.blocks.get(place).map(|extent| (place, extent));

        let nearest = match (below, above) {
            (Some((_, low)), Some((_, high))) if gap(low, range) > gap(range, high) => above,
            (Some(_), _) => below,
            (None, _) => above,
        };
        // There is one, as the blocks are not empty.
        let Some((at, neighbour)) = nearest else {
            return;
        };
        let joined = neighbour.hull(range);
        self.blocks.set(at, joined);
        self.count_overreport(
            joined,
            gap(neighbour, range).saturating_add(gap(range, neighbour)),
        );
    }

    /// Lets the extent at `place` become `grown`, and take in those above it that it touches then.
    fn grow(&mut self, place: Place, grown: Range) {
        let to = self.blocks.seek_above(grown.last().saturating_add(1));
        let tail = to.previous().and_then(|last| self.blocks.get(last));

        self.blocks
            .set(place, tail.map_or(grown, |tail| grown.hull(tail)));
        self.blocks.cut(place.next(), to);
    }

    /// `bytes` of what is dirty in `range` may not have been written.
    fn count_overreport(&mut self, range: Range, bytes: u64) {
        self.overreported = self.overreported.saturating_add(bytes);
        self.unsure = Some(self.unsure.map_or(range, |unsure| unsure.hull(range)));
    }
}

impl Default for Extents {
    fn default() -> Self {
        Self::new()
    }
}
