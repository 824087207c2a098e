// SPDX-License-Identifier: GPL-2.0

//! Objects by the numbers that firmware gives them.

use std::collections::BTreeMap;

use crate::image::Persist;
use crate::image::Reader;

/// Objects with numbers of a range.
#[derive(Debug)]
pub struct Table<T> {
    first: u32,
    end: u32,
    next: u32,
    objects: BTreeMap<u32, T>,
}

impl<T> Table<T> {
    /// Empty, for the numbers `first..end`.
    pub fn new(first: u32, end: u32) -> Self {
        Self {
            first,
            end,
            next: first,
            objects: BTreeMap::new(),
        }
    }

    /// Adds an object; its number, or `None` if there is no more. What was freed is not given out
    /// again soon: the use of a stale number is detected.
    pub fn insert(&mut self, object: T) -> Option<u32> {
        let mut around = (self.next..self.end).chain(self.first..self.next);
        let id = around.find(|id| !self.objects.contains_key(id))?;
        self.objects.insert(id, object);
        self.next = if id + 1 < self.end {
            id + 1
        } else {
            self.first
        };
        Some(id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Removes one.
    pub fn remove(&mut self, id: u32) -> Option<T> {
        self.objects.remove(&id)
    }

    /// Whether there is one.
    pub fn contains(&self, id: u32) -> bool {
        self.objects.contains_key(&id)
    }

    /// One of them.
    pub fn get(&self, id: u32) -> Option<&T> {
        self.objects.get(&id)
    }

    /// One of them.
    pub fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.objects.get_mut(&id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.objects.iter().map(|(id, object)| (*id, object))
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        self.objects.iter_mut().map(|(id, object)| (*id, object))
    }
}

impl<T: Persist> Persist for Table<T> {
    fn save(&self, image: &mut Vec<u8>) {
        self.first.save(image);
        self.end.save(image);
        self.next.save(image);
        self.objects.save(image);
    }

    fn load(image: &mut Reader<'_>) -> Option<Self> {
        let table = Self {
            first: u32::load(image)?,
            end: u32::load(image)?,
            next: u32::load(image)?,
            objects: BTreeMap::load(image)?,
        };
        let all = table.first..table.end;
        let valid = all.contains(&table.next) && table.objects.keys().all(|id| all.contains(id));
        valid.then_some(table)
    }
}
