// SPDX-License-Identifier: GPL-2.0

//! The state of a VF on its way out: what the firmware has saved, until it was read.
//!
//! While the VF runs the firmware saves its state, and then what has changed; when it is stopped,
//! the rest. So the stream has ends that are none, and whoever reads it is told which one this is.
//! It begins with how much memory the rest will take at a time: to set that aside takes whoever
//! loads it longer than anything else, and can be done while the VF still runs.
//!
//! Uses `core` only: the same source is in the host crate.

use crate::image::{
    self,
    HEADER,
    MAX_ROOM,
    ROOM_RECORD, //
};

/// As many records are kept at a time: more than there can be of one state, and then some that are
/// initial again.
const RECORDS: usize = 6;
/// A chunk has so many bytes, if there is more to save.
const CHUNK: u64 = 8 << 20;
/// What memory is had in.
const PAGE: u64 = 4096;

/// Bytes of memory to save into, for `needed` at least: for the rest of a state with `all` bytes
/// that is saved in chunks; or for what may have grown by then, if it `runs`.
pub fn room(needed: u64, all: u64, chunks: bool, runs: bool) -> u64 {
    let bytes = if chunks {
        needed.max(all.min(CHUNK))
    } else if runs {
        needed.saturating_add(needed / 10)
    } else {
        needed
    };
    // A page at least: there is no key to nothing.
    bytes
        .clamp(1, MAX_ROOM)
        .saturating_add(PAGE - 1)
        .wrapping_div(PAGE)
        .wrapping_mul(PAGE)
}

/// What the firmware has saved.
pub trait Data {
    /// Why it cannot be read.
    type Error;

    /// Copies what is at `at` of it.
    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), Self::Error>;
}

/// A record of the stream, from its header on.
struct Record<D> {
    head: [u8; ROOM_RECORD],
    /// Bytes of that.
    head_len: usize,
    data: Option<D>,
    /// Bytes of data.
    length: u64,
}

impl<D: Data> Record<D> {
    fn new(head: &[u8], data: Option<D>, length: u64) -> Self {
        let mut bytes = [0; ROOM_RECORD];
        for (to, from) in bytes.iter_mut().zip(head) {
            *to = *from;
        }
        Self {
            head: bytes,
            head_len: head.len(),
            data,
            length,
        }
    }

    fn len(&self) -> u64 {
        (self.head_len as u64).saturating_add(self.length)
    }

    /// Copies what is at `at` of it; returns how many bytes there are.
    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<usize, D::Error> {
        let head = self.head.get(..self.head_len).unwrap_or_default();
        let begin = usize::try_from(at).unwrap_or(usize::MAX);
        if let Some(part @ [_, ..]) = head.get(begin..) {
            for (to, from) in bytes.iter_mut().zip(part) {
                *to = *from;
            }
            return Ok(part.len().min(bytes.len()));
        }
        let at = at.saturating_sub(head.len() as u64);
        let left = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let len = left.min(bytes.len());
        let bytes = bytes.get_mut(..len).unwrap_or_default();
        match &self.data {
            Some(data) if !bytes.is_empty() => data.read(at, bytes)?,
            _ => return Ok(0),
        }
        Ok(bytes.len())
    }
}

/// How far the saving is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The VF runs, and what changes is noted.
    Tracked,
    /// As above, but the firmware does not note it any more. All of the state comes at the end.
    Untracked,
    /// The VF is stopped, and the rest of the state is being saved.
    Rest,
    /// All was saved.
    Complete,
    /// It went wrong.
    Failed,
}

/// What there is for whoever reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Bytes.
    Bytes,
    /// Nothing yet.
    Wait,
    /// Nothing, unless the state changes.
    NoMore,
    /// Nothing any more: that was all.
    End,
    /// Nothing any more: it went wrong.
    Failed,
}

/// What there is to be read while the VF runs, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Of what has to be read before the VF stops.
    pub initial: u64,
    /// Of what has changed.
    pub dirty: u64,
}

