// SPDX-License-Identifier: GPL-2.0

//! Sends from one QP of the device to another: into the receive buffers that the driver posted, with
//! completions and events. Without a posted receive (RNR) a send waits.

use crate::cq;
use crate::cq::Receive;
use crate::device::Function;
use crate::eq::EventData;
use crate::ifc::*;
use crate::memory::Fault;
use crate::qp::Message;
use crate::qp::State;

/// Of a receive work request: one data segment.
pub const LOG_WQE_SIZE: u32 = 4;

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Done,
    /// The other end has no receive posted: try again.
    NotReady,
    /// The other end cannot take it.
    Failed,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    u32::from_be_bytes(word.unwrap_or_default())
}

/// Writes the message where the receive work request says.
fn scatter(f: &Function, pd: u32, wqe: &[u8; 1 << LOG_WQE_SIZE], data: &[u8]) -> Option<()> {
    let (room, lkey) = (word(wqe, 0), word(wqe, 4));
    let address = (u64::from(word(wqe, 8)) << 32) | u64::from(word(wqe, 12));
    if data.len() > room as usize {
        return None;
    }
    if data.is_empty() {
        return Some(());
    }
    let mkey = f.objects.mkeys.get(lkey >> 8)?;
    let valid = mkey.pd == pd && u32::from(mkey.tag) == lkey & 0xff;
    let written = valid.then(|| mkey.write(&f.memory, address, data))?;
    written.ok()
}

fn send(f: &mut Function, remote: u32, message: &Message) -> Sent {
    let Some(qp) = f.objects.qps.get(remote) else {
        return Sent::Failed;
    };
    let ready = matches!(qp.state, State::ReadyToReceive | State::ReadyToSend);
    let (Some(receive), true) = (&qp.receive, ready) else {
        return Sent::Failed;
    };
    let mut record = [0; 4];
    if f.memory.read(receive.record(), &mut record).is_err() {
        return fail_qp(f, remote);
    }
    if u32::from_be_bytes(record) as u16 == receive.consumed {
        return Sent::NotReady;
    }
    let (cqn, counter) = (receive.cqn, receive.consumed);
    let mut wqe = [0; 1 << LOG_WQE_SIZE];
    let read: Result<(), Fault> = receive.queue.read(&f.memory, counter.into(), &mut wqe);
    if read.is_err() || scatter(f, qp.pd, &wqe, &message.data).is_none() {
        return fail_qp(f, remote);
    }
    let done = Receive {
        immediate: message.immediate,
        bytes: message.data.len() as u32,
        qpn: remote,
        wqe_counter: counter,
    };
    if let Some(qp) = f.objects.qps.get_mut(remote) {
        if let Some(receive) = &mut qp.receive {
            receive.consumed = counter.wrapping_add(1);
        }
    }
    complete(f, remote, cqn, &done)
}

fn complete(f: &mut Function, qpn: u32, cqn: u32, done: &Receive) -> Sent {
    let Some(cq) = f.objects.cqs.get_mut(cqn) else {
        return fail_qp(f, qpn);
    };
    let eqn = cq.eqn;
    match cq.post(&f.memory, done) {
        Ok(false) => Sent::Done,
        Ok(true) => {
            completion_event(f, eqn, cqn);
            Sent::Done
        }
        Err(cq::Lost::Error) => fail_qp(f, qpn),
        Err(lost) => {
            eprintln!("{}: CQ {cqn:#x}: {lost:?}", f.name);
            cq.fail();
            let mut data: EventData = [0; 28];
            data[..4].copy_from_slice(&cqn.to_be_bytes());
            // Overrun, or access violation.
            data[11] = if lost == cq::Lost::Overrun { 1 } else { 2 };
            f.event(MLX5_EVENT_TYPE_CODING_CQ_ERROR as u8, &data);
            fail_qp(f, qpn)
        }
    }
}

/// Notifies the EQ of a CQ that there is a completion.
pub fn completion_event(f: &mut Function, eqn: u32, cqn: u32) {
    const KIND: u8 = MLX5_EVENT_TYPE_CODING_COMPLETION_EVENTS as u8;
    let mut data: EventData = [0; 28];
    data[24..].copy_from_slice(&cqn.to_be_bytes());
    let Some(eq) = f.objects.eqs.get_mut(eqn) else {
        return;
    };
    if let Err(lost) = eq.post(&f.memory, &mut f.irqs, KIND, &data) {
        eprintln!(
            "{}: the completion of CQ {cqn:#x} is lost: {lost:?}",
            f.name
        );
    }
}

fn fail_qp(f: &mut Function, qpn: u32) -> Sent {
    const KIND: u8 = MLX5_EVENT_TYPE_CODING_LOCAL_ACCESS_VIOLATION_WQ_ERROR as u8;
    eprintln!("{}: QP {qpn:#x}: error", f.name);
    if let Some(qp) = f.objects.qps.get_mut(qpn) {
        qp.state = State::Error;
    }
    // The type at 20 is 0: a QP.
    let mut data: EventData = [0; 28];
    data[24..].copy_from_slice(&qpn.to_be_bytes());
    f.event(KIND, &data);
    Sent::Failed
}

/// Sends one message of a QP; whether it was received.
fn step(f: &mut Function, qpn: u32) -> bool {
    let Some(qp) = f.objects.qps.get_mut(qpn) else {
        return false;
    };
    if qp.state != State::ReadyToSend {
        return false;
    }
    let remote = qp.remote;
    let Some(message) = qp.sends.pop_front() else {
        return false;
    };
    let sent = send(f, remote, &message);
    if let Some(qp) = f.objects.qps.get_mut(qpn) {
        match sent {
            Sent::Done => return true,
            Sent::NotReady => qp.sends.push_front(message),
            Sent::Failed => {
                qp.sends.clear();
                qp.state = State::Error;
                f.tracker_failed(qpn);
            }
        }
    }
    false
}

/// Sends what can be sent, the QPs by turns; how many messages were received.
pub fn pump(f: &mut Function) -> u64 {
    let mut senders = Vec::new();
    for (qpn, _) in f.objects.qps.iter() {
        senders.push(qpn);
    }
    let (mut received, mut before) = (0, u64::MAX);
    while before != received {
        before = received;
        for qpn in &senders {
            received += u64::from(step(f, *qpn));
        }
    }
    senders.into_iter().for_each(|qpn| f.tracker_reported(qpn));
    received
}

/// Whether a send waits for a receive.
pub fn waiting(f: &Function) -> bool {
    f.objects.qps.iter().any(|(_, qp)| !qp.sends.is_empty())
}
