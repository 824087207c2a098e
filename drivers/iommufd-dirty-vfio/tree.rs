// SPDX-License-Identifier: GPL-2.0

//! A sparse bitmap of pages that many may mark while one reads it.
//!
//! Pages are numbered. A [`Leaf`] has a bit for each of its pages; above it are levels of [`Node`]s
//! with 64 children each, enough for any page number, of which only those exist that something was
//! marked in. Each node has a bit for each child that may have something dirty: a read looks at
//! nothing else, so that to scan what is clean costs next to nothing, whether it was written before
//! or not.
//!
//! # Order
//!
//! A marker sets bits from the bottom up, a reader clears them from the top down before it looks
//! below, and both do so with full ordering. So whoever marks what the reader has passed finds the
//! bit above cleared and sets it again: it is read the next time. For the same reason a bit of a
//! leaf is set even if it is set already: what was written before is then visible to whoever takes
//! the bit.
//!
//! # When memory ends
//!
//! What cannot be allocated is remembered in the node above as one bit, *whole*: all of that child
//! is dirty. It is reported once, like any other mark, and is told apart: nobody knows which of its
//! pages were marked.

use crate::cells::{
    Box,
    Slot,
    Word, //
};

/// Children of a node, words of a leaf, and bits of a word; and log2 of it.
const FANOUT: usize = 64;
const FANOUT_BITS: u32 = 6;

/// Where the memory for nodes comes from.
pub trait Room {
    /// `None` if there is none.
    fn allocate<T>(&self, value: T) -> Option<Box<T>>;
    /// Takes back what was not needed.
    fn give_back<T>(&self, unused: Box<T>);
}

/// What a read does with what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Makes it clean.
    Clear,
    /// Leaves it dirty.
    Keep,
    /// Makes it clean because it is not tracked any more. What is whole and reaches beyond the
    /// pages that are read stays, for those that are tracked still.
    Forget,
}

/// Pages that were found dirty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first page.
    pub first: u64,
    /// The last page.
    pub last: u64,
    /// Each of them was marked. If not, some were, and there was no memory to tell which.
    pub sure: bool,
}

impl Run {
    fn sure(first: u64, last: u64) -> Self {
        Self {
            first,
            last,
            sure: true,
        }
    }
}

/// A level of the tree. `first` and `last` are numbers of pages that all lie in one node of it.
trait Level: Sized + Send + Sync {
    /// log2 of the pages of one node.
    const PAGES_BITS: u32;

    fn new() -> Self;

    /// Makes the pages `first..=last` dirty.
    fn mark(&self, first: u64, last: u64, room: &impl Room);

    /// Calls `found` for the dirty ones of the pages `first..=last`. Is anything left that is
    /// dirty?
    fn read(&self, first: u64, last: u64, then: Then, found: &mut impl FnMut(Run)) -> bool;
}

/// Bit `n % 64`.
fn bit(n: u64) -> u64 {
    1u64.wrapping_shl(n as u32)
}

/// The bits `first % 64` to `last % 64`, if both are in the same word.
fn bits(first: u64, last: u64) -> u64 {
    u64::MAX.wrapping_shl(first as u32) & u64::MAX.wrapping_shr(!last as u32)
}

/// Page `first` to `last`, without what is not in child `n` of a level with nodes of 2^`shift`
/// pages.
fn clip(n: u64, shift: u32, first: u64, last: u64) -> (u64, u64) {
    let (low, high) = span(n, shift);
    (first.max(low), last.min(high))
}

/// The first and the last page of node `n` of such a level.
fn span(n: u64, shift: u32) -> (u64, u64) {
    let low = n << shift;
    (low, low | !(u64::MAX << shift))
}

/// The element for node or word `n`.
fn of<T>(all: &[T; FANOUT], n: u64) -> Option<&T> {
    all.get(n as usize % FANOUT)
}

struct Leaf {
    words: [Word; FANOUT],
}

impl Level for Leaf {
    const PAGES_BITS: u32 = 2 * FANOUT_BITS;

    fn new() -> Self {
        Self {
            words: [const { Word::new() }; FANOUT],
        }
    }

    fn mark(&self, first: u64, last: u64, _room: &impl Room) {
        for n in first >> FANOUT_BITS..=last >> FANOUT_BITS {
            let (first, last) = clip(n, FANOUT_BITS, first, last);
            if let Some(word) = of(&self.words, n) {
                word.set(bits(first, last));
            }
        }
    }

    fn read(&self, first: u64, last: u64, then: Then, found: &mut impl FnMut(Run)) -> bool {
        for n in first >> FANOUT_BITS..=last >> FANOUT_BITS {
            let (first, last) = clip(n, FANOUT_BITS, first, last);
            let wanted = bits(first, last);
            let mut dirty = match of(&self.words, n) {
                Some(word) if word.get() & wanted == 0 => 0,
                Some(word) if then == Then::Keep => word.get() & wanted,
                Some(word) => word.take(wanted),
                None => 0,
            };
            while dirty != 0 {
                let at = dirty.trailing_zeros();
                let end = at.saturating_add((dirty >> at).trailing_ones());
                let page = |bit: u32| n << FANOUT_BITS | u64::from(bit);
                let (first, last) = (page(at), page(end.saturating_sub(1)));
                found(Run::sure(first, last));
                dirty &= !bits(first, last);
            }
        }
        self.words.iter().any(|word| word.get() != 0)
    }
}

