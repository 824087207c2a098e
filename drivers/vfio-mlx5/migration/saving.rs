// SPDX-License-Identifier: GPL-2.0

//! The state of a VF on its way out of the firmware.
//!
//! The firmware saves into one buffer after another, see [`Job`], and those come back when they
//! were read. Until it is stopped there are as many as the rest of the state will need, so that
//! nothing has to be allocated then.

use super::buffer::Buffer;
use crate::{
    abi::{
        core_dev::{
            CoreDev,
            Failure,
            Pd, //
        },
        pages::Writer, //
    },
    cmd::migration::{
        self,
        Needed,
        Query, //
    },
    outgoing::{
        room,
        Phase,
        Queue, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// While one chunk is read the next one is saved.
const CHUNKS: usize = 2;
/// One more is saved into while the VF runs.
const BUFFERS: usize = CHUNKS + 1;

/// What is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// All, of a VF that runs.
    First,
    /// What has changed, of one that runs.
    Change {
        /// It has to be read before the VF stops.
        initial: bool,
    },
    /// All, of one that is stopped; or the first chunk of it.
    Whole,
    /// What has changed, of one that is stopped, or the next chunk of that or of all.
    Rest,
}

impl Kind {
    fn is_initial(self) -> bool {
        matches!(self, Self::First | Self::Change { initial: true })
    }
}

/// One save: what is not to be held up by anything while the firmware is at it.
pub(super) struct Job {
    pf: CoreDev,
    vhca_id: u16,
    pub(super) kind: Kind,
    buffer: Buffer,
}

impl Job {
    /// Does it. Returns the buffer, and what the firmware said.
    pub(super) fn run(mut self) -> (Kind, Buffer, Result<migration::Saved, Refusal>) {
        let result = self.save();
        (self.kind, self.buffer, result)
    }

    fn save(&mut self) -> Result<migration::Saved, Refusal> {
        let memory = self.buffer.key().map_err(Refusal::Final)?;
        let room = u32::try_from(self.buffer.len()).map_err(|_| Refusal::Final(EIO))?;
        let saved = self.pf.exec(&migration::Save {
            vhca_id: self.vhca_id,
            memory,
            room,
            incremental: matches!(self.kind, Kind::Change { .. } | Kind::Rest),
            track: matches!(self.kind, Kind::First | Kind::Change { .. }),
        })?;
        if saved.length > room {
            return Err(Refusal::Final(EIO));
        }
        Ok(saved)
    }
}

/// Why something was not saved.
pub(super) enum Refusal {
    /// The firmware did nothing: all of the state can still be had.
    Nothing(Error),
    /// It may have done something.
    Final(Error),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        if failure.is_refusal() {
            return Self::Nothing(failure.into());
        }
        Self::Final(failure.into())
    }
}

/// A buffer that nothing is in any more. The smallest one goes if there are more than can be used.
fn put_back(free: &mut [Option<Buffer>; BUFFERS], buffer: Buffer) {
    let len = |slot: &Option<Buffer>| slot.as_ref().map_or(0, Buffer::len);
    if let Some(slot) = free.iter_mut().min_by_key(|slot| len(slot)) {
        if len(slot) < buffer.len() {
            *slot = Some(buffer);
        }
    }
}

/// A state that is being saved.
pub(super) struct Saving {
    pf: CoreDev,
    vhca_id: u16,
    chunks: bool,
    pd: Arc<Pd>,
    pub(super) queue: Queue<Buffer>,
    /// Those that nothing is in.
    free: [Option<Buffer>; BUFFERS],
    /// The firmware needs so many bytes to go on, when there is a buffer.
    next: Option<u32>,
    /// What went wrong.
    error: Error,
}

impl Saving {
    /// Of the VF `vhca_id`, whose state takes what was `needed`. All buffers are there afterwards
    /// that are needed, in most cases.
    pub(super) fn new(
        pf: &CoreDev,
        vhca_id: u16,
        chunks: bool,
        needed: &Needed,
        runs: bool,
    ) -> Result<Self> {
        let pd = Arc::new(Pd::new(pf)?, GFP_KERNEL)?;
        let room = room(needed.bytes.into(), needed.all(), chunks, runs);
        let count = usize::from(runs).saturating_add(if chunks { CHUNKS } else { 1 });
        let mut free = [const { None }; BUFFERS];
        let mut most = 0;
        for slot in free.iter_mut().take(count) {
            let buffer = Buffer::with_room(pf, &pd, Writer::Device, room)?;
            most = buffer.len();
            *slot = Some(buffer);
        }
        Ok(Self {
            pf: pf.clone(),
            vhca_id,
            chunks,
            pd,
            queue: Queue::new(most, runs),
            free,
            next: None,
            error: ENODEV,
        })
    }

