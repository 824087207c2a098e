// SPDX-License-Identifier: GPL-2.0

//! ALLOC_UAR, DEALLOC_UAR.

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

pub const COMMANDS: &[Command] = &[
    Command {
        opcode: MLX5_CMD_OP_ALLOC_UAR,
        name: "ALLOC_UAR",
        input: 16,
        output: alloc_uar_out::SIZE,
        since: State::Initialized,
        run: alloc_uar,
    },
    Command {
        opcode: MLX5_CMD_OP_DEALLOC_UAR,
        name: "DEALLOC_UAR",
        input: dealloc_uar_in::SIZE,
        output: REPLY,
        since: State::Initialized,
        run: dealloc_uar,
    },
];

fn alloc_uar(caller: &mut Caller<'_>, _: In<'_>) -> Reply {
    let uar = caller.me().objects.uars.insert(());
    let uar = uar.ok_or(refusal!(NoRes, "no more UARs"))?;
    Ok(Out::new(alloc_uar_out::SIZE).set(alloc_uar_out::uar, uar.into()))
}

fn dealloc_uar(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let uar = input.get32(dealloc_uar_in::uar);
    let freed = caller.me().objects.uars.remove(uar);
    freed.ok_or(refusal!(BadRes, "no such UAR"))?;
    done()
}
