// SPDX-License-Identifier: GPL-2.0

//! MSI-X vectors: an eventfd each, as far as the client gave one.

use std::fs::File;
use std::io::Write;

#[derive(Debug, Default)]
struct Vector {
    eventfd: Option<File>,
    /// Raised while there was no eventfd.
    pending: bool,
}

/// The vectors of one function.
#[derive(Debug)]
pub struct Irqs {
    vectors: Vec<Vector>,
    /// How often each was raised.
    pub raised: u64,
}

impl Irqs {
    /// `count` vectors, none of which leads anywhere.
    pub fn new(count: usize) -> Self {
        let mut vectors = Vec::new();
        vectors.resize_with(count, Vector::default);
        Self { vectors, raised: 0 }
    }

    /// How many vectors there are.
    pub fn count(&self) -> usize {
        self.vectors.len()
    }

    /// Sets the eventfd of a vector, and delivers what is pending; `None` if there is no such vector.
    pub fn set(&mut self, index: usize, eventfd: Option<File>) -> Option<()> {
        let vector = self.vectors.get_mut(index)?;
        vector.eventfd = eventfd;
        if vector.eventfd.is_some() && std::mem::take(&mut vector.pending) {
            self.raise(index);
        }
        Some(())
    }

    /// No vector leads anywhere, and none is pending.
    pub fn clear(&mut self) {
        self.vectors.fill_with(Vector::default);
    }

    /// Interrupts.
    pub fn raise(&mut self, index: usize) {
        let Some(vector) = self.vectors.get_mut(index) else {
            return;
        };
        self.raised += 1;
        let sent = vector
            .eventfd
            .as_mut()
            .is_some_and(|file| file.write_all(&1u64.to_ne_bytes()).is_ok());
        vector.pending = !sent;
    }

    /// The pending bits, as the PBA has them.
    pub fn pending(&self) -> u64 {
        let bits = self.vectors.iter().take(64).enumerate();
        bits.fold(0, |sum, (n, vector)| sum | (u64::from(vector.pending) << n))
    }
}
