// SPDX-License-Identifier: GPL-2.0

//! General objects: the page tracker is the only one.

use super::done;
use super::refusal;
use super::Caller;
use super::Command;
use super::Refusal;
use super::Reply;
use super::Status;
use crate::bits;
use crate::bits::In;
use crate::bits::Out;
use crate::device::State;
use crate::ifc::*;
use crate::qp;
use crate::tracker;
use crate::tracker::Tracker;

/// The driver tracks all that the VHCA writes.
const TRACK_TYPE_FULL: u64 = 1;
/// In modify_field_select: the range and the state.
const SELECT_RANGE_STATE: u64 = 0x3;

const fn command(
    opcode: u64,
    name: &'static str,
    run: fn(&mut Caller<'_>, In<'_>) -> Reply,
) -> Command {
    Command {
        opcode,
        name,
        input: general_obj_in_cmd_hdr::SIZE,
        output: general_obj_out_cmd_hdr::SIZE,
        since: State::Initialized,
        run,
    }
}

pub const COMMANDS: &[Command] = &[
    command(
        MLX5_CMD_OP_CREATE_GENERAL_OBJECT,
        "CREATE_GENERAL_OBJECT",
        create,
    ),
    command(
        MLX5_CMD_OP_MODIFY_GENERAL_OBJECT,
        "MODIFY_GENERAL_OBJECT",
        modify,
    ),
    command(
        MLX5_CMD_OP_QUERY_GENERAL_OBJECT,
        "QUERY_GENERAL_OBJECT",
        query,
    ),
    command(
        MLX5_CMD_OP_DESTROY_GENERAL_OBJECT,
        "DESTROY_GENERAL_OBJECT",
        destroy,
    ),
];

fn check_kind(input: In<'_>) -> Result<(), Refusal> {
    match input.get(general_obj_in_cmd_hdr::obj_type) {
        MLX5_OBJ_TYPE_PAGE_TRACK => Ok(()),
        _ => Err(refusal!(BadOp, "no such kind of object")),
    }
}

fn reply(id: u32) -> Reply {
    Ok(Out::new(general_obj_out_cmd_hdr::SIZE).set(general_obj_out_cmd_hdr::obj_id, id.into()))
}

/// (start, length) of each range.
fn ranges(input: In<'_>, count: usize) -> Result<Vec<(u64, u64)>, Refusal> {
    let end = create_page_track_obj_in::SIZE + count * page_track_range::SIZE;
    let list = input.0.get(create_page_track_obj_in::SIZE..end);
    let list = list.ok_or(refusal!(BadInpLen, "fewer ranges than it says"))?;
    let list = list.chunks_exact(page_track_range::SIZE).map(|range| {
        let start = bits::get(range, page_track_range::start_address);
        (start, bits::get(range, page_track_range::length))
    });
    Ok(list.collect())
}

fn create(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    check_kind(input)?;
    let context = create_page_track_obj_in::obj_context;
    let get = |field: crate::bits::Field| input.get(field.within(context));
    if caller.me().gateway.is_none() {
        return Err(refusal!(BadOp, "only the PF tracks"));
    }
    if get(page_track::track_type) != TRACK_TYPE_FULL {
        return Err(refusal!(BadParam, "no such type of tracking"));
    }
    let (log_page, log_msg) = (
        get(page_track::log_page_size),
        get(page_track::log_msg_size),
    );
    let log_space = get(page_track::log_addr_space_size);
    let limits = caller.me().limits.clone();
    let pages = limits.log_min_page..=limits.log_max_page;
    let messages = limits.log_min_msg..=limits.log_max_msg;
    if !pages.contains(&log_page) || !messages.contains(&log_msg) {
        return Err(refusal!(BadParam, "a page or message size out of bounds"));
    }
    if !(limits.log_min_span..=limits.log_max_span).contains(&log_space) {
        return Err(refusal!(BadParam, "an address space out of bounds"));
    }
    let count = get(page_track::num_ranges);
    if !(1..=limits.ranges).contains(&count) {
        return Err(refusal!(Limit, "the number of ranges is out of bounds"));
    }
    let ranges = ranges(input, count as usize)?;
    let total = ranges.iter().try_fold(0u64, |sum, (start, len)| {
        start.checked_add(len.checked_sub(1)?)?;
        sum.checked_add(*len)
    });
    if total.is_none_or(|total| total > 1 << log_space) {
        return Err(refusal!(BadParam, "ranges beyond the address space"));
    }

    let vhca_id = get(page_track::vhca_id) as u16;
    let known = |f: &crate::device::Function| f.vhca_id == vhca_id && f.powered;
    if !caller.device.functions.iter().skip(1).any(known) {
        return Err(refusal!(BadRes, "no such VHCA"));
    }
    let one_per_vhca = match caller.device.faults.one_per_vhca {
        0 => limits.one_per_vhca,
        status => status,
    };
    let objects = &mut caller.me().objects;
    let qpn = get(page_track::reporting_qpn) as u32;
    let qp = objects.qps.get(qpn).ok_or(refusal!(BadRes, "no such QP"))?;
    if qp.state != qp::State::ReadyToSend {
        return Err(refusal!(BadQpState, "the QP cannot send"));
    }
    let second = objects.trackers.iter().any(|(_, t)| t.vhca_id == vhca_id);
    if let Some(status) = Status::from_number(one_per_vhca).filter(|_| second) {
        let refusal = refusal!(NoRes, "no second tracker of a VHCA");
        return Err(Refusal { status, ..refusal });
    }
    if objects.trackers.len() as u64 >= limits.trackers {
        return Err(refusal!(NoRes, "no more trackers"));
    }
    let tracker = Tracker::new(vhca_id, qpn, log_page as u32, log_msg as u32, &ranges);
    let id = objects.trackers.insert(tracker);
    reply(id.ok_or(refusal!(NoRes, "no more trackers"))?)
}

