// SPDX-License-Identifier: GPL-2.0

//! Memory for [`crate::logic`]: vectors that may fail to grow, charged to a memory cgroup.
//!
//! The host tests have the same interface over the standard library.

use kernel::{
    alloc::{
        flags::{
            GFP_KERNEL_ACCOUNT,
            __GFP_NOWARN, //
        },
        Flags,
        KVVec, //
    },
    prelude::*, //
};

/// Bytes in a page of memory.
pub const PAGE_SIZE: usize = kernel::page::PAGE_SIZE;

/// An allocation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMemory;

impl From<NoMemory> for Error {
    fn from(_: NoMemory) -> Self {
        ENOMEM
    }
}

/// A vector whose memory is charged to the memory cgroup in force (see [`crate::abi::memcg`]).
pub type Vec<T> = KVVec<T>;

/// Charged, with reclaim, but without the out-of-memory killer: a residual that cannot grow
/// over-reports, which is no reason to kill somebody.
fn flags() -> Flags {
    GFP_KERNEL_ACCOUNT | crate::abi::gfp::NORETRY | __GFP_NOWARN
}

/// What [`Vec`] offers beside what it shares with the standard library's.
pub trait TryVec<T> {
    /// Appends `v`.
    fn try_push(&mut self, v: T) -> Result<(), NoMemory>;
    /// Inserts `v` at index `at`; fails and changes nothing beyond the end.
    fn try_insert(&mut self, at: usize, v: T) -> Result<(), NoMemory>;
    /// Removes the element at index `at`.
    fn take_at(&mut self, at: usize) -> Option<T>;
    /// Makes room for `additional` more elements.
    fn try_reserve_for(&mut self, additional: usize) -> Result<(), NoMemory>;
    /// Bytes of memory held.
    fn bytes(&self) -> usize;
}

impl<T> TryVec<T> for Vec<T> {
    fn try_push(&mut self, v: T) -> Result<(), NoMemory> {
        self.push(v, flags()).map_err(|_| NoMemory)
    }

    fn try_insert(&mut self, at: usize, v: T) -> Result<(), NoMemory> {
        self.reserve(1, flags()).map_err(|_| NoMemory)?;
        self.insert_within_capacity(at, v).map_err(|_| NoMemory)
    }

    fn take_at(&mut self, at: usize) -> Option<T> {
        self.remove(at).ok()
    }

    fn try_reserve_for(&mut self, additional: usize) -> Result<(), NoMemory> {
        self.reserve(additional, flags()).map_err(|_| NoMemory)
    }

    fn bytes(&self) -> usize {
        self.capacity().saturating_mul(core::mem::size_of::<T>())
    }
}