struct Node<C> {
    /// The children that may have something dirty.
    dirty: Word,
    /// The children of which everything is dirty.
    whole: Word,
    children: [Slot<C>; FANOUT],
}

impl<C: Level> Node<C> {
    /// Child `n`, made if there is none. `None` if it could not be.
    fn child(&self, n: u64, room: &impl Room) -> Option<&C> {
        let slot = of(&self.children, n)?;
        match slot.get() {
            Some(child) => Some(child),
            None => Self::make(slot, room),
        }
    }

    // Not inlined: the new child is on this function's stack, and not on that of each level.
    #[inline(never)]
    fn make<'a>(slot: &'a Slot<C>, room: &impl Room) -> Option<&'a C> {
        let (child, unused) = slot.install(room.allocate(C::new())?);
        if let Some(unused) = unused {
            // Another marker was faster.
            room.give_back(unused);
        }
        Some(child)
    }
}

impl<C: Level> Level for Node<C> {
    const PAGES_BITS: u32 = C::PAGES_BITS + FANOUT_BITS;

    fn new() -> Self {
        Self {
            dirty: Word::new(),
            whole: Word::new(),
            children: [const { Slot::new() }; FANOUT],
        }
    }

    fn mark(&self, first: u64, last: u64, room: &impl Room) {
        for n in first >> C::PAGES_BITS..=last >> C::PAGES_BITS {
            let (first, last) = clip(n, C::PAGES_BITS, first, last);
            match self.child(n, room) {
                Some(child) => child.mark(first, last, room),
                None => self.whole.set(bit(n)),
            }
            // Ordered after what was set below, which was set with full ordering.
            if self.dirty.get() & bit(n) == 0 {
                self.dirty.set(bit(n));
            }
        }
    }

    fn read(&self, first: u64, last: u64, then: Then, found: &mut impl FnMut(Run)) -> bool {
        let low = first >> C::PAGES_BITS;
        let mut dirty = self.dirty.get() & bits(low, last >> C::PAGES_BITS);
        while dirty != 0 {
            let n = low & !(FANOUT as u64 - 1) | u64::from(dirty.trailing_zeros());
            dirty &= !bit(n);
            if then != Then::Keep {
                // Before looking below.
                self.dirty.take(bit(n));
            }
            let all = span(n, C::PAGES_BITS);
            let (first, last) = clip(n, C::PAGES_BITS, first, last);
            let stays = match then {
                Then::Clear => false,
                Then::Keep => true,
                Then::Forget => (first, last) != all,
            };
            let whole = if stays {
                self.whole.get() & bit(n)
            } else {
                self.whole.take(bit(n))
            };
            if whole != 0 {
                found(Run {
                    first: all.0,
                    last: all.1,
                    sure: false,
                });
            }
            let child = of(&self.children, n).and_then(Slot::get);
            let mut left = child.is_some_and(|child| child.read(first, last, then, found));
            left |= stays && whole != 0;
            if left && then != Then::Keep {
                self.dirty.set(bit(n));
            }
        }
        self.dirty.get() != 0
    }
}

type Root = Node<Node<Node<Node<Node<Node<Node<Leaf>>>>>>>;

/// The sparse bitmap.
pub struct Tree {
    root: Root,
}

/// The last page that there can be.
pub const LAST_PAGE: u64 = (1 << 52) - 1;

const _: () = assert!(Root::PAGES_BITS >= 52);

impl Tree {
    /// Everything is clean. Allocates nothing.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self { root: Root::new() }
    }

    /// Makes the pages `first..=last` dirty.
    pub fn mark(&self, first: u64, last: u64, room: &impl Room) {
        let last = last.min(LAST_PAGE);
        if first <= last {
            self.root.mark(first, last, room);
        }
    }

    /// Calls `found` with each run of dirty pages among `first..=last`, ascending. Of what is dirty
    /// for want of memory a run is told whole, also beyond these pages, and pages of it may be told
    /// twice. One read at a time.
    pub fn read(&self, first: u64, last: u64, then: Then, mut found: impl FnMut(Run)) {
        let last = last.min(LAST_PAGE);
        let mut run: Option<Run> = None;
        if first > last {
            return;
        }
        self.root
            .read(first, last, then, &mut |next| match &mut run {
                Some(run) if run.last.saturating_add(1) == next.first && run.sure == next.sure => {
                    run.last = next.last;
                }
                _ => {
                    if let Some(run) = run.replace(next) {
                        found(run);
                    }
                }
            });
        if let Some(run) = run {
            found(run);
        }
    }

    /// Makes the pages `first..=last` clean, which are not tracked any more.
    pub fn forget(&self, first: u64, last: u64) {
        self.read(first, last, Then::Forget, |_| ());
    }
}
