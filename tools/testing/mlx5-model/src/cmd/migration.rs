// SPDX-License-Identifier: GPL-2.0

//! Migration of a VHCA: suspend, save, load, resume. Commands of the PF about a VF.
//!
//! What is refused, and where that is known from:
//!
//! - to track a VHCA that is suspended: mlx5vf_cmd_suspend_vhca() of drivers/vfio/pci/mlx5/cmd.c,
//!   which waits for that reason; thus a save that is under way fails if it is suspended meanwhile;
//! - what is incremental of a VHCA that is not tracked: mlx5vf_cmd_query_vhca_migration_state() there;
//! - a second save while one is under way: that driver has but one at a time;
//! - a state that does not go on where the last one ended, and to run with half of one: nobody says
//!   so. It is what a firmware that takes deltas has to do.
//!
//! To save neither incrementally nor tracked a VHCA that runs, and is tracked, ends the tracking: the
//! "pre_copy cleanup" of main.c there. It comes without memory if nothing had changed.

use super::done;
use super::refusal;
use super::Caller;
use super::Command;
use super::Refusal;
use super::Reply;
use super::REPLY;
use crate::bits::In;
use crate::bits::Out;
use crate::device::Function;
use crate::device::State;
use crate::ifc::*;
use crate::image;
use crate::mkey::Mkey;
use crate::stream::Loading;
use crate::stream::Saving;

const fn command(
    opcode: u64,
    name: &'static str,
    input: usize,
    output: usize,
    run: fn(&mut Caller<'_>, In<'_>) -> Reply,
) -> Command {
    Command {
        opcode,
        name,
        input,
        output,
        since: State::Initialized,
        run,
    }
}

pub const COMMANDS: &[Command] = &[
    command(
        MLX5_CMD_OP_SUSPEND_VHCA,
        "SUSPEND_VHCA",
        suspend_vhca_in::SIZE,
        REPLY,
        suspend,
    ),
    command(
        MLX5_CMD_OP_RESUME_VHCA,
        "RESUME_VHCA",
        resume_vhca_in::SIZE,
        REPLY,
        resume,
    ),
    command(
        MLX5_CMD_OP_QUERY_VHCA_MIGRATION_STATE,
        "QUERY_VHCA_MIGRATION_STATE",
        query_vhca_migration_state_in::SIZE,
        query_vhca_migration_state_out::SIZE,
        query,
    ),
    command(
        MLX5_CMD_OP_SAVE_VHCA_STATE,
        "SAVE_VHCA_STATE",
        save_vhca_state_in::SIZE,
        save_vhca_state_out::SIZE,
        save,
    ),
    command(
        MLX5_CMD_OP_LOAD_VHCA_STATE,
        "LOAD_VHCA_STATE",
        load_vhca_state_in::SIZE,
        REPLY,
        load,
    ),
];

/// The number of the VF with this VHCA id.
fn find(caller: &mut Caller<'_>, vhca_id: u64) -> Result<usize, Refusal> {
    if caller.me().gateway.is_none() {
        return Err(refusal!(BadOp, "only the PF migrates"));
    }
    let mut functions = caller.device.functions.iter();
    let number = functions.position(|f| u64::from(f.vhca_id) == vhca_id && f.powered);
    match number {
        Some(number @ 1..) => Ok(number),
        _ => Err(refusal!(BadRes, "no such VHCA")),
    }
}

fn get<'a>(caller: &'a mut Caller<'_>, number: usize) -> Result<&'a mut Function, Refusal> {
    let function = caller.device.functions.get_mut(number);
    function.ok_or(refusal!(BadRes, "no such VHCA"))
}

fn suspend(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let number = find(caller, input.get(suspend_vhca_in::vhca_id))?;
    let vf = get(caller, number)?;
    let side = match input.get(suspend_vhca_in::op_mod) {
        MLX5_SUSPEND_VHCA_IN_OP_MOD_SUSPEND_INITIATOR => &mut vf.suspended.initiator,
        MLX5_SUSPEND_VHCA_IN_OP_MOD_SUSPEND_RESPONDER => &mut vf.suspended.responder,
        _ => return Err(refusal!(BadParam, "no such side")),
    };
    if *side {
        return Err(refusal!(BadResState, "suspended already"));
    }
    *side = true;
    done()
}

