// SPDX-License-Identifier: GPL-2.0

//! What several logs that share a source of dirty pages are owed.
//!
//! A source forgets what is read of it, and each log has to report it. So what one report takes out
//! of the source is owed to the other logs until they have reported it, too. A log is owed what was
//! found from when it was added on, of what it tracks. The memory for that is bounded: with more of
//! it than fits, what lies between two pieces is owed as well.
//!
//! Uses `core` and [`crate::logic`] only: the same source is in the host crate, whose tests are in
//! `tools/testing/host/`.

use crate::{
    logic::{
        extents::Extents,
        range::Range,
        range_set::RangeSet, //
    },
    mem::{
        NoMemory,
        TryVec,
        Vec, //
    }, //
};

/// One log.
pub struct Log<T> {
    id: u32,
    /// What it is to report of.
    tracked: RangeSet,
    /// Found, and not reported by this one.
    owed: Extents,
    /// What its user keeps with it.
    pub with: T,
}

impl<T> Log<T> {
    /// What it tracks.
    pub fn tracked(&self) -> &RangeSet {
        &self.tracked
    }

    /// What it is owed.
    pub fn owed(&self) -> &Extents {
        &self.owed
    }
}

/// The logs of one source.
pub struct Logs<T> {
    logs: Vec<Log<T>>,
    /// Of the last one that was added.
    last: u32,
}

/// Who asks for what, while the source is read.
#[derive(Clone, Copy)]
pub struct Reader {
    /// The log.
    pub id: u32,
    /// What it reports now.
    pub wanted: Range,
}

impl<T> Logs<T> {
    /// None.
    pub const fn new() -> Self {
        Self {
            logs: Vec::new(),
            last: 0,
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Log<T>> + '_ {
        self.logs.iter()
    }

    /// Log `id`.
    pub fn get_mut(&mut self, id: u32) -> Option<&mut Log<T>> {
        self.logs.iter_mut().find(|log| log.id == id)
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    /// Adds one that is owed nothing, and may be owed what takes `limit` bytes of memory. Returns
    /// its id.
    pub fn add(&mut self, tracked: RangeSet, limit: usize, with: T) -> Result<u32, NoMemory> {
        let mut owed = Extents::new();
        owed.set_limit(limit);
        let id = self.last.checked_add(1).ok_or(NoMemory)?;
        self.logs.try_push(Log {
            id,
            tracked,
            owed,
            with,
        })?;
        self.last = id;
        Ok(id)
    }

    /// Log `id` ends. The others are owed what they were owed.
    pub fn remove(&mut self, id: u32) {
        if let Some(at) = self.logs.iter().position(|log| log.id == id) {
            let _ = self.logs.take_at(at);
        }
    }

    /// The first part of `range` that log `id` tracks, from `from` on.
    pub fn next_part(&self, id: u32, range: Range, from: u64) -> Option<Range> {
        let log = self.logs.iter().find(|log| log.id == id)?;
        let left = Range::inclusive(range.first().max(from), range.last())?;
        let mut parts = log.tracked.within(left);
        parts.next()
    }

    /// `dirty` was taken out of the source. What of it the reader wants and tracks goes to `set`;
    /// it is owed if that refuses it, and so is all the rest, to each log that tracks it. If it is
    /// not `sure` nobody knows whether it was written.
    pub fn give(
        &mut self,
        dirty: Range,
        sure: bool,
        reader: Option<Reader>,
        mut set: impl FnMut(Range) -> bool,
    ) {
        for log in self.logs.iter_mut() {
            let wanted = reader.filter(|r| r.id == log.id).map(|r| r.wanted);
            for part in log.tracked.within(dirty) {
                let (now, later) = match wanted.and_then(|wanted| part.intersect(wanted)) {
                    Some(now) => (Some(now), part.minus(now)),
                    None => (None, (Some(part), None)),
                };
                let refused = now.filter(|now| !set(*now));
                for owed in [later.0, later.1, refused].into_iter().flatten() {
                    if sure {
                        log.owed.insert(owed);
                    } else {
                        log.owed.insert_unsure(owed);
                    }
                }
            }
        }
    }

    /// Passes what log `id` is owed of `wanted` to `set`. It is owed no more, if `set` takes it
    /// all.
    pub fn pay<E>(
        &mut self,
        id: u32,
        wanted: Range,
        mut set: impl FnMut(Range) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(log) = self.get_mut(id) else {
            return Ok(());
        };
        let mut taken = Ok(());
        log.owed.for_each_in(wanted, |dirty| {
            if taken.is_ok() {
                taken = set(dirty);
            }
        });
        taken?;
        log.owed.remove(wanted);
        Ok(())
    }
}

impl<T> Default for Logs<T> {
    fn default() -> Self {
        Self::new()
    }
}
