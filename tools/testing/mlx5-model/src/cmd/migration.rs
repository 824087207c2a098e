// SPDX-License-Identifier: GPL-2.0

//! Migration of a VHCA: suspend, save, load, resume. Commands of the PF about a VF.
//!
//! Each image is a whole one, also those that are asked for as incremental: a later one replaces an
//! earlier one when it is loaded.

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

/// More than the image of any VF.
const MAX_IMAGE: u32 = 64 << 20;

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
    let side = match input.get(resume_vhca_in::op_mod) {
        MLX5_RESUME_VHCA_IN_OP_MOD_RESUME_INITIATOR => &mut vf.suspended.initiator,
        MLX5_RESUME_VHCA_IN_OP_MOD_RESUME_RESPONDER => &mut vf.suspended.responder,
        _ => return Err(refusal!(BadParam, "no such side")),
    };
    if !*side {
        return Err(refusal!(BadResState, "not suspended"));
    }
    *side = false;
    if !vf.suspended.any() {
        let held = std::mem::take(&mut vf.held_commands);
        crate::cmdq::doorbell(caller.device, number, held);
    }
    done()
}

fn query(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    use query_vhca_migration_state_in::*;
    use query_vhca_migration_state_out::*;
    if input.is_set(chunk) {
        return Err(refusal!(BadParam, "images are not in chunks"));
    }
    let number = find(caller, input.get(vhca_id))?;
    let vf = get(caller, number)?;
    if input.is_set(query_vhca_migration_state_in::incremental) && !vf.tracked {
        return Err(refusal!(BadResState, "the state is not tracked"));
    }
    let size = vf.image().len() as u64;
    Ok(Out::new(query_vhca_migration_state_out::SIZE).set(required_umem_size, size))
}

/// The key of the PF that a command names, and how many bytes.
fn buffer(caller: &mut Caller<'_>, key: u32, size: u32) -> Result<Mkey, Refusal> {
    if size == 0 || size > MAX_IMAGE {
        return Err(refusal!(BadParam, "a size that no image has"));
    }
    let mkey = caller.me().objects.mkeys.get(key >> 8);
    let mkey = mkey.filter(|mkey| u32::from(mkey.tag) == key & 0xff);
    mkey.cloned().ok_or(refusal!(BadRes, "no such key"))
}

fn save(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    use save_vhca_state_in::*;
    let number = find(caller, input.get(vhca_id))?;
    let room = input.get32(size);
    let buffer = buffer(caller, input.get32(mkey), room)?;
    let vf = get(caller, number)?;
    let track = input.is_set(set_track);
    if !track && !vf.suspended.both() && !vf.tracked {
        return Err(refusal!(
            BadResState,
            "the VHCA runs, and is not to be tracked"
        ));
    }
    if input.is_set(incremental) && !vf.tracked {
        return Err(refusal!(BadResState, "the state is not tracked"));
    }
    vf.tracked = track;
    let image = vf.image();
    if image.len() > room as usize {
        return Err(refusal!(Limit, "no room for the image"));
    }
    let written = buffer.write(&caller.me().memory, input.get(va), &image);
    written.map_err(|_| refusal!(BadParam, "the buffer cannot be written to"))?;
    Ok(Out::new(save_vhca_state_out::SIZE)
        .set(save_vhca_state_out::actual_image_size, image.len() as u64))
}

fn load(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    use load_vhca_state_in::*;
    let number = find(caller, input.get(vhca_id))?;
    let len = input.get32(size);
    let buffer = buffer(caller, input.get32(mkey), len)?;
    if !get(caller, number)?.suspended.both() {
        return Err(refusal!(BadResState, "the VHCA runs"));
    }
    let mut bytes = vec![0; len as usize];
    let read = buffer.read(&caller.me().memory, input.get(va), &mut bytes);
    read.map_err(|_| refusal!(BadParam, "the buffer cannot be read"))?;
    let state = image::load(&bytes).ok_or(refusal!(BadParam, "not an image"))?;
    let taken = get(caller, number)?.take(state);
    taken.ok_or(refusal!(BadParam, "the image of another device"))?;
    done()
}