fn modify(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    check_kind(input)?;
    if input.0.len() < create_page_track_obj_in::SIZE {
        return Err(refusal!(BadInpLen, "no tracker"));
    }
    let get =
        |field: crate::bits::Field| input.get(field.within(create_page_track_obj_in::obj_context));
    if get(page_track::modify_field_select) != SELECT_RANGE_STATE
        || get(page_track::state) != MLX5_PAGE_TRACK_STATE_REPORTING
    {
        return Err(refusal!(BadParam, "only a report of a range"));
    }
    let id = input.get32(general_obj_in_cmd_hdr::obj_id);
    let objects = &caller.me().objects;
    let tracker = objects.trackers.get(id);
    let tracker = tracker.ok_or(refusal!(BadRes, "no such tracker"))?;
    if tracker.state != tracker::State::Tracking {
        return Err(refusal!(BadResState, "the tracker reports, or has failed"));
    }
    let qp = objects.qps.get(tracker.qpn);
    let qp = qp.ok_or(refusal!(BadRes, "no such QP"))?;
    if qp.state != qp::State::ReadyToSend {
        return Err(refusal!(BadQpState, "the QP cannot send"));
    }
    let (start, len) = (
        get(page_track::range_start_address),
        get(page_track::length),
    );
    let (now, report) = (caller.device.now(), caller.device.faults.report());
    caller.device.counts.reports += 1;
    let tracker = caller.me().objects.trackers.get_mut(id);
    let tracker = tracker.ok_or(refusal!(BadRes, "no such tracker"))?;
    tracker.ask(start, len, now, report);
    reply(id)
}

fn query(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    check_kind(input)?;
    let id = input.get32(general_obj_in_cmd_hdr::obj_id);
    let tracker = caller.me().objects.trackers.get(id);
    let tracker = tracker.ok_or(refusal!(BadRes, "no such tracker"))?;
    let context = query_page_track_obj_out::obj_context;
    Ok(Out::new(query_page_track_obj_out::SIZE)
        .set(general_obj_out_cmd_hdr::obj_id, id.into())
        .set(page_track::vhca_id.within(context), tracker.vhca_id.into())
        .set(page_track::state.within(context), tracker.state as u64)
        .set(page_track::track_type.within(context), TRACK_TYPE_FULL)
        .set(
            page_track::log_page_size.within(context),
            tracker.log_page.into(),
        )
        .set(
            page_track::log_msg_size.within(context),
            tracker.log_msg.into(),
        )
        .set(
            page_track::reporting_qpn.within(context),
            tracker.qpn.into(),
        ))
}

fn destroy(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    check_kind(input)?;
    let id = input.get32(general_obj_in_cmd_hdr::obj_id);
    let objects = &mut caller.me().objects;
    let tracker = objects.trackers.remove(id);
    let tracker = tracker.ok_or(refusal!(BadRes, "no such tracker"))?;
    // What it has not sent yet nobody waits for.
    if let Some(qp) = objects.qps.get_mut(tracker.qpn) {
        qp.sends.clear();
    }
    done()
}
