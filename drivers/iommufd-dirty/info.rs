// SPDX-License-Identifier: GPL-2.0

//! INFO, LIST, TRACKER_INFO and STATS: what there is, and what it costs.

use crate::{
    abi::{
        bindings::*,
        uapi::{
            self,
            put_id, //
        }, //
    },
    logic::extents::Extents,
    member::Member,
    read::MAX_READ_RANGES,
    scan::Which,
    state::{
        State,
        MAX_MEMBERS,
        MAX_RANGES, //
    }, //
};
use kernel::prelude::*;

/// `ioctl(IOMMUFD_DIRTY_INFO)`
pub(crate) fn info(cmd: &mut uapi::Info) -> Result {
    if cmd.flags != 0 || cmd.__reserved != 0 {
        return Err(EOPNOTSUPP);
    }
    cmd.out_max_trackers = MAX_MEMBERS as u32;
    cmd.out_features = if cfg!(CONFIG_IOMMUFD_DIRTY_HWPT) {
        u64::from(IOMMUFD_DIRTY_FEATURE_HWPT)
    } else {
        0
    };
    cmd.out_max_ranges = MAX_RANGES as u32;
    cmd.out_max_read_ranges = MAX_READ_RANGES;
    cmd.out_max_residual = crate::residual_max();
    Ok(())
}

/// `ioctl(IOMMUFD_DIRTY_LIST)`
pub(crate) fn list(state: &mut State, cmd: &mut uapi::List) -> Result {
    if cmd.flags != 0 || cmd.__reserved != 0 {
        return Err(EOPNOTSUPP);
    }
    let room = cmd.nr_ids;
    cmd.nr_ids = u32::try_from(state.members.len())?;
    for (at, m) in (0..room).zip(state.members.iter()) {
        put_id(cmd.ids_uptr, at, m.id())?;
    }
    Ok(())
}

/// `ioctl(IOMMUFD_DIRTY_TRACKER_INFO)`
pub(crate) fn tracker_info(state: &mut State, cmd: &mut uapi::TrackerInfo) -> Result {
    if cmd.flags != 0 {
        return Err(EOPNOTSUPP);
    }
    let started = state.session.is_some();
    let m = state.member(cmd.tracker_id)?;
    m.acknowledge();
    *cmd = uapi::TrackerInfo {
        size: cmd.size,
        tracker_id: m.id(),
        out_kind: IOMMUFD_DIRTY_KIND_UNTRACKED,
        out_state: m.state(started),
        out_policy: m.policy as u32,
        out_granule: m.granule,
        out_nr_ranges: m.ranges.as_slice().len() as u32,
        out_memory: m.memory(),
        out_cookie: m.who.cookie,
        ..Default::default()
    };
    if let Some(t) = m.tracker() {
        cmd.out_kind = t.properties.kind;
        cmd.out_caps = t.properties.caps;
        cmd.out_pgsizes = t.properties.limits.pgsizes;
        cmd.out_max_ranges = t.properties.limits.max_ranges as u32;
        cmd.out_min_span = t.properties.limits.min_span;
        cmd.out_max_span = t.properties.limits.max_span;
        cmd.out_name = t.properties.name;
        if started {
            cmd.out_error = m.trouble().map_or(0, |e| e.to_errno());
        }
    }
    Ok(())
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
