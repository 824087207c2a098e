// SPDX-License-Identifier: GPL-2.0

//! Pages that the host lends to the firmware. The model needs none, and takes some: the driver's
//! accounts have to come out even.

use super::done;
use super::refusal;
use super::Caller;
use super::Command;
use super::Reply;
use crate::bits::In;
use crate::bits::Out;
use crate::device::State;
use crate::device::PF;
use crate::eq::EventData;
use crate::ifc::*;

const BOOT: u64 = 1;
const INIT: u64 = 2;
const CANT_GIVE: u64 = 0;
const GIVE: u64 = 1;
const TAKE: u64 = 2;

const BOOT_PAGES: u64 = 8;
const INIT_PAGES: u64 = 40;
/// What the PF is asked for when it enables a VF.
const VF_PAGES: i32 = 20;
/// More than any function is asked for.
const MAX_PAGES: usize = 1 << 12;

pub const COMMANDS: &[Command] = &[
    Command {
        opcode: MLX5_CMD_OP_QUERY_PAGES,
        name: "QUERY_PAGES",
        input: query_pages_in::SIZE,
        output: query_pages_out::SIZE,
        since: State::Enabled,
        run: query_pages,
    },
    Command {
        opcode: MLX5_CMD_OP_MANAGE_PAGES,
        name: "MANAGE_PAGES",
        input: manage_pages_in::SIZE,
        output: manage_pages_out::SIZE,
        since: State::Enabled,
        run: manage_pages,
    },
];

fn query_pages(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    // The PF pays for its VFs.
    let is_pf = caller.me().gateway.is_some();
    let pages = match input.get(query_pages_in::op_mod) {
        BOOT | INIT if !is_pf => 0,
        BOOT => BOOT_PAGES,
        INIT => INIT_PAGES,
        _ => return Err(refusal!(BadParam, "no such kind of pages")),
    };
    Ok(Out::new(query_pages_out::SIZE).set(query_pages_out::num_pages, pages))
}

fn manage_pages(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let function_id = input.get(manage_pages_in::function_id) as u16;
    let count = input.get(manage_pages_in::input_num_entries) as usize;
    caller.target(function_id)?;
    let pages = caller.me().pages.entry(function_id).or_default();
    match input.get(manage_pages_in::op_mod) {
        GIVE => {
            let new = input.addresses(manage_pages_in::pas, count);
            let new = new.ok_or(refusal!(BadInpLen, "fewer pages than it says"))?;
            if pages.len().saturating_add(new.len()) > MAX_PAGES {
                return Err(refusal!(Limit, "too many pages"));
            }
            if new.iter().any(|page| page & 0xfff != 0) {
                return Err(refusal!(BadParam, "a page that is not aligned"));
            }
            pages.extend(new);
            Ok(Out::new(manage_pages_out::SIZE))
        }
        TAKE => {
            let taken = pages.split_off(pages.len().saturating_sub(count));
            let out = Out::new(manage_pages_out::SIZE);
            Ok(out
                .set(manage_pages_out::output_num_entries, taken.len() as u64)
                .push(&taken))
        }
        CANT_GIVE => done(),
        _ => Err(refusal!(BadParam, "no such operation")),
    }
}

fn request(caller: &mut Caller<'_>, function_id: u16, pages: i32) {
    let mut data: EventData = [0; 28];
    data[2..4].copy_from_slice(&function_id.to_be_bytes());
    data[4..8].copy_from_slice(&pages.to_be_bytes());
    let pf = caller.device.functions.get_mut(PF);
    if let Some(pf) = pf {
        pf.event(MLX5_EVENT_TYPE_CODING_PAGE_REQUEST as u8, &data);
    }
}

/// Asks the PF for a VF's pages.
pub fn ask(caller: &mut Caller<'_>, function_id: u16) {
    request(caller, function_id, VF_PAGES);
}

/// Asks the PF to take a VF's pages back.
pub fn give_back(caller: &mut Caller<'_>, function_id: u16) {
    let held = caller.me().pages.get(&function_id).map_or(0, Vec::len);
    if let Ok(held @ 1..) = i32::try_from(held) {
        request(caller, function_id, -held);
    }
}
