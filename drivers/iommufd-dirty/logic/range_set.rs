// SPDX-License-Identifier: GPL-2.0

//! A set of ranges: what a context tracks, and what a tracker is started with.
//!
//! For some thousand ranges that change seldom. What is dirty is held by
//! [`Extents`](super::extents::Extents).

use core::ops;

use super::{
    cut,
    range::Range, //
};
use crate::mem::{
    NoMemory,
    TryVec,
    Vec, //
};

/// A set of addresses, as disjoint ranges.
///
/// # Invariants
///
/// `ranges` ascends, and no two of them touch.
pub struct RangeSet {
    ranges: Vec<Range>,
}

impl RangeSet {
    /// The empty set. Allocates nothing.
    pub const fn new() -> Self {
        // INVARIANT: There are no ranges.
        Self { ranges: Vec::new() }
    }

    /// Adds all of `range`. On failure the set is as it was.
    pub fn add(&mut self, range: Range) -> Result<(), NoMemory> {
        // INVARIANT: All that `range` touches becomes one range with it.
        let touched = touching(&self.ranges, range);
        let merged = self
            .ranges
            .get(touched.clone())
            .unwrap_or_default()
            .iter()
            .fold(range, |hull, r| hull.hull(*r));

        match self.ranges.get_mut(touched.clone()) {
            Some([head, ..]) => {
                *head = merged;
                cut(
                    &mut self.ranges,
                    touched.start.saturating_add(1),
                    touched.end,
                );
                Ok(())
            }
            _ => self.ranges.try_insert(touched.start, merged),
        }
    }

    /// Removes all of `range`. On failure the set is as it was.
    pub fn remove(&mut self, range: Range) -> Result<(), NoMemory> {
        let hit = overlapping(&self.ranges, range);
        let Some([head, ..]) = self.ranges.get_mut(hit.clone()) else {
            return Ok(());
        };

        // INVARIANT: What stays of a range lies within it, at its place.
        let mut from = hit.start;
        match head.minus(range) {
            (Some(below), Some(above)) => {
                let whole = *head;
                *head = below;
                let inserted = self.ranges.try_insert(hit.end, above);
                if inserted.is_err() {
                    if let Some(head) = self.ranges.get_mut(hit.start) {
                        *head = whole;
                    }
                }
                return inserted;
            }
            (Some(below), None) => {
                *head = below;
                from = from.saturating_add(1);
            }
            _ => (),
        }

        let mut to = hit.end;
        if let Some([.., tail]) = self.ranges.get_mut(from..to) {
            if let (_, Some(above)) = tail.minus(range) {
                *tail = above;
                to = to.saturating_sub(1);
            }
        }
        cut(&mut self.ranges, from, to);
        Ok(())
    }

    /// All of `list`, which may be in any order and overlap: n log n.
    pub fn of(list: Vec<Range>) -> Result<Self, NoMemory> {
        let (mut firsts, mut lasts) = (Vec::new(), Vec::new());
        let mut set = Self::new();

        firsts.try_reserve_for(list.len())?;
        lasts.try_reserve_for(list.len())?;
        for range in list.iter() {
            firsts.try_push(range.first())?;
            lasts.try_push(range.last())?;
        }
        firsts.sort_unstable();
        lasts.sort_unstable();

        // Of the ranges that have begun at an address, as many are open as have not ended.
        let mut ended = lasts.iter().copied().peekable();
        let mut first = None;
        let mut open = 0_usize;
        for begin in firsts.iter().copied() {
            while let Some(last) = ended.next_if(|last| *last < begin) {
                open = open.saturating_sub(1);
                if let Some(whole) = first.take_if(|_| open == 0) {
                    set.append_if_any(Range::inclusive(whole, last))?;
                }
            }
            first.get_or_insert(begin);
            open = open.saturating_add(1);
        }
        let whole = first.zip(ended.last());
        set.append_if_any(whole.and_then(|(first, last)| Range::inclusive(first, last)))?;
        Ok(set)
    }

    /// All that is in one of the two.
    pub fn union(&self, other: &Self) -> Result<Self, NoMemory> {
        let mut union = Self::new();
        let (mut ours, mut theirs) = (
            self.ranges.iter().peekable(),
            other.ranges.iter().peekable(),
        );

        loop {
            let next = match (ours.peek(), theirs.peek()) {
                (Some(a), Some(b)) if a.first() <= b.first() => ours.next(),
                (Some(_), None) => ours.next(),
                _ => theirs.next(),
            };
            let Some(next) = next else {
                return Ok(union);
            };
            union.append(*next, 0)?;
        }
    }

    /// All that is in this one and not in the other.
    pub fn difference(&self, other: &Self) -> Result<Self, NoMemory> {
        let mut difference = Self::new();

        for range in self.ranges.iter() {
            let mut left = Some(*range);
            for common in other.within(*range) {
                let (before, after) = left.map_or((None, None), |range| range.minus(common));
                if let Some(before) = before {
                    difference.append(before, 0)?;
                }
                left = after;
            }
            if let Some(rest) = left {
                difference.append(rest, 0)?;
            }
        }
        Ok(difference)
    }

    /// A copy of the set.
    pub fn try_clone(&self) -> Result<Self, NoMemory> {
        let mut ranges = Vec::new();

        ranges.try_reserve_for(self.ranges.len())?;
        for range in self.ranges.iter() {
            ranges.try_push(*range)?;
        }

        // INVARIANT: As `self`.
        Ok(Self { ranges })
    }

