// SPDX-License-Identifier: GPL-2.0

//! CREATE_QP, DESTROY_QP and the steps from reset to send.

use super::done;
use super::refusal;
use super::Caller;
use super::Command;
use super::Refusal;
use super::Reply;
use super::REPLY;
use crate::bits::In;
use crate::bits::Out;
use crate::device::State;
use crate::ifc::*;
use crate::qp;
use crate::qp::Qp;
use crate::qp::ReceiveQueue;
use crate::queue::Queue;
use crate::rdma::LOG_WQE_SIZE;

/// `MLX5_QP_ST_RC`
const ST_RC: u64 = 0;
/// `MLX5_NON_ZERO_RQ`, `MLX5_ZERO_LEN_RQ`
const RQ_NON_ZERO: u64 = 0;
const RQ_ZERO_LEN: u64 = 3;

const fn step(
    opcode: u64,
    name: &'static str,
    run: fn(&mut Caller<'_>, In<'_>) -> Reply,
) -> Command {
    Command {
        opcode,
        name,
        input: rst2init_qp_in::SIZE,
        output: REPLY,
        since: State::Initialized,
        run,
    }
}

pub const COMMANDS: &[Command] = &[
    Command {
        opcode: MLX5_CMD_OP_CREATE_QP,
        name: "CREATE_QP",
        input: create_qp_in::SIZE,
        output: create_qp_out::SIZE,
        since: State::Initialized,
        run: create_qp,
    },
    Command {
        opcode: MLX5_CMD_OP_DESTROY_QP,
        name: "DESTROY_QP",
        input: destroy_qp_in::SIZE,
        output: REPLY,
        since: State::Initialized,
        run: destroy_qp,
    },
    step(MLX5_CMD_OP_RST2INIT_QP, "RST2INIT_QP", rst2init),
    step(MLX5_CMD_OP_INIT2RTR_QP, "INIT2RTR_QP", init2rtr),
    step(MLX5_CMD_OP_RTR2RTS_QP, "RTR2RTS_QP", rtr2rts),
];

fn create_qp(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let get = |field: crate::bits::Field| input.get(field.within(create_qp_in::qpc));
    if get(qpc::st) != ST_RC || get(qpc::no_sq) == 0 {
        return Err(refusal!(
            BadParam,
            "another QP than an RC one that only receives"
        ));
    }
    let receive = match get(qpc::rq_type) {
        RQ_ZERO_LEN => None,
        RQ_NON_ZERO => Some(receive_queue(input)?),
        _ => return Err(refusal!(BadParam, "no such kind of receive queue")),
    };
    let pd = get(qpc::pd) as u32;
    let objects = &mut caller.me().objects;
    if !objects.pds.contains(pd) {
        return Err(refusal!(BadRes, "no such PD"));
    }
    if !objects.uars.contains(get(qpc::uar_page) as u32) {
        return Err(refusal!(BadRes, "no such UAR"));
    }
    if receive
        .as_ref()
        .is_some_and(|receive| !objects.cqs.contains(receive.cqn))
    {
        return Err(refusal!(BadRes, "no such CQ"));
    }
    let qpn = objects.qps.insert(Qp::new(pd, receive));
    let qpn = qpn.ok_or(refusal!(NoRes, "no more QPs"))?;
    Ok(Out::new(create_qp_out::SIZE).set(create_qp_out::qpn, qpn.into()))
}

fn receive_queue(input: In<'_>) -> Result<ReceiveQueue, Refusal> {
    let get = |field: crate::bits::Field| input.get(field.within(create_qp_in::qpc));
    if get(qpc::log_rq_stride) != 0 {
        return Err(refusal!(BadParam, "receives of more than one segment"));
    }
    let log_size = get(qpc::log_rq_size) as u32;
    let log_page = get(qpc::log_page_size) as u32 + 12;
    let pages = Queue::pages(log_page, LOG_WQE_SIZE, log_size);
    let pages = pages.and_then(|count| input.addresses(create_qp_in::pas, count));
    let pages = pages.ok_or(refusal!(BadInpLen, "fewer pages than the queue takes"))?;
    let queue = Queue::new(pages, log_page, LOG_WQE_SIZE, log_size);
    let queue = queue.ok_or(refusal!(BadParam, "the queue is too large"))?;
    let cqn = get(qpc::cqn_rcv) as u32;
    Ok(ReceiveQueue::new(queue, cqn, get(qpc::dbr_addr)))
}

fn destroy_qp(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let qpn = input.get32(destroy_qp_in::qpn);
    let objects = &mut caller.me().objects;
    if objects
        .trackers
        .iter()
        .any(|(_, tracker)| tracker.qpn == qpn)
    {
        return Err(refusal!(ResBusy, "a page tracker uses the QP"));
    }
    let removed = objects.qps.remove(qpn);
    removed.ok_or(refusal!(BadRes, "no such QP"))?;
    done()
}

/// Moves a QP from one state to the next.
fn advance<'a>(
    caller: &'a mut Caller<'_>,
    input: In<'_>,
    from: qp::State,
    to: qp::State,
) -> Result<&'a mut Qp, Refusal> {
    let qpn = input.get32(rst2init_qp_in::qpn);
    let qp = caller.me().objects.qps.get_mut(qpn);
    let qp = qp.ok_or(refusal!(BadRes, "no such QP"))?;
    if qp.state != from {
        return Err(refusal!(BadQpState, "the QP is in another state"));
    }
    qp.state = to;
    Ok(qp)
}

fn rst2init(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    advance(caller, input, qp::State::Reset, qp::State::Init)?;
    done()
}

fn init2rtr(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let remote = input.get32(qpc::remote_qpn.within(init2rtr_qp_in::qpc));
    let qp = advance(caller, input, qp::State::Init, qp::State::ReadyToReceive)?;
    qp.remote = remote;
    done()
}

fn rtr2rts(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    advance(
        caller,
        input,
        qp::State::ReadyToReceive,
        qp::State::ReadyToSend,
    )?;
    done()
}
