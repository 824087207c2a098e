// SPDX-License-Identifier: GPL-2.0

//! Completion queues. C header: include/linux/mlx5/device.h, `struct mlx5_cqe64`.

use crate::image::persist;
use crate::memory::Fault;
use crate::memory::Memory;
use crate::queue::Queue;

/// The size of an entry.
pub const LOG_CQE_SIZE: u32 = 6;
/// Counters on the wire have so many bits.
const COUNTER: u32 = 0xff_ffff;

/// `MLX5_CQE_RESP_SEND_IMM`
const RESP_SEND_IMM: u8 = 3;

/// A send with immediate that was received.
#[derive(Clone, Copy, Debug)]
pub struct Receive {
    /// The immediate.
    pub immediate: u32,
    /// Of the message.
    pub bytes: u32,
    /// The QP that received it.
    pub qpn: u32,
    /// The work request that it went into.
    pub wqe_counter: u16,
}

/// Why there is no completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The driver does not read the queue.
    Overrun,
    /// The queue's memory is gone.
    Fault(Fault),
    /// It had an error before.
    Error,
}

/// A completion queue.
#[derive(Debug)]
pub struct Cq {
    queue: Queue,
    /// Where its events go.
    pub eqn: u32,
    /// The doorbell record: the driver's consumer index.
    record: u64,
    produced: u32,
    armed: bool,
    failed: bool,
}

impl Cq {
    /// An empty queue that is not armed.
    pub fn new(queue: Queue, eqn: u32, record: u64) -> Self {
        Self {
            queue,
            eqn,
            record,
            produced: 0,
            armed: false,
            failed: false,
        }
    }

    /// Nothing gets in any more.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// Writes a completion; true if an event has to follow.
    pub fn post(&mut self, memory: &Memory, receive: &Receive) -> Result<bool, Lost> {
        if self.failed {
            return Err(Lost::Error);
        }
        let mut record = [0; 4];
        memory.read(self.record, &mut record).map_err(Lost::Fault)?;
        let consumed = u32::from_be_bytes(record) & COUNTER;
        if self.produced.wrapping_sub(consumed) & COUNTER >= self.queue.len() {
            return Err(Lost::Overrun);
        }
        let mut cqe = [0; 1 << LOG_CQE_SIZE];
        cqe[36..40].copy_from_slice(&receive.immediate.to_be_bytes());
        cqe[44..48].copy_from_slice(&receive.bytes.to_be_bytes());
        cqe[56..60].copy_from_slice(&receive.qpn.to_be_bytes());
        cqe[60..62].copy_from_slice(&receive.wqe_counter.to_be_bytes());
        cqe[63] = (RESP_SEND_IMM << 4) | self.queue.lap(self.produced);
        // The last word has the owner: what is before it has to be seen before it.
        let (body, last) = cqe.split_at(60);
        let entry = self.produced;
        self.queue
            .write(memory, entry, 0, body)
            .map_err(Lost::Fault)?;
        self.queue
            .write(memory, entry, 60, last)
            .map_err(Lost::Fault)?;
        self.produced = self.produced.wrapping_add(1) & COUNTER;
        Ok(std::mem::take(&mut self.armed))
    }

    /// The driver asks for an event for what follows `consumed`; true if that is there already.
    pub fn arm(&mut self, consumed: u32) -> bool {
        self.armed = self.produced == consumed & COUNTER;
        !self.armed
    }
}

persist!(Cq {
    queue,
    eqn,
    record,
    produced,
    armed,
    failed,
});
