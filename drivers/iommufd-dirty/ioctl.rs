// SPDX-License-Identifier: GPL-2.0

//! The ioctls of a context: which there are, and their common format.

use crate::{
    abi::{
        bindings::*,
        chardev::NewFile,
        uapi::{
            self,
            copy_in,
            copy_out,
            Uapi, //
        }, //
    },
    bind::{
        bind_hwpt,
        bind_untracked,
        set_policy,
        unbind, //
    },
    context::Context,
    info::{
        info,
        list,
        stats,
        tracker_info, //
    },
    state::State, //
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
/// If it cannot go out, `undo` is told whether `f` succeeded, and makes it so that nothing was
/// done. If `f` has written nothing, nothing goes out that could fail.
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

fn stop(state: &mut State, cmd: &mut uapi::Stop) -> Result {
    if cmd.flags != 0 {
        return Err(EOPNOTSUPP);
    }
    state.stop()
}

impl State {
    /// That it is started could not be told.
    fn undo_start(&mut self, cmd: &uapi::Start, done: bool) {
        if done && cmd.flags & IOMMUFD_DIRTY_START_DRY_RUN == 0 {
            let _ = self.stop();
        }
    }
}
