// SPDX-License-Identifier: GPL-2.0

//! What is read at once: the windows of one request or of many small ones.
//!
//! A tracker that waits for hardware is read once for all of them, so that many ranges do not cost
//! many commands. What lies between them is read as well: it must not be much, see
//! [`Batch::push()`].

use super::{
    bits::{
        Bits,
        USER_PAGE_BITS, //
    },
    range::Range,
    range_set::RangeSet,
    window::Window, //
};
use crate::mem::{
    TryVec,
    Vec, //
};

/// Windows of a batch: so many ranges of a page each take one command.
const MAX_SLOTS: usize = 4096;

/// A window, and where its bitmap is among the pinned pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The part of the request.
    pub window: Window,
    /// Number of the element of the user's array.
    pub element: u32,
    /// The first bit of the window's first page, counted from the first pinned page.
    base: u64,
}

impl Slot {
    /// The bits, counted from the first pinned page, that `dirty` has a byte in; `None` if it is
    /// outside.
    pub fn bits(&self, dirty: Range) -> Option<Bits> {
        let bits = self.window.bits(dirty)?;

        Some(Bits {
            first: bits.first.saturating_add(self.base),
            count: bits.count,
        })
    }

    /// To look up bits in the window.
    pub fn locator(&self) -> Locator {
        Locator {
            first: self.window.range.first(),
            bit: self.window.first_bit.saturating_add(self.base),
            shift: self.window.shift,
        }
    }
}

/// Which bits stand for what is inside of a window: [`Slot::bits`] without the checks.
#[derive(Debug, Clone, Copy)]
pub struct Locator {
    /// The first address of the window.
    first: u64,
    /// The bit that stands for it.
    bit: u64,
    shift: u32,
}

impl Locator {
    /// The first and the last bit of `inside`, which is inside of the window; else any two.
    pub fn ends(&self, inside: Range) -> (u64, u64) {
        let bit =
            |address: u64| (address.wrapping_sub(self.first) >> self.shift).wrapping_add(self.bit);

        (bit(inside.first()), bit(inside.last()))
    }
}

/// Windows that ascend and do not overlap.
///
/// # Invariants
///
/// The windows of `slots` ascend, and no two of them have a byte in common.
pub struct Batch {
    slots: Vec<Slot>,
    /// Bytes between the windows that the context tracks.
    between: u64,
}

impl Batch {
    /// An empty one. Allocates nothing.
    pub const fn new() -> Self {
        // INVARIANT: There are no windows.
        Self {
            slots: Vec::new(),
            between: 0,
        }
    }

    /// Makes it empty; the memory stays.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.between = 0;
    }

    /// The windows, ascending.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.slots.bytes()
    }

    /// Is `window` above all others, and near enough to them that at most `between` bytes are read
    /// in vain, of those that are `tracked`? The first one always is. Else it belongs to the next
    /// batch.
    pub fn takes(&self, window: &Window, tracked: &RangeSet, between: u64) -> bool {
        let Some(last) = self.slots.last() else {
            return true;
        };
        if window.range.first() <= last.window.range.last() || self.slots.len() >= MAX_SLOTS {
            return false;
        }
        self.gap(window, tracked) <= between
    }

    /// Adds a window that it [`takes`](Self::takes), whose first page is the pinned page number
    /// `page`. `false` if there is no memory for more.
    pub fn push(&mut self, window: Window, element: u32, page: usize, tracked: &RangeSet) -> bool {
        let between = self.gap(&window, tracked);
        let slot = Slot {
            window,
            element,
            base: (page as u64).saturating_mul(USER_PAGE_BITS),
        };

        // INVARIANT: The caller has asked whether it is above the last one.
        let pushed = self.slots.try_push(slot).is_ok();
        if pushed {
            self.between = between;
        }
        pushed
    }

    /// Bytes between the windows that are tracked, with `window` added.
    fn gap(&self, window: &Window, tracked: &RangeSet) -> u64 {
        let gap = self.slots.last().and_then(|last| {
            let first = last.window.range.last().checked_add(1)?;
            Range::inclusive(first, window.range.first().checked_sub(1)?)
        });

        gap.map_or(self.between, |gap| {
            self.between.saturating_add(tracked.bytes_within(gap))
        })
    }

    /// From the first to the last byte; `None` if it is empty.
    pub fn hull(&self) -> Option<Range> {
        match self.slots.as_slice() {
            [one] => Some(one.window.range),
            [first, .., last] => Some(first.window.range.hull(last.window.range)),
            [] => None,
        }
    }

    /// Index of the first window that does not lie below `address`.
    pub fn seek(&self, address: u64) -> usize {
        self.slots
            .partition_point(|slot| slot.window.range.last() < address)
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}
