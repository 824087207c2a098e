// SPDX-License-Identifier: GPL-2.0

//! CREATE_CQ, DESTROY_CQ.

use super::done;
use super::refusal;
use super::Caller;
use super::Command;
use super::Reply;
use super::REPLY;
use crate::bits::In;
use crate::bits::Out;
use crate::cq::Cq;
use crate::cq::LOG_CQE_SIZE;
use crate::device::State;
use crate::ifc::*;
use crate::queue::Queue;

pub const COMMANDS: &[Command] = &[
    Command {
        opcode: MLX5_CMD_OP_CREATE_CQ,
        name: "CREATE_CQ",
        input: create_cq_in::SIZE,
        output: create_cq_out::SIZE,
        since: State::Initialized,
        run: create_cq,
    },
    Command {
        opcode: MLX5_CMD_OP_DESTROY_CQ,
        name: "DESTROY_CQ",
        input: destroy_cq_in::SIZE,
        output: REPLY,
        since: State::Initialized,
        run: destroy_cq,
    },
];

fn create_cq(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let context = create_cq_in::cq_context;
    let get = |field: crate::bits::Field| input.get(field.within(context));
    if get(cqc::cqe_sz) != 0 {
        return Err(refusal!(BadParam, "entries of another size than 64 bytes"));
    }
    let log_size = get(cqc::log_cq_size) as u32;
    let log_page = get(cqc::log_page_size) as u32 + 12;
    let pages = Queue::pages(log_page, LOG_CQE_SIZE, log_size);
    let pages = pages.and_then(|count| input.addresses(create_cq_in::pas, count));
    let pages = pages.ok_or(refusal!(BadInpLen, "fewer pages than the queue takes"))?;
    let queue = Queue::new(pages, log_page, LOG_CQE_SIZE, log_size);
    let queue = queue.ok_or(refusal!(BadParam, "the queue is too large"))?;

    let objects = &mut caller.me().objects;
    if !objects.uars.contains(get(cqc::uar_page) as u32) {
        return Err(refusal!(BadRes, "no such UAR"));
    }
    let eqn = get(cqc::c_eqn_or_apu_element) as u32;
    if !objects.eqs.contains(eqn) {
        return Err(refusal!(BadRes, "no such EQ"));
    }
    let cqn = objects.cqs.insert(Cq::new(queue, eqn, get(cqc::dbr_addr)));
    let cqn = cqn.ok_or(refusal!(NoRes, "no more CQs"))?;
    Ok(Out::new(create_cq_out::SIZE).set(create_cq_out::cqn, cqn.into()))
}

fn destroy_cq(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let cqn = input.get32(destroy_cq_in::cqn);
    let objects = &mut caller.me().objects;
    let mut receives = objects.qps.iter().filter_map(|(_, qp)| qp.receive.as_ref());
    if receives.any(|receive| receive.cqn == cqn) {
        return Err(refusal!(ResBusy, "the CQ is in use"));
    }
    let removed = objects.cqs.remove(cqn);
    removed.ok_or(refusal!(BadRes, "no such CQ"))?;
    done()
}