    /// What has changed since the last save. `None` if the firmware does not know: all of the state
    /// has to be saved, when it is stopped.
    pub(super) fn changes(&mut self) -> Result<Option<Needed>> {
        if self.queue.phase != Phase::Tracked {
            return Ok(None);
        }
        match self.query(true) {
            Ok(needed) => Ok(Some(needed)),
            Err(failure) if failure.is_bad_state() => {
                self.queue.phase = Phase::Untracked;
                Ok(None)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    fn query(&self, incremental: bool) -> Result<Needed, Failure> {
        self.pf.exec(&Query {
            vhca_id: self.vhca_id,
            incremental,
            chunks: self.chunks,
        })
    }

    /// A buffer of so many bytes at least: one that there is, or else a new one.
    fn buffer(&mut self, bytes: u64) -> Result<Buffer> {
        let fits =
            |slot: &&mut Option<Buffer>| slot.as_ref().is_some_and(|buffer| buffer.len() >= bytes);
        if let Some(slot) = self.free.iter_mut().find(fits) {
            return slot.take().ok_or(EIO);
        }
        Buffer::with_room(&self.pf, &self.pd, Writer::Device, bytes)
    }

    /// The next `count` bytes were read.
    pub(super) fn consume(&mut self, count: u64) {
        let Self { queue, free, .. } = self;
        queue.consume(count, |buffer| put_back(free, buffer));
    }

    /// A save of so many bytes at most. `EINTR`, `ENOMEM`, and those of the firmware.
    pub(super) fn job(&mut self, kind: Kind, bytes: u64) -> Result<Job> {
        let buffer = self.buffer(bytes.max(1))?;
        Ok(Job {
            pf: self.pf.clone(),
            vhca_id: self.vhca_id,
            kind,
            buffer,
        })
    }

    /// The last save, or the first one of several, of a VF that has just been stopped.
    pub(super) fn last_job(&mut self) -> Result<Job> {
        let (kind, needed) = match self.changes()? {
            Some(needed) => (Kind::Rest, needed),
            None => (Kind::Whole, self.query(false)?),
        };
        let bytes = room(needed.bytes.into(), needed.all(), self.chunks, false);
        let job = self.job(kind, bytes)?;
        self.queue.phase = Phase::Rest;
        Ok(job)
    }

    /// The next save, if there is one to go on with. Memory is allocated only if the caller `may`.
    pub(super) fn next_job(&mut self, may_allocate: bool) -> Option<Job> {
        let bytes = self.next.map(u64::from)?;
        let mut free = self.free.iter().flatten();
        let first = free.next()?;
        let has_one = first.len() >= bytes || free.any(|buffer| buffer.len() >= bytes);
        if !(has_one || may_allocate) {
            return None;
        }
        match self.job(Kind::Rest, bytes) {
            Ok(job) => {
                self.next = None;
                Some(job)
            }
            // The task is to be killed: somebody else may go on to read.
            Err(EINTR) => None,
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    /// The firmware has done a save, or has not.
    pub(super) fn saved(
        &mut self,
        kind: Kind,
        buffer: Buffer,
        result: Result<migration::Saved, Refusal>,
    ) {
        match result {
            Ok(saved) => {
                let pushed = self
                    .queue
                    .push(buffer, saved.length.into(), kind.is_initial());
                if pushed.is_err() {
                    // There was room when it was begun.
                    return self.fail(EIO);
                }
                if self.queue.phase == Phase::Rest {
                    self.next = (saved.next > 0).then_some(saved.next);
                    if self.next.is_none() {
                        self.queue.phase = Phase::Complete;
                    }
                }
            }
            Err(Refusal::Nothing(_)) if self.queue.phase == Phase::Tracked => {
                put_back(&mut self.free, buffer);
                self.queue.phase = Phase::Untracked;
            }
            Err(Refusal::Nothing(error) | Refusal::Final(error)) => self.fail(error),
        }
    }

    fn fail(&mut self, error: Error) {
        self.queue.phase = Phase::Failed;
        self.error = error;
    }

    /// Why it failed.
    pub(super) fn error(&self) -> Error {
        self.error
    }

    /// Lets the firmware forget what it notes of a VF that runs. It may know nothing of it any
    /// more.
    pub(super) fn end_tracking(&mut self) -> Result {
        // It has the memory that it would take, although it is not to write anything.
        let mut buffer = self.buffer(1)?;
        let memory = buffer.key()?;
        let ended = self.pf.exec(&migration::Save {
            vhca_id: self.vhca_id,
            memory,
            room: u32::try_from(buffer.len())?,
            incremental: false,
            track: false,
        });
        put_back(&mut self.free, buffer);
        match ended {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_bad_state() => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }
}
