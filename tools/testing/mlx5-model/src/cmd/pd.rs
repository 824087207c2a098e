// SPDX-License-Identifier: GPL-2.0

//! ALLOC_PD, DEALLOC_PD.

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
        opcode: MLX5_CMD_OP_ALLOC_PD,
        name: "ALLOC_PD",
        input: 16,
        output: alloc_pd_out::SIZE,
        since: State::Initialized,
        run: alloc_pd,
    },
    Command {
        opcode: MLX5_CMD_OP_DEALLOC_PD,
        name: "DEALLOC_PD",
        input: dealloc_pd_in::SIZE,
        output: REPLY,
        since: State::Initialized,
        run: dealloc_pd,
    },
];

fn alloc_pd(caller: &mut Caller<'_>, _: In<'_>) -> Reply {
    let pd = caller.me().objects.pds.insert(());
    let pd = pd.ok_or(refusal!(NoRes, "no more PDs"))?;
    Ok(Out::new(alloc_pd_out::SIZE).set(alloc_pd_out::pd, pd.into()))
}

fn dealloc_pd(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let pd = input.get32(dealloc_pd_in::pd);
    let objects = &mut caller.me().objects;
    let users = objects.mkeys.iter().map(|(_, mkey)| mkey.pd);
    let mut users = users.chain(objects.qps.iter().map(|(_, qp)| qp.pd));
    if users.any(|user| user == pd) {
        return Err(refusal!(ResBusy, "the PD is in use"));
    }
    let freed = objects.pds.remove(pd);
    freed.ok_or(refusal!(BadRes, "no such PD"))?;
    done()
}
