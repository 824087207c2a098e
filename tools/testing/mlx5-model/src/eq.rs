// SPDX-License-Identifier: GPL-2.0

//! Event queues. C header: include/linux/mlx5/device.h, `struct mlx5_eqe`.

use crate::image::persist;
use crate::irq::Irqs;
use crate::memory::Fault;
use crate::memory::Memory;
use crate::queue::Queue;

/// The size of an entry.
pub const LOG_EQE_SIZE: u32 = 6;
/// Counters on the wire have so many bits.
const COUNTER: u32 = 0xff_ffff;

/// The part of an entry that depends on the event.
pub type EventData = [u8; 28];

/// An event queue.
#[derive(Debug)]
pub struct Eq {
    queue: Queue,
    vector: usize,
    /// Which events go here, a bit each.
    events: [u64; 4],
    produced: u32,
    consumed: u32,
    armed: bool,
}

/// Why an event did not get into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The host does not read it.
    Overrun,
    /// The queue's memory is gone.
    Fault(Fault),
}

impl Eq {
    /// An empty queue that does not interrupt before it is armed.
    pub fn new(queue: Queue, vector: usize, events: [u64; 4]) -> Self {
        Self {
            queue,
            vector,
            events,
            produced: 0,
            consumed: 0,
            armed: false,
        }
    }

    /// Whether events of type `kind` go here.
    pub fn takes(&self, kind: u8) -> bool {
        let word = self
            .events
            .get(usize::from(kind >> 6))
            .copied()
            .unwrap_or(0);
        (word >> (kind & 63)) & 1 != 0
    }

    /// Its interrupt.
    pub fn vector(&self) -> usize {
        self.vector
    }

    /// Writes an event, and interrupts if the queue is armed.
    pub fn post(
        &mut self,
        memory: &Memory,
        irqs: &mut Irqs,
        kind: u8,
        data: &EventData,
    ) -> Result<(), Lost> {
        if self.produced.wrapping_sub(self.consumed) & COUNTER >= self.queue.len() {
            return Err(Lost::Overrun);
        }
        let mut eqe = [0; 1 << LOG_EQE_SIZE];
        eqe[1] = kind;
        eqe[32..60].copy_from_slice(data);
        eqe[63] = self.queue.lap(self.produced);
        // The last word has the owner: what is before it has to be seen before it.
        let (body, last) = eqe.split_at(60);
        let entry = self.produced;
        self.queue
            .write(memory, entry, 0, body)
            .map_err(Lost::Fault)?;
        self.queue
            .write(memory, entry, 60, last)
            .map_err(Lost::Fault)?;
        self.produced = self.produced.wrapping_add(1) & COUNTER;
        if std::mem::take(&mut self.armed) {
            irqs.raise(self.vector);
        }
        Ok(())
    }

    /// The host's doorbell: how far it has read, and whether it wants an interrupt for what follows.
    pub fn doorbell(&mut self, irqs: &mut Irqs, consumed: u32, arm: bool) {
        self.consumed = consumed & COUNTER;
        if !arm {
            return;
        }
        self.armed = self.produced == self.consumed;
        if !self.armed {
            irqs.raise(self.vector);
        }
    }
}

persist!(Eq {
    queue,
    vector,
    events,
    produced,
    consumed,
    armed,
});
