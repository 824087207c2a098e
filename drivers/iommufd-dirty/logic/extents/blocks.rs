// SPDX-License-Identifier: GPL-2.0

//! Where the residual's extents are: a directory of blocks.

use core::mem::size_of;

use crate::{
    logic::{
        cut,
        range::Range, //
    },
    mem::{
        NoMemory,
        TryVec,
        Vec, //
    },
};

/// Extents in a block, at most: with 16 bytes each, a block is a page.
const BLOCK: usize = 256;

/// Elements that an empty vector is given room for.
const FIRST: usize = 4;

/// Extents in blocks of at most [`BLOCK`], so that to insert one moves at most a block.
///
/// # Invariants
///
/// - The extents ascend within and across the blocks. That no two of them touch is the caller's.
/// - No block is empty. If memory could be had, any two neighbours have more than half a block.
/// - `count` is the number of extents, `dirty` the sum of their [`Range::length()`] modulo 2^64: in
///   the midst of a change extents may overlap.
/// - `budget.held` is what the directory and the blocks allocated.
pub(super) struct Blocks {
    blocks: Vec<Vec<Range>>,
    count: usize,
    dirty: u64,
    budget: Budget,
}

/// A place among the extents: before extent `index` of block `block`. The place after the last
/// extent of a block is also before the first one of the next.
#[derive(Clone, Copy)]
pub(super) struct Place {
    block: usize,
    index: usize,
}

impl Place {
    /// The place behind the extent that is here.
    pub(super) fn next(self) -> Self {
        Self {
            index: self.index.saturating_add(1),
            ..self
        }
    }

    /// `None` at the start of a block.
    pub(super) fn previous(self) -> Option<Self> {
        let index = self.index.checked_sub(1)?;
        Some(Self { index, ..self })
    }
}

impl Blocks {
    pub(super) const fn new() -> Self {
        Self {
            blocks: Vec::new(),
            count: 0,
            dirty: 0,
            budget: Budget::new(),
        }
    }

    pub(super) fn set_limit(&mut self, bytes: usize) {
        self.budget.limit = bytes;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Number of extents.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Sum of the lengths.
    pub(super) fn dirty(&self) -> u64 {
        self.dirty
    }

    /// Bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        self.budget.held
    }

    /// Removes all extents and frees the memory.
    pub(super) fn clear(&mut self) {
        self.blocks = Vec::new();
        self.count = 0;
        self.dirty = 0;
        self.budget.release(self.budget.held);
    }

    /// Makes the first block, of two extents. On failure there is none.
    pub(super) fn start(&mut self, low: Range, high: Range) -> Result<(), NoMemory> {
        let mut block = Vec::new();

        let made = self
            .budget
            .reserve(&mut block, FIRST)
            .and_then(|()| block.try_push(low))
            .and_then(|()| block.try_push(high))
            .and_then(|()| self.budget.reserve(&mut self.blocks, FIRST))
            .and_then(|()| self.blocks.try_push(block));
        if made.is_err() {
            self.blocks = Vec::new();
            self.budget.held = 0;
            return made;
        }
        self.added(low);
        self.added(high);
        Ok(())
    }

    /// The place of the first extent that does not end below `address`.
    pub(super) fn seek(&self, address: u64) -> Place {
        let ends_below = |block: &Vec<Range>| block.last().is_some_and(|r| r.last() < address);

        // What comes in ascending order goes behind the last one.
        if let Some(last) = self.blocks.last() {
            if ends_below(last) {
                return Place {
                    block: self.blocks.len().saturating_sub(1),
                    index: last.len(),
                };
            }
        }

        let block = self.blocks.partition_point(ends_below);
        let index = self
            .blocks
            .get(block)
            .map_or(0, |block| block.partition_point(|r| r.last() < address));
        Place { block, index }
    }

    /// The place behind the last extent that does not start above `address`.
    pub(super) fn seek_above(&self, address: u64) -> Place {
        let block = self
            .blocks
            .partition_point(|block| block.first().is_some_and(|r| r.first() <= address))
            .saturating_sub(1);
        let index = self
            .blocks
            .get(block)
            .map_or(0, |block| block.partition_point(|r| r.first() <= address));
        Place { block, index }
    }

