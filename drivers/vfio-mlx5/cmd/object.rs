// SPDX-License-Identifier: GPL-2.0

//! The page tracker, a general object of the firmware.

use super::{
    number,
    Command,
    Reply, //
};
use crate::{
    abi::bindings::{
        self,
        mlx5_ifc_create_page_track_obj_in_bits as create_in,
        mlx5_ifc_general_obj_in_cmd_hdr_bits as header_in,
        mlx5_ifc_general_obj_out_cmd_hdr_bits as header_out,
        mlx5_ifc_modify_page_track_obj_in_bits as modify_in,
        mlx5_ifc_page_track_range_bits as page_track_range,
        mlx5_ifc_query_page_track_obj_out_bits as query_out, //
    },
    ifc::{
        self,
        field,
        Writer, //
    },
    range::Range,
    report::State, //
};

/// The ranges follow the object.
const RANGES: usize = ifc::bytes::<create_in>();
const RANGE_LEN: usize = ifc::bytes::<page_track_range>();

/// All that the VHCA writes is tracked.
const TRACK_TYPE_FULL: u32 = 1;
/// What MODIFY is to look at: the range, and the state.
const SELECT_RANGE_AND_STATE: u32 = 0x3;

fn header(mailbox: &mut Writer<'_>, id: Option<Id>) {
    mailbox.set(
        field!(header_in, obj_type),
        bindings::MLX5_OBJ_TYPE_PAGE_TRACK,
    );
    if let Some(Id(id)) = id {
        mailbox.set(field!(header_in, obj_id), id);
    }
}

/// Which tracker of the PF's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub u32);

impl Reply for Id {
    const LEN: usize = ifc::bytes::<header_out>();

    fn decode(mailbox: &[u8]) -> Option<Self> {
        number(mailbox, field!(header_out, obj_id)).map(Self)
    }
}

/// Begin to track.
#[derive(Debug)]
pub struct Create<'a> {
    /// Whose writes.
    pub vhca_id: u16,
    /// 2^n bytes for each address of a report.
    pub log_page_size: u8,
    /// 2^n bytes in a message, at most.
    pub log_msg_size: u8,
    /// 2^n bytes are enough for the sum of the ranges.
    pub log_addr_space_size: u8,
    /// The queue pair that sends the reports.
    pub reporting_qpn: u32,
    /// Where. None of them is the whole address space, whose length is no number.
    pub ranges: &'a [Range],
}

impl Command for Create<'_> {
    const OPCODE: u32 = bindings::MLX5_CMD_OP_CREATE_GENERAL_OBJECT;
    type Reply = Id;

    fn size(&self) -> usize {
        RANGES.saturating_add(self.ranges.len().saturating_mul(RANGE_LEN))
    }

    fn fill(&self, mailbox: &mut Writer<'_>) {
        header(mailbox, None);
        mailbox
            .set(field!(create_in, obj_context.vhca_id), self.vhca_id)
            .set(field!(create_in, obj_context.track_type), TRACK_TYPE_FULL)
            .set(
                field!(create_in, obj_context.log_page_size),
                self.log_page_size,
            )
            .set(
                field!(create_in, obj_context.log_msg_size),
                self.log_msg_size,
            )
            .set(
                field!(create_in, obj_context.log_addr_space_size),
                self.log_addr_space_size,
            )
            .set(
                field!(create_in, obj_context.reporting_qpn),
                self.reporting_qpn,
            )
            // CAST: A usize has at most 64 bits.
            .set(
                field!(create_in, obj_context.num_ranges),
                self.ranges.len() as u64,
            );
        for (n, range) in self.ranges.iter().enumerate() {
            let at = RANGES.saturating_add(n.saturating_mul(RANGE_LEN));
            mailbox.part(at, |entry| {
                entry
                    .set(field!(page_track_range, start_address), range.first())
                    .set(field!(page_track_range, length), range.length());
            });
        }
    }
}

/// Report what is dirty in a range, and make it clean.
#[derive(Debug)]
pub struct Report {
    /// Which tracker.
    pub id: Id,
    /// Which part of what it tracks.
    pub range: Range,
}

impl Command for Report {
    const OPCODE: u32 = bindings::MLX5_CMD_OP_MODIFY_GENERAL_OBJECT;
    type Reply = ();

    fn size(&self) -> usize {
        ifc::bytes::<modify_in>()
    }

    fn fill(&self, mailbox: &mut Writer<'_>) {
        header(mailbox, Some(self.id));
        mailbox
            .set(
                field!(modify_in, obj_context.modify_field_select),
                SELECT_RANGE_AND_STATE,
            )
            .set(
                field!(modify_in, obj_context.range_start_address),
                self.range.first(),
            )
            .set(field!(modify_in, obj_context.length), self.range.length())
            .set(
                field!(modify_in, obj_context.state),
                bindings::MLX5_PAGE_TRACK_STATE_REPORTING,
            );
    }
}

/// What does the tracker do?
#[derive(Debug)]
pub struct Query(pub Id);

impl Command for Query {
    const OPCODE: u32 = bindings::MLX5_CMD_OP_QUERY_GENERAL_OBJECT;
    type Reply = State;

    fn size(&self) -> usize {
        ifc::bytes::<header_in>()
    }

    fn fill(&self, mailbox: &mut Writer<'_>) {
        header(mailbox, Some(self.0));
    }
}

impl Reply for State {
    const LEN: usize = ifc::bytes::<query_out>();

    fn decode(mailbox: &[u8]) -> Option<Self> {
        number(mailbox, field!(query_out, obj_context.state)).map(Self::from_number)
    }
}

/// Track no more, and forget what is dirty.
#[derive(Debug)]
pub struct Destroy(pub Id);

impl Command for Destroy {
    const OPCODE: u32 = bindings::MLX5_CMD_OP_DESTROY_GENERAL_OBJECT;
    type Reply = ();

    fn size(&self) -> usize {
        ifc::bytes::<header_in>()
    }

    fn fill(&self, mailbox: &mut Writer<'_>) {
        header(mailbox, Some(self.0));
    }
}
