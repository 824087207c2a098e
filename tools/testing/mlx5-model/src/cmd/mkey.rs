// SPDX-License-Identifier: GPL-2.0

//! CREATE_MKEY, DESTROY_MKEY.

use super::done;
use super::refusal;
use super::Caller;
use super::Command;
use super::Reply;
use super::REPLY;
use crate::bits::In;
use crate::bits::Out;
use crate::device::State;
use crate::ifc::*;
use crate::mkey::Layout;
use crate::mkey::Mkey;

/// `MLX5_MKC_ACCESS_MODE_MTT`
const ACCESS_MODE_MTT: u64 = 1;
/// The low bits of an entry say how it may be used.
const MTT_FLAGS: u64 = 0b11;

pub const COMMANDS: &[Command] = &[
    Command {
        opcode: MLX5_CMD_OP_CREATE_MKEY,
        name: "CREATE_MKEY",
        input: create_mkey_in::SIZE,
        output: create_mkey_out::SIZE,
        since: State::Initialized,
        run: create_mkey,
    },
    Command {
        opcode: MLX5_CMD_OP_DESTROY_MKEY,
        name: "DESTROY_MKEY",
        input: destroy_mkey_in::SIZE,
        output: REPLY,
        since: State::Initialized,
        run: destroy_mkey,
    },
];

fn create_mkey(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let context = create_mkey_in::memory_key_mkey_entry;
    let get = |field: crate::bits::Field| input.get(field.within(context));
    let mode = (get(mkc::access_mode_4_2) << 2) | get(mkc::access_mode_1_0);
    if mode != ACCESS_MODE_MTT {
        return Err(refusal!(BadParam, "a key that is no MTT"));
    }
    let layout = Layout {
        start: get(mkc::start_addr),
        len: get(mkc::len),
        log_page: get(mkc::log_page_size) as u32,
        readable: get(mkc::lr) != 0,
        writable: get(mkc::lw) != 0,
    };
    // In units of 16 bytes, two entries.
    let entries = (get(mkc::translations_octword_size) as usize).saturating_mul(2);
    let pages = input.addresses(create_mkey_in::klm_pas_mtt, entries);
    let pages = pages.ok_or(refusal!(BadInpLen, "fewer pages than it says"))?;
    let pages = pages.into_iter().map(|page| page & !MTT_FLAGS).collect();
    let pd = get(mkc::pd) as u32;
    let mkey = Mkey::new(pd, get(mkc::mkey_7_0) as u8, layout, pages);
    let mkey = mkey.ok_or(refusal!(BadParam, "the pages do not hold the key's range"))?;

    let objects = &mut caller.me().objects;
    if !objects.pds.contains(pd) {
        return Err(refusal!(BadRes, "no such PD"));
    }
    let index = objects.mkeys.insert(mkey);
    let index = index.ok_or(refusal!(NoRes, "no more keys"))?;
    caller.device.counts.keys += 1;
    Ok(Out::new(create_mkey_out::SIZE).set(create_mkey_out::mkey_index, index.into()))
}

fn destroy_mkey(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let index = input.get32(destroy_mkey_in::mkey_index);
    let removed = caller.me().objects.mkeys.remove(index);
    removed.ok_or(refusal!(BadRes, "no such key"))?;
    done()
}
