// SPDX-License-Identifier: GPL-2.0

//! STATS: what reads cost, and what is held.

use crate::{
    abi::uapi,
    logic::extents::Extents,
    member::Member,
    scan::Which,
    state::State, //
};
use kernel::prelude::*;

/// Counted for each tracker, and for the context.
#[derive(Default)]
pub(crate) struct Stats {
    pub(crate) reads: u64,
    pub(crate) errors: u64,
    pub(crate) extents: u64,
    pub(crate) last_ns: u64,
    pub(crate) max_ns: u64,
    pub(crate) last_error: i32,
}

impl Stats {
    /// A read took `ns` nanoseconds, and recorded `extents` extents.
    pub(crate) fn count(&mut self, ns: u64, extents: u64, result: Result) {
        self.reads = self.reads.saturating_add(1);
        self.extents = self.extents.saturating_add(extents);
        self.last_ns = ns;
        self.max_ns = self.max_ns.max(ns);
        if let Err(e) = result {
            self.errors = self.errors.saturating_add(1);
            self.last_error = e.to_errno();
        }
    }
}

/// `ioctl(IOMMUFD_DIRTY_STATS)`
pub(crate) fn stats(state: &mut State, cmd: &mut uapi::Stats) -> Result {
    if cmd.flags != 0 {
        return Err(EOPNOTSUPP);
    }
    state.check_only(cmd.tracker_id)?;
    let only = cmd.tracker_id;
    let which = Which::merged(only);
    let mut out = uapi::Stats {
        size: cmd.size,
        tracker_id: only,
        out_overreported: state.overreported(which),
        ..Default::default()
    };
    let mut counts = &state.stats;
    for m in state.members.iter().filter(|m| which.has(m)) {
        if only != 0 {
            counts = &m.stats;
            out.out_cookie = m.who.cookie;
        }
        out.out_memory = out.out_memory.saturating_add(m.memory());
        out.out_bitmap_bytes = out.out_bitmap_bytes.saturating_add(m.bitmap_bytes());
        for held in m.undelivered() {
            count_residual(&mut out, held);
        }
    }
    if only == 0 {
        out.out_memory = out.out_memory.saturating_add(state.own_memory());
        count_residual(&mut out, &state.kept);
    }
    out.out_reads = counts.reads;
    out.out_errors = counts.errors;
    out.out_extents = counts.extents;
    out.out_last_read_ns = counts.last_ns;
    out.out_max_read_ns = counts.max_ns;
    out.out_last_error = counts.last_error;
    *cmd = out;
    Ok(())
}

fn count_residual(out: &mut uapi::Stats, held: &Extents) {
    out.out_residual_bytes = out.out_residual_bytes.saturating_add(held.dirty_bytes());
    out.out_residual_memory = out.out_residual_memory.saturating_add(held.bytes() as u64);
}

impl State {
    /// Bytes of kernel memory that the context takes beside its members' own.
    fn own_memory(&self) -> u64 {
        [
            core::mem::size_of::<Self>(),
            self.members
                .capacity()
                .saturating_mul(core::mem::size_of::<Member>()),
            self.pages.as_ref().map_or(0, |(pages, batch)| {
                pages.bytes().saturating_add(batch.bytes())
            }),
            self.tracked.bytes(),
            self.kept.bytes(),
        ]
        .into_iter()
        .fold(0, |sum, bytes| sum.saturating_add(bytes as u64))
    }
}