    /// The extent at `place`.
    pub(super) fn get(&self, place: Place) -> Option<Range> {
        self.blocks.get(place.block)?.get(place.index).copied()
    }

    /// The extent below `place`, and where it is.
    pub(super) fn before(&self, place: Place) -> Option<(Place, Range)> {
        let at = place.previous().or_else(|| {
            let block = place.block.checked_sub(1)?;
            let index = self.blocks.get(block)?.len().checked_sub(1)?;
            Some(Place { block, index })
        })?;
        Some((at, self.get(at)?))
    }

    /// The extents from `place` on, ascending.
    pub(super) fn from(&self, place: Place) -> impl Iterator<Item = Range> + '_ {
        let mut blocks = self.blocks.iter().skip(place.block);
        let first = blocks.next().into_iter();

        first
            .flat_map(move |block| block.iter().skip(place.index))
            .chain(blocks.flat_map(|block| block.iter()))
            .copied()
    }

    /// Replaces the extent at `place`, if there is one.
    pub(super) fn set(&mut self, place: Place, range: Range) {
        let extent = self
            .blocks
            .get_mut(place.block)
            .and_then(|block| block.get_mut(place.index));
        if let Some(extent) = extent {
            let old = core::mem::replace(extent, range);
            self.removed(old);
            self.added(range);
        }
    }

    /// Inserts an extent at `place`. On failure nothing has changed.
    pub(super) fn insert(&mut self, place: Place, range: Range) -> Result<(), NoMemory> {
        let place = self.make_room(place)?;

        self.blocks
            .get_mut(place.block)
            .ok_or(NoMemory)?
            .try_insert(place.index, range)?;
        self.added(range);
        Ok(())
    }

    /// Removes the extents from one place to another that is not below it.
    pub(super) fn cut(&mut self, from: Place, to: Place) {
        if from.block == to.block {
            self.cut_block(from.block, from.index, to.index);
        } else {
            self.cut_block(from.block, from.index, BLOCK);
            for block in from.block.saturating_add(1)..to.block {
                self.cut_block(block, 0, BLOCK);
            }
            self.cut_block(to.block, 0, to.index);
        }
        self.tidy(from.block, to.block);
    }

    /// Sees to it that the block at `place` can take one more; returns where that place is now.
    fn make_room(&mut self, place: Place) -> Result<Place, NoMemory> {
        let next = place.block.saturating_add(1);
        let is_last = next == self.blocks.len();
        let block = self.blocks.get_mut(place.block).ok_or(NoMemory)?;

        if block.len() < BLOCK {
            self.budget.reserve(block, 1)?;
            return Ok(place);
        }

        // A full block is split in halves. Not so at the very end: what comes in ascending order
        // fills its blocks.
        let keep = if is_last && place.index == BLOCK {
            BLOCK
        } else {
            BLOCK / 2
        };
        let mut upper = Vec::new();
        self.budget.reserve(&mut upper, BLOCK)?;
        let room = upper.bytes();
        let made = block
            .iter()
            .skip(keep)
            .try_for_each(|extent| upper.try_push(*extent))
            .and_then(|()| self.budget.reserve(&mut self.blocks, 1))
            .and_then(|()| self.blocks.try_insert(next, upper));
        if made.is_err() {
            self.budget.release(room);
            return Err(NoMemory);
        }
        if let Some(block) = self.blocks.get_mut(place.block) {
            block.truncate(keep);
        }

        // INVARIANT: The caller fills the block if it is empty: it has the room now.
        Ok(match place.index.checked_sub(keep) {
            Some(index) => Place { block: next, index },
            None => place,
        })
    }

    /// Removes the extents `from..to`, as far as they exist, of one block.
    fn cut_block(&mut self, block: usize, from: usize, to: usize) {
        let Some(block) = self.blocks.get_mut(block) else {
            return;
        };
        let to = to.min(block.len());

        for extent in block.iter().take(to).skip(from) {
            self.dirty = self.dirty.wrapping_sub(extent.length());
            self.count = self.count.saturating_sub(1);
        }
        cut(block, from, to);
    }

    /// Frees those of the blocks from `first` to `last` that have become empty, and merges what
    /// has become small.
    fn tidy(&mut self, first: usize, last: usize) {
        if self.count == 0 {
            self.clear();
            return;
        }

        // Only the first and the last of the blocks cut can have extents left.
        let is_empty = |block: &Vec<Range>| block.is_empty();
        let from = first.saturating_add(usize::from(!self.blocks.get(first).is_some_and(is_empty)));
        let to = last.saturating_add(usize::from(self.blocks.get(last).is_some_and(is_empty)));
        let freed = self
            .blocks
            .get(from..to)
            .unwrap_or_default()
            .iter()
            .map(|block| block.bytes())
            .sum();
        self.budget.release(freed);
        cut(&mut self.blocks, from, to);

        // Downwards, so that what was merged is looked at again.
        self.merge_with_next(first.saturating_add(1));
        self.merge_with_next(first);
        if let Some(below) = first.checked_sub(1) {
            self.merge_with_next(below);
        }
    }

    /// Makes one of two neighbouring blocks if they have few extents. Scattered removals would
    /// otherwise leave many blocks with next to nothing in them.
    fn merge_with_next(&mut self, block: usize) {
        let Some([low, high, ..]) = self.blocks.get_mut(block..) else {
            return;
        };
        if low.len().saturating_add(high.len()) > BLOCK / 2
            || self.budget.reserve(low, high.len()).is_err()
        {
            return;
        }

        let merged = high.iter().try_for_each(|extent| low.try_push(*extent));
        if merged.is_ok() {
            self.budget.release(high.bytes());
            let next = block.saturating_add(1);
            cut(&mut self.blocks, next, next.saturating_add(1));
        }
    }

    fn added(&mut self, range: Range) {
        self.dirty = self.dirty.wrapping_add(range.length());
        self.count = self.count.saturating_add(1);
    }

    fn removed(&mut self, range: Range) {
        self.dirty = self.dirty.wrapping_sub(range.length());
        self.count = self.count.saturating_sub(1);
    }
}

