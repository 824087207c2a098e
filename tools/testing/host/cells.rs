// SPDX-License-Identifier: GPL-2.0

//! What the tree is made of: as `drivers/iommufd-dirty-vfio/cells.rs`, over the host's standard
//! library. Counts what a read looks at, and can let something happen between two steps.

extern crate std;

use std::{
    cell::{
        Cell,
        RefCell, //
    },
    sync::{
        atomic::{
            AtomicU64,
            Ordering, //
        },
        OnceLock, //
    },
    thread_local, //
};

/// Owned memory.
pub type Box<T> = std::boxed::Box<T>;

/// Steps that no thread makes.
const NEVER: usize = usize::MAX;

thread_local! {
    static LOOKS: Cell<usize> = const { Cell::new(0) };
    static LEFT: Cell<usize> = const { Cell::new(NEVER) };
    static INNER: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// How many words this thread has looked at since the last call.
pub fn looks() -> usize {
    LOOKS.replace(0)
}

/// Calls `outer`, and `inner` before the word that `outer` accesses after `steps` others. Were there so
/// many?
pub fn in_the_middle(steps: usize, inner: impl FnOnce() + 'static, outer: impl FnOnce()) -> bool {
    LEFT.set(steps);
    INNER.replace(Some(Box::new(inner)));
    outer();
    LEFT.set(NEVER);
    INNER.take().is_none()
}

fn step() {
    match LEFT.get() {
        NEVER => (),
        0 => {
            LEFT.set(NEVER);
            let inner = INNER.take();
            inner.into_iter().for_each(|inner| inner());
        }
        left => LEFT.set(left - 1),
    }
}

/// 64 bits that many change at once.
#[derive(Debug, Default)]
pub struct Word(AtomicU64);

impl Word {
    /// All bits are 0.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The bits.
    pub fn get(&self) -> u64 {
        LOOKS.set(LOOKS.get() + 1);
        step();
        self.0.load(Ordering::Relaxed)
    }

    /// Sets `bits`.
    pub fn set(&self, bits: u64) {
        step();
        self.0.fetch_or(bits, Ordering::SeqCst);
    }

    /// Clears `bits` and returns those that were set.
    pub fn take(&self, bits: u64) -> u64 {
        step();
        self.0.fetch_and(!bits, Ordering::SeqCst) & bits
    }
}

/// A place for an allocation.
#[derive(Debug)]
pub struct Slot<T>(OnceLock<Box<T>>);

impl<T> Slot<T> {
    /// An empty one.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// What is in it.
    pub fn get(&self) -> Option<&T> {
        self.0.get().map(|owned| &**owned)
    }

    /// Puts `new` into it if it is empty. Returns what is in it then, and `new` if that is not it.
    pub fn install(&self, new: Box<T>) -> (&T, Option<Box<T>>) {
        let mut new = Some(new);
        let owned = self.0.get_or_init(|| new.take().unwrap());
        (&**owned, new)
    }
}
