// SPDX-License-Identifier: GPL-2.0

//! What an operator sees: the fdinfo of a context, and the list of trackers in debugfs.

use crate::{
    abi::{
        bindings::*,
        registry, //
    },
    context::Context,
    state::State,
    tracker::Tracker, //
};
use kernel::{
    fmt,
    seq_file::SeqFile,
    seq_print, //
};

fn kind_name(kind: u32) -> &'static str {
    match kind {
        IOMMUFD_DIRTY_KIND_IOMMU_DOMAIN => "iommu-domain",
        IOMMUFD_DIRTY_KIND_DEVICE => "device",
        IOMMUFD_DIRTY_KIND_SOFTWARE => "software",
        _ => "untracked",
    }
}

fn state_name(state: u32) -> &'static str {
    match state {
        IOMMUFD_DIRTY_STATE_STOPPED => "stopped",
        IOMMUFD_DIRTY_STATE_TRACKING => "tracking",
        IOMMUFD_DIRTY_STATE_FAILED => "failed",
        IOMMUFD_DIRTY_STATE_LOST => "lost",
        _ => "gone",
    }
}

/// The name that a tracker's owner gave it.
fn name(tracker: &Tracker) -> &str {
    let bytes = tracker
        .properties
        .name
        .split(|b| *b == 0)
        .next()
        .unwrap_or(&[]);
    core::str::from_utf8(bytes).unwrap_or("?")
}

/// `/proc/PID/fdinfo/FD` of a context. Does not wait for a system call that has the context: `busy`
/// is all that is printed then.
pub(crate) fn fdinfo(context: &Context, m: &SeqFile) {
    seq_print!(m, "iommufd-dirty-context:\t{}\n", context.waker().context());
    context.peek(|state| {
        seq_print!(m, "busy:\t{}\n", u32::from(state.is_none()));
        if let Some(state) = state {
            members(state, m);
        }
    });
}

fn members(state: &State, m: &SeqFile) {
    let started = state.session.is_some();
    seq_print!(m, "started:\t{}\n", u32::from(started));
    seq_print!(m, "ranges:\t{}\n", state.tracked.as_slice().len());
    seq_print!(m, "tracked-bytes:\t{}\n", state.tracked.span());
    for member in state.members.iter() {
        let tracker = member.tracker();
        let held = member.undelivered();
        let residual = held
            .iter()
            .fold(0u64, |sum, e| sum.saturating_add(e.dirty_bytes()));
        seq_print!(
            m,
            "tracker:\tid={} cookie={:x} kind={} name={} state={} policy={} granule={} residual={}\n",
            member.id(),
            member.who.cookie,
            tracker.map_or("untracked", |t| kind_name(t.properties.kind)),
            tracker.map_or("-", |t| name(t)),
            state_name(member.state(started)),
            member.policy as u32,
            member.granule,
            residual,
        );
    }
}

/// `iommufd-dirty/trackers` in debugfs: every registered tracker, a line each.
pub(crate) fn trackers(_: &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut result = writeln!(f, "kind context tracker tracking name");
    registry::for_each(|t| {
        let (context, id) = t.bound_to().unwrap_or((0, 0));
        let line = writeln!(
            f,
            "{} {} {} {} {}",
            kind_name(t.properties.kind),
            context,
            id,
            u32::from(t.is_started()),
            name(t),
        );
        result = result.and(line);
    });
    result
}