/// What was saved, and was not read yet.
pub struct Queue<D> {
    /// From the front on there are no gaps.
    records: [Option<Record<D>>; RECORDS],
    /// Bytes of the first one that were read.
    read: u64,
    /// Bytes that are not read.
    left: u64,
    /// Of these, at the front: what has to be read before the VF stops.
    initial: u64,
    /// How far the saving is.
    pub phase: Phase,
}

impl<D: Data> Queue<D> {
    /// Of a VF that runs or does not. The rest of its state takes `room` bytes of memory at a time.
    pub fn new(room: u64, runs: bool) -> Self {
        let first = Record::new(&image::room(room), None, 0);
        let len = first.len();
        let mut records = [const { None }; RECORDS];
        if let Some(slot) = records.first_mut() {
            *slot = Some(first);
        }
        Self {
            records,
            read: 0,
            left: len,
            initial: if runs { len } else { 0 },
            phase: if runs { Phase::Tracked } else { Phase::Rest },
        }
    }

    /// Is there nothing to be read?
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Is there room for another record?
    pub fn has_room(&self) -> bool {
        matches!(self.records.last(), Some(None))
    }

    /// Adds what the firmware has saved, `length` bytes of `data`, that have to be read before the
    /// VF stops if they are `initial`. Gives `data` back if there is no room.
    pub fn push(&mut self, data: D, length: u64, initial: bool) -> Result<(), D> {
        let Some(slot) = self.records.iter_mut().find(|slot| slot.is_none()) else {
            return Err(data);
        };
        let record = Record::new(&image::firmware(length), Some(data), length);
        self.left = self.left.saturating_add(record.len());
        *slot = Some(record);
        if initial {
            // And all that is before it.
            self.initial = self.left;
        }
        Ok(())
    }

    /// What there is to be read; `saving` if the firmware is about to add something.
    pub fn outlook(&self, saving: bool) -> Outlook {
        match self.phase {
            Phase::Failed => Outlook::Failed,
            _ if !self.is_empty() => Outlook::Bytes,
            Phase::Complete => Outlook::End,
            Phase::Tracked | Phase::Untracked if !saving => Outlook::NoMore,
            _ => Outlook::Wait,
        }
    }

    /// How much of what was saved is left, if the firmware has `more` bytes to save, which are
    /// initial again or not.
    pub fn left(&self, more: u64, initial: bool) -> Left {
        let more = match more {
            0 => 0,
            _ => more.saturating_add(HEADER as u64),
        };
        if initial {
            return Left {
                initial: self.left.saturating_add(more),
                dirty: 0,
            };
        }
        Left {
            initial: self.initial,
            dirty: self.left.saturating_sub(self.initial).saturating_add(more),
        }
    }

    /// Copies what comes next, and leaves it there. Returns how many bytes there are: 0 if none.
    pub fn peek(&self, mut bytes: &mut [u8]) -> Result<usize, D::Error> {
        let mut at = self.read;
        let mut done = 0_usize;
        for record in self.records.iter().flatten() {
            while !bytes.is_empty() {
                let len = record.read(at, bytes)?;
                if len == 0 {
                    break;
                }
                at = at.saturating_add(len as u64);
                done = done.saturating_add(len);
                bytes = bytes.get_mut(len..).unwrap_or_default();
            }
            at = 0;
        }
        Ok(done)
    }

    /// The next `count` bytes were read. What is not needed any more goes to `free`.
    pub fn consume(&mut self, count: u64, mut free: impl FnMut(D)) {
        let count = count.min(self.left);
        self.left = self.left.saturating_sub(count);
        self.initial = self.initial.saturating_sub(count);
        self.read = self.read.saturating_add(count);
        while let Some(Some(first)) = self.records.first() {
            let len = first.len();
            if self.read < len {
                break;
            }
            self.read = self.read.saturating_sub(len);
            self.records.rotate_left(1);
            let record = self.records.last_mut().and_then(Option::take);
            if let Some(data) = record.and_then(|record| record.data) {
                free(data);
            }
        }
    }
}
