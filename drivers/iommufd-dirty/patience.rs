// SPDX-License-Identifier: GPL-2.0

//! When a signal ends the call of a tracker that does many things one after another.
//!
//! Such a call begins anew when it is made again. If each signal ended it at once, a timer could
//! keep a read from ever being complete. So it is given a while, and twice as long after each time
//! that was too short. What kills the task ends it at once.

use kernel::{
    task::Task,
    time::{
        Instant,
        Monotonic, //
    }, //
};

const FIRST_MS: i64 = 50;

/// How long the next read is given.
#[derive(Clone, Copy)]
pub(crate) struct Allowance(i64);

impl Allowance {
    pub(crate) fn new() -> Self {
        Self(FIRST_MS)
    }

    /// A read had not enough time, or had.
    pub(crate) fn learn(&mut self, was_short: bool) {
        self.0 = if was_short {
            self.0.saturating_mul(2)
        } else {
            FIRST_MS
        };
    }
}

/// What the calls of one read are given.
pub(crate) struct Patience<'a> {
    /// The task that made the system call. The calls may run in others.
    caller: &'a Task,
    begin: Instant<Monotonic>,
    ms: i64,
}

impl<'a> Patience<'a> {
    /// From now on, for a system call of `caller`.
    pub(crate) fn new(caller: &'a Task, allowance: Allowance) -> Self {
        Self {
            caller,
            begin: Instant::now(),
            ms: allowance.0,
        }
    }

    /// Must the call end?
    pub(crate) fn has_ended(&self) -> bool {
        self.caller.signal_pending()
            && (self.begin.elapsed().as_millis() >= self.ms || crate::abi::is_killed(self.caller))
    }
}