fn resume(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let number = find(caller, input.get(resume_vhca_in::vhca_id))?;
    let vf = get(caller, number)?;
    let whole = vf.loading.as_ref().is_none_or(Loading::is_whole);
    if vf.half_loaded || !whole {
        return Err(refusal!(BadResState, "it has half a state"));
    }
    let side = match input.get(resume_vhca_in::op_mod) {
        MLX5_RESUME_VHCA_IN_OP_MOD_RESUME_INITIATOR => &mut vf.suspended.initiator,
        MLX5_RESUME_VHCA_IN_OP_MOD_RESUME_RESPONDER => &mut vf.suspended.responder,
        _ => return Err(refusal!(BadParam, "no such side")),
    };
    if !*side {
        return Err(refusal!(BadResState, "not suspended"));
    }
    *side = false;
    // It changes from now on.
    vf.loading = None;
    if !vf.suspended.any() {
        let held = std::mem::take(&mut vf.held_commands);
        crate::cmdq::doorbell(caller.device, number, held);
    }
    done()
}

/// Is a save of this VHCA under way?
fn is_saving(caller: &Caller<'_>, vhca_id: u64) -> bool {
    let mut late = caller.device.late.iter();
    late.any(|late| {
        let input = late.input().unwrap_or(In(&[]));
        input.get(query_issi_in::opcode) == MLX5_CMD_OP_SAVE_VHCA_STATE
            && input.get(save_vhca_state_in::vhca_id) == vhca_id
    })
}

fn query(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    use query_vhca_migration_state_in::*;
    use query_vhca_migration_state_out::*;
    let id = input.get(vhca_id);
    let number = find(caller, id)?;
    let log_chunk = caller.me().limits.log_chunk;
    if input.is_set(chunk) && log_chunk == 0 {
        return Err(refusal!(BadParam, "states are not in chunks"));
    }
    let is_saving = is_saving(caller, id);
    let vf = get(caller, number)?;
    let objects = vf.image();
    let stopped = vf.suspended.both();
    let (size, state) = match &vf.saving {
        Some(saving) if input.is_set(incremental) => {
            if is_saving {
                return Err(refusal!(BadResState, "a save is under way"));
            }
            let state = if vf.reinit {
                MLX5_QUERY_VHCA_MIG_STATE_OPER_MIGRATION_INIT
            } else if saving.is_pending() || saving.is_dirty(&objects, vf.ballast) {
                MLX5_QUERY_VHCA_MIG_STATE_OPER_MIGRATION_DIRTY
            } else {
                MLX5_QUERY_VHCA_MIG_STATE_OPER_MIGRATION_READY
            };
            (saving.size(&objects, vf.ballast, stopped), state)
        }
        None if input.is_set(incremental) => {
            return Err(refusal!(BadResState, "the state is not tracked"));
        }
        _ => (
            Saving::new(0).size(&objects, vf.ballast, true),
            MLX5_QUERY_VHCA_MIG_STATE_OPER_MIGRATION_IDLE,
        ),
    };
    let needed = if input.is_set(chunk) {
        size.next.min(1 << log_chunk)
    } else {
        size.next
    };
    let needed = u32::try_from(needed).map_err(|_| refusal!(Limit, "larger than can be saved"))?;
    Ok(Out::new(query_vhca_migration_state_out::SIZE)
        .set(required_umem_size, needed.into())
        .set(remaining_total_size, size.total)
        .set(migration_state, state))
}

/// The key of the PF that a command names, for so many bytes.
fn buffer(caller: &mut Caller<'_>, key: u32, va: u64, size: u32) -> Result<Mkey, Refusal> {
    let mkey = caller.me().objects.mkeys.get(key >> 8);
    let mkey = mkey.filter(|mkey| u32::from(mkey.tag) == key & 0xff);
    let mkey = mkey.ok_or(refusal!(BadRes, "no such key"))?;
    if size == 0 || !mkey.has(va, size.into()) {
        return Err(refusal!(BadParam, "not a size for this key"));
    }
    Ok(mkey.clone())
}

