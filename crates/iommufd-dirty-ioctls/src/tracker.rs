// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A tracker: what it is, and what to do if it cannot track.

use crate::context::Shared;
use crate::{sys, Errno, Error, Result};
use iommufd_dirty_bindings::*;
use std::sync::Arc;

/// What to do about a tracker that cannot track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Policy {
    /// START and READ return its error.
    Fail = IOMMUFD_DIRTY_POLICY_FAIL,
    /// It is skipped, and the status says so: the device is stopped early.
    Ignore = IOMMUFD_DIRTY_POLICY_IGNORE,
    /// All ranges of the context are reported dirty in each READ.
    AllDirty = IOMMUFD_DIRTY_POLICY_ALL_DIRTY,
}

impl Policy {
    fn from_raw(policy: u32) -> Option<Self> {
        [Self::Fail, Self::Ignore, Self::AllDirty]
            .into_iter()
            .find(|p| *p as u32 == policy)
    }
}

/// What to do about a member that can never track: not [`Policy::Fail`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UntrackedPolicy {
    /// Like [`Policy::Ignore`].
    Ignore,
    /// Like [`Policy::AllDirty`].
    AllDirty,
}

impl From<UntrackedPolicy> for Policy {
    fn from(policy: UntrackedPolicy) -> Self {
        match policy {
            UntrackedPolicy::Ignore => Self::Ignore,
            UntrackedPolicy::AllDirty => Self::AllDirty,
        }
    }
}

/// How a tracker is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    pub(crate) policy: Policy,
    pub(crate) cookie: u64,
    assume_clean: bool,
}

impl Binding {
    /// With the cookie 0.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            cookie: 0,
            assume_clean: false,
        }
    }

    /// A number of the program's own, which is returned with everything that is reported about the
    /// tracker.
    pub fn cookie(self, cookie: u64) -> Self {
        Self { cookie, ..self }
    }

    /// If it is bound while tracking, the ranges are not reported dirty once for it: nothing has
    /// been written yet.
    pub fn assume_clean(self) -> Self {
        Self {
            assume_clean: true,
            ..self
        }
    }

    pub(crate) fn flags(&self) -> u32 {
        if self.assume_clean {
            IOMMUFD_DIRTY_BIND_ASSUME_CLEAN
        } else {
            0
        }
    }
}

/// What a tracker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The dirty bits of a page table of iommufd.
    IommuDomain,
    /// A device's own log.
    Device,
    /// The kernel saw or made the writes.
    Software,
    /// A member that cannot track.
    Untracked,
    /// One that this version does not know.
    Unknown(u32),
}

/// What a tracker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// It does not track.
    Stopped,
    /// It tracks.
    Tracking,
    /// It could not start, and its policy stands in for it.
    Failed,
    /// It lost what was dirty, and its policy stands in for it until STOP.
    Lost,
    /// Its owner has taken it away.
    Gone,
    /// One that this version does not know.
    Unknown(u32),
}

/// What a tracker is, can do, and is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrackerInfo {
    /// What it is.
    pub kind: Kind,
    /// What it does.
    pub state: State,
    /// `None` if this version does not know it.
    pub policy: Option<Policy>,
    /// Why it failed or was lost.
    pub error: Option<Errno>,
    /// Bits of `enum iommufd_dirty_caps`.
    pub caps: u32,
    /// The granules that it supports: bit n is 2^n bytes.
    pub page_sizes: u64,
    /// Bytes, the granule in force; 0 while it does not track.
    pub granule: u64,
    /// Ranges that it can take; 0 is no limit.
    pub max_ranges: u32,
    /// Ranges in force, after joining.
    pub ranges: u32,
    /// Bytes that its ranges must cover in total, at least.
    pub min_span: u64,
    /// Bytes that its ranges may cover in total; 0 is no limit.
    pub max_span: u64,
    /// Bytes of kernel memory held for it.
    pub memory: u64,
    /// As given when it was bound.
    pub cookie: u64,
    /// As its owner named it.
    pub name: String,
}

/// Counts, times and memory, of a tracker or a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Reads so far; of a context, calls of READ.
    pub reads: u64,
    /// How many of these failed.
    pub errors: u64,
    /// The errno of the last one that failed.
    pub last_error: Option<Errno>,
    /// Dirty extents that were recorded.
    pub extents: u64,
    /// Nanoseconds that the last read took.
    pub last_read_ns: u64,
    /// Nanoseconds that the longest read took.
    pub max_read_ns: u64,
    /// Bytes of kernel memory.
    pub memory: u64,
    /// How many of these are bitmaps.
    pub bitmap_bytes: u64,
    /// Bytes of I/O address space that are dirty in the residual.
    pub residual_bytes: u64,
    /// Bytes of kernel memory that the residual takes.
    pub residual_memory: u64,
    /// Bytes that were reported dirty in this session, or will be, and that may not have been
    /// written.
    pub overreported: u64,
}

