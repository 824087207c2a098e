// SPDX-License-Identifier: GPL-2.0

//! CREATE_EQ, DESTROY_EQ.

use super::done;
use super::refusal;
use super::Caller;
use super::Command;
use super::Reply;
use super::REPLY;
use crate::bits;
use crate::bits::Field;
use crate::bits::In;
use crate::bits::Out;
use crate::device::State;
use crate::eq::Eq;
use crate::eq::LOG_EQE_SIZE;
use crate::ifc::*;
use crate::queue::Queue;

pub const COMMANDS: &[Command] = &[
    Command {
        opcode: MLX5_CMD_OP_CREATE_EQ,
        name: "CREATE_EQ",
        input: create_eq_in::SIZE,
        output: create_eq_out::SIZE,
        since: State::Initialized,
        run: create_eq,
    },
    Command {
        opcode: MLX5_CMD_OP_DESTROY_EQ,
        name: "DESTROY_EQ",
        input: destroy_eq_in::SIZE,
        output: REPLY,
        since: State::Initialized,
        run: destroy_eq,
    },
];

fn create_eq(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let context = create_eq_in::eq_context_entry;
    let log_size = input.get32(eqc::log_eq_size.within(context));
    let log_page = input.get32(eqc::log_page_size.within(context)) + 12;
    let vector = input.get32(eqc::intr.within(context)) as usize;
    let uar = input.get32(eqc::uar_page.within(context));

    let pages = Queue::pages(log_page, LOG_EQE_SIZE, log_size);
    let pages = pages.and_then(|count| input.addresses(create_eq_in::pas, count));
    let pages = pages.ok_or(refusal!(BadInpLen, "fewer pages than the queue takes"))?;
    let queue = Queue::new(pages, log_page, LOG_EQE_SIZE, log_size);
    let queue = queue.ok_or(refusal!(BadParam, "the queue is too large"))?;

    let mut events = [0; 4];
    let bitmask = input.bytes(create_eq_in::event_bitmask);
    for (n, word) in events.iter_mut().enumerate() {
        let field = Field {
            at: n * 64,
            width: 64,
        };
        *word = bits::get(bitmask, field);
    }

    let me = caller.me();
    if vector >= me.irqs.count() {
        return Err(refusal!(BadParam, "no such vector"));
    }
    if !me.objects.uars.contains(uar) {
        return Err(refusal!(BadRes, "no such UAR"));
    }
    let eqn = me.objects.eqs.insert(Eq::new(queue, vector, events));
    let eqn = eqn.ok_or(refusal!(NoRes, "no more EQs"))?;
    Ok(Out::new(create_eq_out::SIZE).set(create_eq_out::eq_number, eqn.into()))
}

fn destroy_eq(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let eqn = input.get32(destroy_eq_in::eq_number);
    let objects = &mut caller.me().objects;
    if objects.cqs.iter().any(|(_, cq)| cq.eqn == eqn) {
        return Err(refusal!(ResBusy, "a CQ uses the EQ"));
    }
    let removed = objects.eqs.remove(eqn);
    removed.ok_or(refusal!(BadRes, "no such EQ"))?;
    done()
}
