// SPDX-License-Identifier: GPL-2.0

//! The ioctls of a context: which there are, their common format, and the small ones.

use crate::{
    abi::{
        bindings::*,
        uapi::{
            self,
            copy_in,
            copy_out,
            element,
            Uapi, //
        }, //
    },
    context::Context,
    member::{
        Member,
        Policy, //
    },
    read::MAX_READ_RANGES,
    state::{
        State,
        MAX_MEMBERS,
        MAX_RANGES, //
    }, //
};
use kernel::{
    ioctl::_IO,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

const VERSION: u32 = 1;

const fn nr(command: u32) -> u32 {
    _IO(IOMMUFD_DIRTY_TYPE as u32, command)
}

const INFO: u32 = nr(IOMMUFD_DIRTY_CMD_INFO);
const BIND_HWPT: u32 = nr(IOMMUFD_DIRTY_CMD_BIND_HWPT);
const BIND_UNTRACKED: u32 = nr(IOMMUFD_DIRTY_CMD_BIND_UNTRACKED);
const UNBIND: u32 = nr(IOMMUFD_DIRTY_CMD_UNBIND);
const LIST: u32 = nr(IOMMUFD_DIRTY_CMD_LIST);
const TRACKER_INFO: u32 = nr(IOMMUFD_DIRTY_CMD_TRACKER_INFO);
const RANGES: u32 = nr(IOMMUFD_DIRTY_CMD_RANGES);
const START: u32 = nr(IOMMUFD_DIRTY_CMD_START);
const STOP: u32 = nr(IOMMUFD_DIRTY_CMD_STOP);
const READ: u32 = nr(IOMMUFD_DIRTY_CMD_READ);
const CLEAR: u32 = nr(IOMMUFD_DIRTY_CMD_CLEAR);
const HARVEST: u32 = nr(IOMMUFD_DIRTY_CMD_HARVEST);
const SET_POLICY: u32 = nr(IOMMUFD_DIRTY_CMD_SET_POLICY);
const STATS: u32 = nr(IOMMUFD_DIRTY_CMD_STATS);

/// Does ioctl `cmd`. `ENOTTY` if there is none such.
pub(crate) fn dispatch(context: &Context, cmd: u32, arg: usize) -> Result {
    match cmd {
        INFO => call(context, arg, |_, c| info(c), nothing),
        BIND_HWPT => call(context, arg, bind_hwpt, |s, c, done| {
            s.undo_bind(c.out_tracker_id, done)
        }),
        BIND_UNTRACKED => call(context, arg, bind_untracked, |s, c, done| {
            s.undo_bind(c.out_tracker_id, done)
        }),
        UNBIND => call(context, arg, unbind, nothing),
        LIST => call(context, arg, list, nothing),
        TRACKER_INFO => call(context, arg, tracker_info, nothing),
        RANGES => call(context, arg, State::ranges, nothing),
        START => call(context, arg, State::start, State::undo_start),
        STOP => call(context, arg, stop, nothing),
        READ => call(context, arg, State::read, State::undo_read),
        CLEAR => call(context, arg, State::clear, nothing),
        HARVEST => call(context, arg, State::harvest_ioctl, nothing),
        SET_POLICY => call(context, arg, set_policy, nothing),
        STATS => call(context, arg, stats, nothing),
        _ => Err(ENOTTY),
    }
}

/// Copies the structure in, calls `f`, copies it out. What `f` has written goes out on error, too.
/// If it cannot go out, `undo` is told whether `f` succeeded, and makes it so that nothing was done.
/// If `f` has written nothing, nothing goes out that could fail.
///
/// Errors: `EINVAL` if userspace's structure is too short, and see [`copy_in`].
fn call<T: Uapi>(
    context: &Context,
    arg: usize,
    f: impl FnOnce(&mut State, &mut T) -> Result,
    undo: impl FnOnce(&mut State, &T, bool),
) -> Result {
    let size: u32 = UserSlice::new(UserPtr::from_addr(arg), core::mem::size_of::<u32>())
        .reader()
        .read()?;
    let size = usize::try_from(size)?;
    if size < core::mem::size_of::<T>() {
        return Err(EINVAL);
    }
    if size > kernel::page::PAGE_SIZE {
        return Err(E2BIG);
    }
    let told: T = copy_in(arg, size)?;
    let mut cmd = told;
    context.with(|state| {
        let result = f(state, &mut cmd);
        let written = if cmd.as_bytes() == told.as_bytes() {
            Ok(())
        } else {
            copy_out(arg, size, &cmd)
        };
        if written.is_err() {
            undo(state, &cmd, result.is_ok());
        }
        result.and(written)
    })
}

fn nothing<T>(_: &mut State, _: &T, _: bool) {}

fn info(cmd: &mut uapi::Info) -> Result {
    if cmd.flags != 0 {
        return Err(EOPNOTSUPP);
    }
    cmd.out_version = VERSION;
    cmd.out_max_trackers = MAX_MEMBERS as u32;
    cmd.out_features = if cfg!(iommufd_dirty_hwpt) {
        u64::from(IOMMUFD_DIRTY_FEATURE_HWPT)
    } else {
        0
    };
    cmd.out_max_ranges = MAX_RANGES as u32;
    cmd.out_max_read_ranges = MAX_READ_RANGES;
    cmd.out_max_residual = crate::residual_max();
    Ok(())
}

#[cfg(iommufd_dirty_hwpt)]
fn bind_hwpt(state: &mut State, cmd: &mut uapi::BindHwpt) -> Result {
    if cmd.flags != 0 {
        return Err(EOPNOTSUPP);
    }
    let policy = Policy::from_uapi(cmd.policy)?;
    if state.started {
        return Err(EBUSY);
    }
    let hwpt = crate::hwpt::register(cmd.iommufd, cmd.hwpt_id)?;
    cmd.out_tracker_id = state.bind(|id, waker| Member::of_hwpt(id, waker, hwpt, policy))?;
    Ok(())
}

#[cfg(not(iommufd_dirty_hwpt))]
fn bind_hwpt(_: &mut State, _: &mut uapi::BindHwpt) -> Result {
    Err(EOPNOTSUPP)
}

fn bind_untracked(state: &mut State, cmd: &mut uapi::BindUntracked) -> Result {
    if cmd.flags != 0 {
        return Err(EOPNOTSUPP);
    }
    let policy = Policy::from_uapi(cmd.policy)?;
    if policy == Policy::Fail {
        return Err(EINVAL);
    }
    cmd.out_tracker_id = state.bind(|id, _| Ok(Member::untracked(id, policy)))?;
    Ok(())
}

fn unbind(state: &mut State, cmd: &mut uapi::Unbind) -> Result {
    let keep = IOMMUFD_DIRTY_UNBIND_KEEP;
    if cmd.flags & !keep != 0 || cmd.__reserved != 0 {
        return Err(EOPNOTSUPP);
    }
    state.unbind(cmd.tracker_id, cmd.flags & keep != 0)
}

fn list(state: &mut State, cmd: &mut uapi::List) -> Result {
    if cmd.flags != 0 || cmd.__reserved != 0 {
        return Err(EOPNOTSUPP);
    }
    let room = cmd.nr_ids;
    cmd.nr_ids = u32::try_from(state.members.len())?;
    for (at, m) in (0..room).zip(state.members.iter()) {
        let addr = element(cmd.ids_uptr, at, core::mem::size_of::<u32>())?;
        UserSlice::new(UserPtr::from_addr(addr), core::mem::size_of::<u32>())
            .writer()
            .write(&m.id)?;
    }
    Ok(())
}

fn tracker_info(state: &mut State, cmd: &mut uapi::TrackerInfo) -> Result {
    if cmd.flags != 0 {
        return Err(EOPNOTSUPP);
    }
    let started = state.started;
    let m = state.member(cmd.tracker_id)?;
    *cmd = uapi::TrackerInfo {
        size: cmd.size,
        tracker_id: m.id,
        out_kind: IOMMUFD_DIRTY_KIND_UNTRACKED,
        out_state: m.state(started),
        out_policy: m.policy as u32,
        out_granule: m.granule,
        out_nr_ranges: m.nr_ranges,
        out_memory: m.memory(),
        ..Default::default()
    };
    if let Some(t) = m.tracker() {
        cmd.out_kind = t.what.kind;
        cmd.out_caps = t.what.caps;
        cmd.out_pgsizes = t.what.limits.pgsizes;
        cmd.out_max_ranges = t.what.limits.max_ranges as u32;
        cmd.out_min_span = t.what.limits.min_span;
        cmd.out_max_span = t.what.limits.max_span;
        cmd.out_name = t.what.name;
        if started {
            cmd.out_error = m.trouble().map_or(0, |e| e.to_errno());
        }
    }
    Ok(())
}

fn stop(state: &mut State, cmd: &mut uapi::Stop) -> Result {
    if cmd.flags != 0 {
        return Err(EOPNOTSUPP);
    }
    state.stop()
}

fn set_policy(state: &mut State, cmd: &mut uapi::SetPolicy) -> Result {
    if cmd.flags != 0 {
        return Err(EOPNOTSUPP);
    }
    let policy = Policy::from_uapi(cmd.policy)?;
    let m = state.member(cmd.tracker_id)?;
    if m.tracker().is_none() && policy == Policy::Fail {
        return Err(EINVAL);
    }
    m.policy = policy;
    Ok(())
}

fn stats(state: &mut State, cmd: &mut uapi::Stats) -> Result {
    if cmd.flags != 0 {
        return Err(EOPNOTSUPP);
    }
    state.check_only(cmd.tracker_id)?;
    let only = cmd.tracker_id;
    let mut out = uapi::Stats {
        size: cmd.size,
        tracker_id: only,
        out_overreported: state.overreported(only),
        ..Default::default()
    };
    let mut counts = &state.stats;
    for m in state.members.iter().filter(|m| only == 0 || only == m.id) {
        if only != 0 {
            counts = &m.stats;
        }
        out.out_memory = out.out_memory.saturating_add(m.memory());
        out.out_bitmap_bytes = out.out_bitmap_bytes.saturating_add(m.bitmap_bytes());
        out.out_residual_bytes = out
            .out_residual_bytes
            .saturating_add(m.residual.dirty_bytes());
        out.out_residual_memory = out
            .out_residual_memory
            .saturating_add(m.residual.bytes() as u64);
    }
    if only == 0 {
        out.out_memory = out.out_memory.saturating_add(state.own_memory());
        out.out_residual_bytes = out
            .out_residual_bytes
            .saturating_add(state.residual.dirty_bytes());
        out.out_residual_memory = out
            .out_residual_memory
            .saturating_add(state.residual.bytes() as u64);
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

impl State {
    /// The id could not be told: nobody has used it.
    fn undo_bind(&mut self, id: u32, done: bool) {
        if done {
            let _ = self.unbind(id, false);
        }
    }

    /// That it is started could not be told.
    fn undo_start(&mut self, cmd: &uapi::Start, done: bool) {
        if done && cmd.flags & IOMMUFD_DIRTY_START_DRY_RUN == 0 {
            let _ = self.stop();
        }
    }

    /// Bytes of kernel memory that the context takes beside its members' own.
    fn own_memory(&self) -> u64 {
        [
            core::mem::size_of::<Self>(),
            self.members
                .capacity()
                .saturating_mul(core::mem::size_of::<Member>()),
            self.pages.as_ref().map_or(0, |pages| pages.bytes()),
            self.tracked.bytes(),
            self.residual.bytes(),
        ]
        .into_iter()
        .fold(0, |sum, bytes| sum.saturating_add(bytes as u64))
    }
}
