// SPDX-License-Identifier: GPL-2.0

//! What [`crate::tree`] is made of, in the kernel. The host tests have the same over the standard
//! library.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    }, //
};

pub(crate) use crate::abi::slot::Slot;

/// Owned memory.
pub(crate) type Box<T> = KBox<T>;

/// 64 bits that many change at once.
pub(crate) struct Word(Atomic<u64>);

impl Word {
    /// All bits are 0.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// The bits, without any order.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Sets `bits`; fully ordered, also if they are set already.
    pub(crate) fn set(&self, bits: u64) {
        let _ = self.change(|old| old | bits);
    }

    /// Clears `bits` and returns those that were set; fully ordered.
    pub(crate) fn take(&self, bits: u64) -> u64 {
        self.change(|old| old & !bits) & bits
    }

    fn change(&self, f: impl Fn(u64) -> u64) -> u64 {
        let mut old = self.get();
        loop {
            match self.0.cmpxchg(old, f(old), Full) {
                Ok(old) => return old,
                Err(now) => old = now,
            }
        }
    }
}