fn save(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    use save_vhca_state_in::*;
    let id = input.get(vhca_id);
    let number = find(caller, id)?;
    if is_saving(caller, id) {
        return Err(refusal!(BadResState, "a save is under way"));
    }
    let (inc, track) = (input.is_set(incremental), input.is_set(set_track));
    let in_chunks = caller.me().limits.log_chunk != 0;
    let vf = get(caller, number)?;
    let is_stopped = vf.suspended.both();
    if track && vf.suspended.any() {
        return Err(refusal!(BadResState, "it is suspended: no use to track it"));
    }
    let tracked = vf.saving.as_ref().is_some_and(|saving| saving.tracked);
    if !track && !is_stopped {
        if inc || !tracked {
            return Err(refusal!(BadResState, "it runs"));
        }
        vf.saving = None;
        return Ok(Out::new(save_vhca_state_out::SIZE));
    }
    if inc && vf.saving.is_none() {
        return Err(refusal!(BadResState, "the state is not tracked"));
    }
    let room = input.get32(size);
    let buffer = buffer(caller, input.get32(mkey), input.get(va), room)?;
    if !inc {
        caller.device.streams += 1;
    }
    let stream = caller.device.streams;
    let vf = get(caller, number)?;
    let objects = vf.image();
    let ballast = vf.ballast;
    let mut saving = match vf.saving.take() {
        Some(saving) if inc => saving,
        _ => Saving::new(stream),
    };
    let needed = saving.size(&objects, ballast, is_stopped).next;
    let piece = if needed > room.into() && !in_chunks {
        None
    } else {
        saving.save(&objects, ballast, room.into(), !track)
    };
    let Some(piece) = piece else {
        // Nothing has changed: it may come again with more.
        vf.saving = inc.then_some(saving);
        return Err(refusal!(Limit, "no room for the state"));
    };
    saving.tracked = track;
    let left = saving.size(&objects, ballast, is_stopped).next;
    vf.saving = (!saving.is_done()).then_some(saving);
    vf.reinit = false;
    let memory = &caller.me().memory;
    let written = buffer.write(memory, input.get(va), &piece);
    written.map_err(|_| refusal!(BadParam, "the buffer cannot be written to"))?;
    caller.device.counts.saves += 1;
    let next = if track { 0 } else { left };
    Ok(Out::new(save_vhca_state_out::SIZE)
        .set(save_vhca_state_out::actual_image_size, piece.len() as u64)
        .set(
            save_vhca_state_out::next_required_umem_size,
            next.min(1 << caller.me().limits.log_chunk),
        ))
}

fn load(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    use load_vhca_state_in::*;
    let number = find(caller, input.get(vhca_id))?;
    let len = input.get32(size);
    let buffer = buffer(caller, input.get32(mkey), input.get(va), len)?;
    let vf = get(caller, number)?;
    if !vf.suspended.both() {
        return Err(refusal!(BadResState, "the VHCA runs"));
    }
    if vf.half_loaded {
        return Err(refusal!(BadResState, "it has half a state"));
    }
    let mut bytes = vec![0; len as usize];
    let read = buffer.read(&caller.me().memory, input.get(va), &mut bytes);
    read.map_err(|_| refusal!(BadParam, "the buffer cannot be read"))?;

    let vf = get(caller, number)?;
    vf.saving = None;
    let taken = Loading::load(vf.loading.take(), &bytes).ok();
    let taken = taken.and_then(|(loading, objects)| {
        if let Some(objects) = objects {
            vf.take(image::load(&objects)?)?;
            vf.ballast = loading.ballast;
        }
        Some(loading)
    });
    if taken.is_none() {
        vf.load_failed();
        return Err(refusal!(
            BadParam,
            "not the state, or not the next part of it"
        ));
    }
    vf.loading = taken;
    done()
}
