// SPDX-License-Identifier: GPL-2.0

//! Numbers that firmware gives out and takes back.

use std::collections::BTreeSet;

/// The numbers of a range, those in use and those free.
#[derive(Debug)]
pub struct Ids {
    first: u32,
    end: u32,
    used: BTreeSet<u32>,
    next: u32,
}

impl Ids {
    /// `first..end`, all free.
    pub fn new(first: u32, end: u32) -> Self {
        Self {
            first,
            end,
            used: BTreeSet::new(),
            next: first,
        }
    }

    /// One that is free. What was freed is not given out again soon: who uses a stale number is
    /// found out.
    pub fn alloc(&mut self) -> Option<u32> {
        let around = (self.next..self.end).chain(self.first..self.next);
        let id = around.into_iter().find(|id| !self.used.contains(id))?;
        self.used.insert(id);
        self.next = if id + 1 < self.end {
            id + 1
        } else {
            self.first
        };
        Some(id)
    }

    /// Takes one back; `None` if it was not in use.
    pub fn free(&mut self, id: u32) -> Option<()> {
        self.used.remove(&id).then_some(())
    }

    /// Whether it is in use.
    pub fn contains(&self, id: u32) -> bool {
        self.used.contains(&id)
    }

    /// How many are in use.
    pub fn used(&self) -> usize {
        self.used.len()
    }
}
