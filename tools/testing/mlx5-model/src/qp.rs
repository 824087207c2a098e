// SPDX-License-Identifier: GPL-2.0

//! Queue pairs of reliable connections, both ends of which are in this device.
//!
//! The driver only receives: a send queue has the firmware, and its work requests are messages.

use std::collections::VecDeque;

use crate::image::persist;
use crate::image::persist_enum;
use crate::queue::Queue;

/// `MLX5_RCV_DBR`: the word of the doorbell record that counts the posted receives.
const RECEIVE_RECORD: u64 = 0;

/// The states of a queue pair that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum State {
    Reset,
    Init,
    ReadyToReceive,
    ReadyToSend,
    Error,
}

/// The receive queue of a QP that has one.
#[derive(Debug)]
pub struct ReceiveQueue {
    /// Its work requests.
    pub queue: Queue,
    /// Where its completions go.
    pub cqn: u32,
    record: u64,
    /// How many receives were used.
    pub consumed: u16,
}

impl ReceiveQueue {
    /// With the doorbell record at `record`.
    pub fn new(queue: Queue, cqn: u32, record: u64) -> Self {
        Self {
            queue,
            cqn,
            record,
            consumed: 0,
        }
    }

    /// Where the driver counts what it posted.
    pub fn record(&self) -> u64 {
        self.record.wrapping_add(RECEIVE_RECORD)
    }
}

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The immediate.
    pub immediate: u32,
    /// What it says.
    pub data: Vec<u8>,
}

/// A queue pair.
#[derive(Debug)]
pub struct Qp {
    /// Its protection domain.
    pub pd: u32,
    /// Its state.
    pub state: State,
    /// The other end.
    pub remote: u32,
    /// `None` for the firmware's end.
    pub receive: Option<ReceiveQueue>,
    /// What waits for the other end to post receives.
    pub sends: VecDeque<Message>,
}

impl Qp {
    /// In reset.
    pub fn new(pd: u32, receive: Option<ReceiveQueue>) -> Self {
        Self {
            pd,
            state: State::Reset,
            remote: 0,
            receive,
            sends: VecDeque::new(),
        }
    }
}

persist_enum!(State {
    Reset,
    Init,
    ReadyToReceive,
    ReadyToSend,
    Error,
});
persist!(ReceiveQueue {
    queue,
    cqn,
    record,
    consumed,
});
persist!(Message { immediate, data });
persist!(Qp {
    pd,
    state,
    remote,
    receive,
    sends,
});