impl Stats {
    /// For a tracker; 0 is the context as a whole.
    pub(crate) fn of(shared: &Shared, tracker_id: u32) -> Result<Self> {
        let mut cmd = iommufd_dirty_stats {
            tracker_id,
            ..Default::default()
        };
        shared
            .retry(|fd| sys::stats(fd, &mut cmd))
            .map_err(Error::Stats)?;
        Ok(Self {
            reads: cmd.out_reads,
            errors: cmd.out_errors,
            last_error: Errno::of_result(cmd.out_last_error),
            extents: cmd.out_extents,
            last_read_ns: cmd.out_last_read_ns,
            max_read_ns: cmd.out_max_read_ns,
            memory: cmd.out_memory,
            bitmap_bytes: cmd.out_bitmap_bytes,
            residual_bytes: cmd.out_residual_bytes,
            residual_memory: cmd.out_residual_memory,
            overreported: cmd.out_overreported,
        })
    }
}

/// A member of a context. Dropping it does not unbind it; [`Context::trackers()`] finds it again.
///
/// [`Context::trackers()`]: crate::Context::trackers
#[derive(Debug, Clone)]
pub struct Tracker {
    shared: Arc<Shared>,
    id: u32,
}

impl Tracker {
    pub(crate) fn new(shared: Arc<Shared>, id: u32) -> Self {
        Self { shared, id }
    }

    /// Its id in its context, never 0.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What it is, can do, and is doing. Acknowledges its trouble.
    pub fn info(&self) -> Result<TrackerInfo> {
        let mut cmd = iommufd_dirty_tracker_info {
            tracker_id: self.id,
            ..Default::default()
        };
        self.shared
            .retry(|fd| sys::tracker_info(fd, &mut cmd))
            .map_err(Error::TrackerInfo)?;
        let name = cmd.out_name.split(|byte| *byte == 0).next();
        Ok(TrackerInfo {
            kind: match cmd.out_kind {
                IOMMUFD_DIRTY_KIND_IOMMU_DOMAIN => Kind::IommuDomain,
                IOMMUFD_DIRTY_KIND_DEVICE => Kind::Device,
                IOMMUFD_DIRTY_KIND_SOFTWARE => Kind::Software,
                IOMMUFD_DIRTY_KIND_UNTRACKED => Kind::Untracked,
                other => Kind::Unknown(other),
            },
            state: match cmd.out_state {
                IOMMUFD_DIRTY_STATE_STOPPED => State::Stopped,
                IOMMUFD_DIRTY_STATE_TRACKING => State::Tracking,
                IOMMUFD_DIRTY_STATE_FAILED => State::Failed,
                IOMMUFD_DIRTY_STATE_LOST => State::Lost,
                IOMMUFD_DIRTY_STATE_GONE => State::Gone,
                other => State::Unknown(other),
            },
            policy: Policy::from_raw(cmd.out_policy),
            error: Errno::of_result(cmd.out_error),
            caps: cmd.out_caps,
            page_sizes: cmd.out_pgsizes,
            granule: cmd.out_granule,
            max_ranges: cmd.out_max_ranges,
            ranges: cmd.out_nr_ranges,
            min_span: cmd.out_min_span,
            max_span: cmd.out_max_span,
            memory: cmd.out_memory,
            cookie: cmd.out_cookie,
            name: String::from_utf8_lossy(name.unwrap_or_default()).into_owned(),
        })
    }

    /// Its counts, times and memory.
    pub fn stats(&self) -> Result<Stats> {
        Stats::of(&self.shared, self.id)
    }

    /// Changes its policy, at any time. Acknowledges its trouble.
    pub fn set_policy(&self, policy: Policy) -> Result<()> {
        let mut cmd = iommufd_dirty_set_policy {
            tracker_id: self.id,
            policy: policy as u32,
            ..Default::default()
        };
        self.shared
            .retry(|fd| sys::set_policy(fd, &mut cmd))
            .map_err(Error::SetPolicy)
    }

    /// Takes it out of its context. What it still held dirty goes to the context, and a READ of
    /// all trackers delivers it.
    pub fn unbind(self) -> Result<()> {
        self.do_unbind(IOMMUFD_DIRTY_UNBIND_KEEP)
    }

    /// Takes it out of its context. What it still held dirty is dropped.
    pub fn unbind_and_drop_dirty(self) -> Result<()> {
        self.do_unbind(0)
    }

    fn do_unbind(&self, flags: u32) -> Result<()> {
        let mut cmd = iommufd_dirty_unbind {
            flags,
            tracker_id: self.id,
            ..Default::default()
        };
        self.shared
            .retry(|fd| sys::unbind(fd, &mut cmd))
            .map_err(Error::Unbind)
    }
}

/// The id of `only` for a call of the context `shared`; 0 is all. `ENOENT` if it is of another one.
pub(crate) fn id_in(shared: &Arc<Shared>, only: Option<&Tracker>) -> sys::Result<u32> {
    match only {
        None => Ok(0),
        Some(tracker) if Arc::ptr_eq(&tracker.shared, shared) => Ok(tracker.id),
        Some(_) => Err(Errno::new(libc::ENOENT)),
    }
}
