// SPDX-License-Identifier: GPL-2.0

//! The ioctls of a context: which there are, their common format, and the small ones.

use crate::{
    abi::{
        bindings::*,
        chardev::NewFile,
        uapi::{
            self,
            copy_in,
            copy_out,
            put_id,
            Uapi, //
        }, //
    },
    context::Context,
    logic::extents::Extents,
    member::{
        Member,
        Policy, //
    },
    read::MAX_READ_RANGES,
    scan::Which,
    state::{
        Bind,
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

const fn nr(command: u32) -> u32 {
    _IO(IOMMUFD_DIRTY_TYPE as u32, command)
}

const INFO: u32 = nr(IOMMUFD_DIRTY_CMD_INFO);
const NEW: u32 = nr(IOMMUFD_DIRTY_CMD_NEW);
const BIND_HWPT: u32 = nr(IOMMUFD_DIRTY_CMD_BIND_HWPT);
const BIND_UNTRACKED: u32 = nr(IOMMUFD_DIRTY_CMD_BIND_UNTRACKED);
const UNBIND: u32 = nr(IOMMUFD_DIRTY_CMD_UNBIND);
const LIST: u32 = nr(IOMMUFD_DIRTY_CMD_LIST);
const TRACKER_INFO: u32 = nr(IOMMUFD_DIRTY_CMD_TRACKER_INFO);
const RANGES: u32 = nr(IOMMUFD_DIRTY_CMD_RANGES);
const LIST_RANGES: u32 = nr(IOMMUFD_DIRTY_CMD_LIST_RANGES);
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
        NEW => new_context(arg),
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
        LIST_RANGES => call(context, arg, State::list_ranges, nothing),
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

/// Copies the structure in that an ioctl begins with. Returns its size in userspace, too.
///
/// Errors: `EINVAL` if userspace's structure is too short, and see [`copy_in`].
fn copy_command<T: Uapi>(arg: usize) -> Result<(usize, T)> {
    let size: u32 = UserSlice::new(UserPtr::from_addr(arg), core::mem::size_of::<u32>())
        .reader()
        .read()?;
    let size = usize::try_from(size)?;
    if size < T::MIN_SIZE {
        return Err(EINVAL);
    }
    if size > kernel::page::PAGE_SIZE {
        return Err(E2BIG);
    }
    Ok((size, copy_in(arg, size)?))
}

/// `ioctl(IOMMUFD_DIRTY_NEW)`. The context that it is made from has no part in it.
fn new_context(arg: usize) -> Result {
    let (size, mut cmd) = copy_command::<uapi::New>(arg)?;
    if cmd.flags != 0 || cmd.__reserved != 0 {
        return Err(EOPNOTSUPP);
    }
    let file = NewFile::new()?;
    cmd.out_fd = i32::try_from(file.fd()).map_err(|_| EMFILE)?;
    copy_out(arg, size, &cmd)?;
    file.install();
    Ok(())
}

/// Copies the structure in, calls `f`, copies it out. What `f` has written goes out on error, too.
/// If it cannot go out, `undo` is told whether `f` succeeded, and makes it so that nothing was done.
/// If `f` has written nothing, nothing goes out that could fail.
///
/// Errors: see [`copy_command`].
fn call<T: Uapi>(
    context: &Context,
    arg: usize,
    f: impl FnOnce(&mut State, &mut T) -> Result,
    undo: impl FnOnce(&mut State, &T, bool),
) -> Result {
    let (size, given): (_, T) = copy_command(arg)?;
    let mut cmd = given;
    context.with(|state| {
        let result = f(state, &mut cmd);
        let written = if cmd.as_bytes() == given.as_bytes() {
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
    if cmd.flags != 0 || cmd.__reserved != 0 {
        return Err(EOPNOTSUPP);
    }
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
    let how = Bind::new(cmd.flags, cmd.policy, cmd.cookie)?;
    let tracker = crate::hwpt::tracker(cmd.iommufd, cmd.hwpt_id)?;
    cmd.out_tracker_id = state.bind(how, |binding| {
        crate::bound::Bound::own(binding, tracker).map(Some)
    })?;
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
    let how = Bind::new(0, cmd.policy, cmd.cookie)?;
    if how.policy == Policy::Fail {
        return Err(EINVAL);
    }
    cmd.out_tracker_id = state.bind(how, |_| Ok(None))?;
    Ok(())
}

fn unbind(state: &mut State, cmd: &mut uapi::Unbind) -> Result {
    let keep = IOMMUFD_DIRTY_UNBIND_KEEP;
    if cmd.flags & !keep != 0 || cmd.__reserved != 0 {
        return Err(EOPNOTSUPP);
    }
    if cmd.flags & keep == 0 && cmd.next_iova != 0 {
        return Err(EINVAL);
    }
    state.unbind(cmd.tracker_id, cmd.flags & keep != 0, &mut cmd.next_iova)
}

fn list(state: &mut State, cmd: &mut uapi::List) -> Result {
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

fn tracker_info(state: &mut State, cmd: &mut uapi::TrackerInfo) -> Result {
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
    m.acknowledge();
    m.policy = policy;
    Ok(())
}

fn stats(state: &mut State, cmd: &mut uapi::Stats) -> Result {
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
    /// The id could not be told: nobody has used it.
    fn undo_bind(&mut self, id: u32, done: bool) {
        if done {
            let _ = self.unbind(id, false, &mut 0);
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