/// The most allocations that are left out after one has failed.
const MAX_PAUSE: u32 = 4096;

/// Memory held, and what may be held at most, in bytes.
///
/// An allocation that fails has looked for memory to reclaim, which takes long, and a residual that
/// is short of memory would do so for each extent. So after a failure some are not tried at all,
/// twice as many each time.
struct Budget {
    held: usize,
    limit: usize,
    /// Allocations that are left out from now on.
    left_out: u32,
    /// How many were left out after the last failure.
    pause: u32,
}

impl Budget {
    const fn new() -> Self {
        Self {
            held: 0,
            limit: usize::MAX,
            left_out: 0,
            pause: 0,
        }
    }

    /// Makes room for `additional` elements, within the limit.
    fn reserve<T>(&mut self, vec: &mut Vec<T>, additional: usize) -> Result<(), NoMemory> {
        let had = vec.bytes();
        let needed = vec
            .len()
            .checked_add(additional)
            .and_then(|len| len.checked_mul(size_of::<T>()))
            .ok_or(NoMemory)?;
        if needed <= had {
            return Ok(());
        }

        // A vector at least doubles when it grows.
        let growth = needed.max(had.saturating_mul(2)).saturating_sub(had);
        if self.held.saturating_add(growth) > self.limit {
            return Err(NoMemory);
        }
        if let Some(left_out) = self.left_out.checked_sub(1) {
            self.left_out = left_out;
            return Err(NoMemory);
        }
        if vec.try_reserve_for(additional).is_err() {
            self.pause = self.pause.saturating_mul(2).clamp(1, MAX_PAUSE);
            self.left_out = self.pause;
            return Err(NoMemory);
        }
        self.pause = 0;
        self.held = self.held.saturating_add(vec.bytes().saturating_sub(had));
        Ok(())
    }

    /// `bytes` were freed: there is memory again.
    fn release(&mut self, bytes: usize) {
        if bytes > 0 {
            self.left_out = 0;
        }
        self.held = self.held.saturating_sub(bytes);
    }
}