    /// The ranges, ascending; no two of them touch.
    pub fn as_slice(&self) -> &[Range] {
        &self.ranges
    }

    /// Is all of `range` in the set?
    pub fn covers(&self, range: &Range) -> bool {
        self.holding(range).is_some()
    }

    /// Is all of `other` in the set?
    pub fn covers_all(&self, other: &Self) -> bool {
        other.ranges.iter().all(|range| self.covers(range))
    }

    /// The range of the set that has all of `range` in it.
    pub fn holding(&self, range: &Range) -> Option<Range> {
        let hit = self.overlapping(*range).first().copied();

        hit.filter(|hit| hit.contains(range))
    }

    /// From the first to the last byte of the set that lies in `range`.
    pub fn hull_within(&self, range: Range) -> Option<Range> {
        match self.overlapping(range) {
            [one] => one.intersect(range),
            [first, .., last] => first.hull(*last).intersect(range),
            [] => None,
        }
    }

    /// Bytes of the set that lie in `range`.
    pub fn bytes_within(&self, range: Range) -> u64 {
        self.within(range)
            .fold(0, |sum, part| sum.saturating_add(part.length()))
    }

    /// The parts of the set that lie in `range`, ascending.
    pub fn within(&self, range: Range) -> impl Iterator<Item = Range> + '_ {
        self.overlapping(range)
            .iter()
            .filter_map(move |r| r.intersect(range))
    }

    /// Bytes in the set. `u64::MAX` also for the whole address space, which has one more.
    pub fn span(&self) -> u64 {
        self.ranges
            .iter()
            .fold(0, |sum, r| sum.saturating_add(r.length()))
    }

    /// What a tracker with `max` ranges (0 is no limit) and `granule` bytes per bit is given for
    /// this set: each range is grown to whole granules, then those with the smallest gap between
    /// them are joined until they are few enough.
    pub fn joined(&self, max: usize, granule: u64) -> Result<Self, NoMemory> {
        let mut joined = Self::new();

        for range in self.ranges.iter() {
            joined.append(range.aligned_out(granule), 0)?;
        }
        let Some(surplus) = joined.ranges.len().checked_sub(max) else {
            return Ok(joined);
        };
        if max == 0 || surplus == 0 {
            return Ok(joined);
        }

        // To join a pair changes no other gap, so that the `surplus` smallest gaps are the ones.
        let mut gaps = Vec::new();
        gaps.try_reserve_for(joined.ranges.len())?;
        for (low, high) in pairs(&joined.ranges) {
            gaps.try_push(gap(low, high))?;
        }
        gaps.sort_unstable();
        let largest = gaps
            .get(surplus.saturating_sub(1))
            .copied()
            .unwrap_or(u64::MAX);
        let below = gaps.partition_point(|gap| *gap < largest);

        // Of those as large as the largest only some are joined: the first ones.
        let mut ties = surplus.saturating_sub(below);
        let mut few = Self::new();
        let mut previous: Option<Range> = None;
        for range in joined.ranges.iter() {
            let gap = previous.map_or(u64::MAX, |low| gap(low, *range));
            let bridge = if gap < largest {
                gap
            } else if gap == largest && previous.is_some() && ties > 0 {
                ties = ties.saturating_sub(1);
                gap
            } else {
                0
            };
            few.append(*range, bridge)?;
            previous = Some(*range);
        }
        Ok(few)
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.ranges.bytes()
    }

    /// Adds a range that is not below the last one, joined with it over up to `bridge` bytes.
    fn append(&mut self, range: Range, bridge: u64) -> Result<(), NoMemory> {
        // INVARIANT: A range that touches the last one becomes one with it.
        match self.ranges.last_mut() {
            Some(last) if last.touches(range) || gap(*last, range) <= bridge => {
                *last = last.hull(range);
                Ok(())
            }
            _ => self.ranges.try_push(range),
        }
    }

    fn append_if_any(&mut self, range: Option<Range>) -> Result<(), NoMemory> {
        range.map_or(Ok(()), |range| self.append(range, 0))
    }

    /// The ranges that have a byte in common with `range`.
    fn overlapping(&self, range: Range) -> &[Range] {
        self.ranges
            .get(overlapping(&self.ranges, range))
            .unwrap_or_default()
    }
}

impl Default for RangeSet {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes between two ranges of which the first is below the second; 0 if they touch or overlap.
pub(super) fn gap(low: Range, high: Range) -> u64 {
    high.first().saturating_sub(low.last()).saturating_sub(1)
}

/// Each range with the one after it.
fn pairs(ranges: &[Range]) -> impl Iterator<Item = (Range, Range)> + '_ {
    ranges
        .iter()
        .zip(ranges.iter().skip(1))
        .map(|(low, high)| (*low, *high))
}

/// Which of the ascending disjoint `ranges` overlap `range`: the start is where it would stand.
fn overlapping(ranges: &[Range], range: Range) -> ops::Range<usize> {
    ranges.partition_point(|r| r.last() < range.first())
        ..ranges.partition_point(|r| r.first() <= range.last())
}

/// Which of the ascending disjoint `ranges` touch `range`: the start is where it would stand.
fn touching(ranges: &[Range], range: Range) -> ops::Range<usize> {
    ranges.partition_point(|r| r.last() < range.first().saturating_sub(1))
        ..ranges.partition_point(|r| r.first() <= range.last().saturating_add(1))
}
