// SPDX-License-Identifier: GPL-2.0

//! The memory of the modules under test: as `drivers/iommufd-dirty/mem.rs`, over the host's
//! vectors, and with failures on demand.

extern crate std;

use core::mem::size_of;
use std::{
    cell::Cell,
    thread_local, //
};

/// Bytes in a page of memory: what most kernels have.
pub const PAGE_SIZE: usize = 4096;

/// Out of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMemory;

/// A vector.
pub type Vec<T> = std::vec::Vec<T>;

/// What a vector does that may fail for want of memory, and what has no common name.
pub trait TryVec<T> {
    /// Adds an element at the end.
    fn try_push(&mut self, v: T) -> Result<(), NoMemory>;
    /// Inserts an element at index `at`. Nothing has changed if `at` is beyond the end, which is
    /// [`NoMemory`] too.
    fn try_insert(&mut self, at: usize, v: T) -> Result<(), NoMemory>;
    /// Removes the element at index `at`, if there is one.
    fn take_at(&mut self, at: usize) -> Option<T>;
    /// Makes room for `additional` more elements.
    fn try_reserve_for(&mut self, additional: usize) -> Result<(), NoMemory>;
    /// Bytes of memory held for elements.
    fn bytes(&self) -> usize;
}

impl<T> TryVec<T> for Vec<T> {
    fn try_push(&mut self, v: T) -> Result<(), NoMemory> {
        self.try_reserve_for(1)?;
        self.push(v);
        Ok(())
    }

    fn try_insert(&mut self, at: usize, v: T) -> Result<(), NoMemory> {
        if at > self.len() {
            return Err(NoMemory);
        }
        self.try_reserve_for(1)?;
        self.insert(at, v);
        Ok(())
    }

    fn take_at(&mut self, at: usize) -> Option<T> {
        (at < self.len()).then(|| self.remove(at))
    }

    fn try_reserve_for(&mut self, additional: usize) -> Result<(), NoMemory> {
        if self.capacity() - self.len() < additional {
            allocate()?;
            self.try_reserve(additional).map_err(|_| NoMemory)?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.capacity() * size_of::<T>()
    }
}

/// Which allocations of this thread fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fail {
    /// None.
    Never,
    /// The n-th from now, counted from 0, and no other.
    Nth(usize),
    /// The n-th from now, counted from 0, and all after it.
    From(usize),
}

thread_local! {
    static FAIL: Cell<Fail> = const { Cell::new(Fail::Never) };
    static FAILED: Cell<usize> = const { Cell::new(0) };
}

/// Sets which allocations of this thread fail; returns how many did since the last call.
pub fn fail(which: Fail) -> usize {
    FAIL.set(which);
    FAILED.replace(0)
}

fn allocate() -> Result<(), NoMemory> {
    let (fails, next) = match FAIL.get() {
        Fail::Never => (false, Fail::Never),
        Fail::Nth(0) => (true, Fail::Never),
        Fail::Nth(n) => (false, Fail::Nth(n - 1)),
        Fail::From(0) => (true, Fail::From(0)),
        Fail::From(n) => (false, Fail::From(n - 1)),
    };

    FAIL.set(next);
    if fails {
        FAILED.set(FAILED.get() + 1);
        return Err(NoMemory);
    }
    Ok(())
}
