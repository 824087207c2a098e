// SPDX-License-Identifier: GPL-2.0

//! Tests of `cmd.rs` and what is below it: each mailbox, bit for bit.

use crate::common::cases;
use mlx5_model::bits;
use mlx5_model::bits::Field;
use mlx5_model::ifc::*;
use proptest::prelude::*;
use vfio_mlx5_logic::{
    cmd::{
        cq,
        encode,
        fate,
        mkey,
        object,
        qp,
        status,
        Command,
        Fate,
        Reply,
        Status,
        INLINE_LEN, //
    },
    range::Range,
    report::State, //
};

const OPCODE: Field = Field { at: 0, width: 16 };

/// A field that the model does not look at, by the offsets that the header has in the names of its
/// reserved members.
const fn field(at: usize, width: usize) -> Field {
    Field { at, width }
}

/// The mailbox of a command.
pub(crate) fn mailbox<C: Command>(command: &C) -> Option<Vec<u8>> {
    let mut mailbox = vec![0xee; command.size()];
    encode(command, &mut mailbox).map(|()| mailbox)
}

/// `len` bytes with these fields and nothing else.
pub(crate) fn expected(
    len: usize,
    opcode: u64,
    fields: &[(Field, u64)],
    tail: &[u64],
) -> Option<Vec<u8>> {
    let mut mailbox = vec![0; len];
    bits::set(&mut mailbox, OPCODE, opcode);
    for (field, value) in fields {
        assert_eq!(bits::get(&mailbox, *field), 0, "{field:?} twice");
        bits::set(&mut mailbox, *field, *value);
    }
    mailbox.extend(tail.iter().flat_map(|value| value.to_be_bytes()));
    Some(mailbox)
}

fn addresses() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(any::<u64>(), 0..20)
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn create_tracker(
        vhca_id: u16,
        log_page_size in 0..32_u8,
        log_msg_size in 0..32_u8,
        log_addr_space_size: u8,
        reporting_qpn in 0..1_u32 << 24,
        ranges in prop::collection::vec((any::<u64>(), any::<u64>()), 0..256),
    ) {
        let range = |(a, b): &(u64, u64)| Range::inclusive(*a.min(b), *a.max(b)).unwrap();
        let ranges: Vec<Range> = ranges.iter().map(range).collect();
        let command = object::Create {
            vhca_id,
            log_page_size,
            log_msg_size,
            log_addr_space_size,
            reporting_qpn,
            ranges: &ranges,
        };
        let object = create_page_track_obj_in::obj_context;
        let tail: Vec<u64> = ranges.iter().flat_map(|r| [r.first(), r.length()]).collect();
        let fields = [
            (general_obj_in_cmd_hdr::obj_type, MLX5_OBJ_TYPE_PAGE_TRACK),
            (page_track::vhca_id.within(object), vhca_id.into()),
            (page_track::track_type.within(object), 1),
            (page_track::log_page_size.within(object), log_page_size.into()),
            (page_track::log_msg_size.within(object), log_msg_size.into()),
            (page_track::log_addr_space_size.within(object), log_addr_space_size.into()),
            (page_track::reporting_qpn.within(object), reporting_qpn.into()),
            (page_track::num_ranges.within(object), ranges.len() as u64),
        ];
        prop_assert_eq!(
            mailbox(&command),
            expected(
                create_page_track_obj_in::SIZE,
                MLX5_CMD_OP_CREATE_GENERAL_OBJECT,
                &fields,
                &tail
            )
        );
    }

    #[test]
    fn use_tracker(id: u32, a: u64, b: u64) {
        let header = [
            (general_obj_in_cmd_hdr::obj_type, MLX5_OBJ_TYPE_PAGE_TRACK),
            (general_obj_in_cmd_hdr::obj_id, id.into()),
        ];
        let id = object::Id(id);
        let range = Range::inclusive(a.min(b), a.max(b)).unwrap();
        let object = create_page_track_obj_in::obj_context;
        let mut fields = header.to_vec();
        fields.extend([
            (page_track::modify_field_select.within(object), 3),
            (page_track::range_start_address.within(object), range.first()),
            (page_track::length.within(object), range.length()),
            (page_track::state.within(object), MLX5_PAGE_TRACK_STATE_REPORTING),
        ]);
        prop_assert_eq!(
            mailbox(&object::Report { id, range }),
            expected(create_page_track_obj_in::SIZE, MLX5_CMD_OP_MODIFY_GENERAL_OBJECT, &fields, &[])
        );
        let len = general_obj_in_cmd_hdr::SIZE;
        prop_assert_eq!(
            mailbox(&object::Query(id)),
            expected(len, MLX5_CMD_OP_QUERY_GENERAL_OBJECT, &header, &[])
        );
        prop_assert_eq!(
            mailbox(&object::Destroy(id)),
            expected(len, MLX5_CMD_OP_DESTROY_GENERAL_OBJECT, &header, &[])
        );
    }

    #[test]
    fn create_qp(
        pd in 0..1_u32 << 24,
        uar in 0..1_u32 << 24,
        cqn in 0..1_u32 << 24,
        ts_format in 0..4_u8,
        cqe_version_1: bool,
        log_size in 0..16_u8,
        log_page_size in 0..32_u8,
        doorbell: u64,
        pages in addresses(),
        receives: bool,
    ) {
        let receive = qp::Receive {
            cqn,
            log_size,
            log_page_size,
            doorbell,
            pages: pages.iter().copied(),
        };
        let command = qp::Create {
            pd,
            uar,
            ts_format,
            cqe_version_1,
            receive: receives.then_some(receive),
        };
        let context = create_qp_in::qpc;
        let mut fields = vec![
            // st is 0.
            (field(0x13, 2).within(context), 3),
            (qpc::pd.within(context), pd.into()),
            (qpc::uar_page.within(context), uar.into()),
            (field(0x58, 2).within(context), ts_format.into()),
            (qpc::no_sq.within(context), 1),
        ];
        if cqe_version_1 {
            fields.push((field(0x88, 24).within(context), 0xff_ffff));
        }
        if receives {
            fields.extend([
                (qpc::cqn_rcv.within(context), cqn.into()),
                (qpc::log_rq_size.within(context), log_size.into()),
                (qpc::log_page_size.within(context), log_page_size.into()),
                (qpc::dbr_addr.within(context), doorbell),
            ]);
        } else {
            fields.push((qpc::rq_type.within(context), 3));
        }
        let tail: &[u64] = if receives { &pages } else { &[] };
        prop_assert_eq!(
            mailbox(&command),
            expected(create_qp_in::SIZE, MLX5_CMD_OP_CREATE_QP, &fields, tail)
        );
    }

    #[test]
    fn steps_of_a_qp(number in 0..1_u32 << 24, remote in 0..1_u32 << 24, log_msg_max in 0..32_u8) {
        let qpn = qp::Qpn(number);
        let path = |at: usize, width| field(0xc0 + at, width);
        let context = rst2init_qp_in::qpc;
        let with = |fields: &[(Field, u64)]| {
            let inside = fields.iter().map(|(field, value)| (field.within(context), *value));
            let mut all: Vec<_> = inside.collect();
            all.push((rst2init_qp_in::qpn, number.into()));
            all
        };
        prop_assert_eq!(
            mailbox(&qp::ToInit { qpn }),
            expected(
                rst2init_qp_in::SIZE,
                MLX5_CMD_OP_RST2INIT_QP,
                &with(&[
                    (path(0x128, 8), 1),
                    (field(0x13, 2), 3),
                    (field(0x490, 1), 1),
                    (field(0x491, 1), 1),
                ]),
                &[]
            )
        );
        prop_assert_eq!(
            mailbox(&qp::ToReceive { qpn, remote: qp::Qpn(remote), log_msg_max }),
            expected(
                init2rtr_qp_in::SIZE,
                MLX5_CMD_OP_INIT2RTR_QP,
                &with(&[
                    (field(0x40, 3), 5),
                    (field(0x43, 5), log_msg_max.into()),
                    (qpc::remote_qpn, remote.into()),
                    (path(0x128, 8), 1),
                    (path(0, 1), 1),
                    (field(0x4a3, 5), 1),
                ]),
                &[]
            )
        );
        prop_assert_eq!(
            mailbox(&qp::ToSend { qpn }),
            expected(
                rtr2rts_qp_in::SIZE,
                MLX5_CMD_OP_RTR2RTS_QP,
                &with(&[(field(0x38d, 3), 7), (field(0x390, 3), 7), (path(0x40, 5), 8)]),
                &[]
            )
        );
        prop_assert_eq!(
            mailbox(&qp::Destroy { qpn }),
            expected(
                destroy_qp_in::SIZE,
                MLX5_CMD_OP_DESTROY_QP,
                &[(destroy_qp_in::qpn, number.into())],
                &[]
            )
        );
    }

    #[test]
    fn create_cq(
        log_size in 0..32_u8,
        eqn: u32,
        uar in 0..1_u32 << 24,
        log_page_size in 0..32_u8,
        doorbell: u64,
        pages in addresses(),
        number in 0..1_u32 << 24,
    ) {
        let context = create_cq_in::cq_context;
        let command = cq::Create {
            log_size,
            eqn,
            uar,
            log_page_size,
            doorbell,
            pages: pages.iter().copied(),
        };
        let fields = [
            (cqc::log_cq_size.within(context), log_size.into()),
            (cqc::c_eqn_or_apu_element.within(context), eqn.into()),
            (cqc::uar_page.within(context), uar.into()),
            (cqc::log_page_size.within(context), log_page_size.into()),
            (cqc::dbr_addr.within(context), doorbell),
        ];
        prop_assert_eq!(
            mailbox(&command),
            expected(create_cq_in::SIZE, MLX5_CMD_OP_CREATE_CQ, &fields, &pages)
        );
        let fields = [(destroy_cq_in::cqn, number.into())];
        prop_assert_eq!(
            mailbox(&cq::Destroy { cqn: number }),
            expected(destroy_cq_in::SIZE, MLX5_CMD_OP_DESTROY_CQ, &fields, &[])
        );
    }

    #[test]
    fn create_mkey(
        pd in 0..1_u32 << 24,
        bytes: u64,
        log_page_size in 0..64_u8,
        pages in addresses(),
        index in 0..1_u32 << 24,
    ) {
        let entry = create_mkey_in::memory_key_mkey_entry;
        let command = mkey::Create {
            pd,
            bytes,
            log_page_size,
            pages: pages.iter().copied(),
        };
        let octwords = pages.len().div_ceil(2) as u64;
        let fields = [
            (field(0x300, 32), octwords),
            (mkc::access_mode_1_0.within(entry), 1),
            (mkc::lr.within(entry), 1),
            (mkc::lw.within(entry), 1),
            (field(0x12, 1).within(entry), 1),
            (field(0x13, 1).within(entry), 1),
            (mkc::pd.within(entry), pd.into()),
            (field(0x20, 24).within(entry), 0xff_ffff),
            (mkc::log_page_size.within(entry), log_page_size.into()),
            (mkc::translations_octword_size.within(entry), octwords),
            (mkc::len.within(entry), bytes),
        ];
        let mut tail = pages.clone();
        tail.resize(octwords as usize * 2, 0);
        prop_assert_eq!(
            mailbox(&command),
            expected(create_mkey_in::SIZE, MLX5_CMD_OP_CREATE_MKEY, &fields, &tail)
        );

        let mut reply = vec![0; create_mkey_out::SIZE];
        bits::set(&mut reply, create_mkey_out::mkey_index, index.into());
        let key = mkey::Mkey::decode(&reply).unwrap();
        prop_assert_eq!(key.lkey(), index << 8);
        let fields = [(destroy_mkey_in::mkey_index, index.into())];
        prop_assert_eq!(
            mailbox(&mkey::Destroy(key)),
            expected(destroy_mkey_in::SIZE, MLX5_CMD_OP_DESTROY_MKEY, &fields, &[])
        );
    }

    #[test]
    fn replies(id: u32, qpn in 0..1_u32 << 24, state in 0..16_u32) {
        let mut reply = vec![0; general_obj_out_cmd_hdr::SIZE];
        bits::set(&mut reply, general_obj_out_cmd_hdr::obj_id, id.into());
        prop_assert_eq!(object::Id::decode(&reply), Some(object::Id(id)));

        let mut reply = vec![0; create_qp_out::SIZE];
        bits::set(&mut reply, create_qp_out::qpn, qpn.into());
        prop_assert_eq!(qp::Qpn::decode(&reply), Some(qp::Qpn(qpn)));

        let mut reply = vec![0; query_page_track_obj_out::SIZE];
        let at = page_track::state.within(query_page_track_obj_out::obj_context);
        bits::set(&mut reply, at, state.into());
        let expected = match state {
            0 => State::Tracking,
            1 => State::Reporting,
            2 => State::Error,
            _ => State::Unknown,
        };
        prop_assert_eq!(State::decode(&reply), Some(expected));
        prop_assert_eq!(State::from_immediate((state << 28) | (id >> 4)), expected);
    }

    #[test]
    fn replies_that_are_cut_off_are_none(reply in prop::collection::vec(any::<u8>(), 0..12)) {
        prop_assert_eq!(object::Id::decode(&reply), None);
        prop_assert_eq!(qp::Qpn::decode(&reply), None);
        prop_assert_eq!(State::decode(&reply), None);
        prop_assert_eq!(mkey::Mkey::decode(&reply), None);
    }

    #[test]
    fn statuses(code: u8, rest: [u8; 7]) {
        let mut reply = vec![code];
        reply.extend(rest);
        let expected = match code {
            // 0xfe: mlx5_core has given up, and the firmware said nothing.
            0 | 0xfe => Status::Ok,
            0x1 => Status::Internal,
            0x8 | 0xf => Status::NoMore,
            0x9 => Status::BadState,
            _ => Status::Refused(code),
        };
        prop_assert_eq!(status(&reply), expected);
    }
}

#[test]
fn what_does_not_fit_is_not_sent() {
    let range = Range::new(0, 4096).unwrap();
    let create = |log_page_size, reporting_qpn, ranges: &[Range]| {
        mailbox(&object::Create {
            vhca_id: 0,
            log_page_size,
            log_msg_size: 12,
            log_addr_space_size: 12,
            reporting_qpn,
            ranges,
        })
    };
    assert!(create(31, 0xff_ffff, &[range; 255]).is_some());
    assert!(create(32, 0, &[range]).is_none());
    assert!(create(12, 0x100_0000, &[range]).is_none());
    assert!(create(12, 0, &[range; 256]).is_none());
    let mut wrong = [0; 15];
    let query = object::Query(object::Id(0));
    assert!(encode(&query, &mut wrong).is_none());
    assert!(encode(&query, &mut []).is_none());
}

/// What has no list goes onto the stack.
#[test]
fn what_a_read_sends_is_inline() {
    let id = object::Id(0);
    let range = Range::new(0, 4096).unwrap();
    assert!(object::Report { id, range }.size() <= INLINE_LEN);
    assert!(object::Query(id).size() <= INLINE_LEN);
}

/// What mlx5_core returns without a reply: before the firmware has the command, and after.
#[test]
fn fates_without_a_reply() {
    const UNSENT: [i32; 4] = [11, 12, 16, 125];

    for errno in 1..=133 {
        let expected = match UNSENT.contains(&errno) {
            true => Fate::Unsent,
            false => Fate::Open,
        };
        assert_eq!(fate(-errno, &[0; 16]), expected, "{errno}");
        assert_eq!(fate(-errno, &[0xfe, 0, 0, 0, 0, 0, 0, 1]), expected);
        // What the firmware says counts, whatever mlx5_core makes of it.
        assert_eq!(fate(-errno, &[0xf, 0, 0, 0, 0, 0, 0, 1]), Fate::NoMore);
        assert_eq!(fate(-errno, &[0x8, 0, 0, 0, 0, 0, 0, 1]), Fate::NoMore);
        assert_eq!(fate(-errno, &[0x9, 0, 0, 0, 0, 0, 0, 1]), Fate::BadState);
        assert_eq!(fate(-errno, &[0x6, 0, 0, 0, 0, 0, 0, 1]), Fate::Refused);
        assert_eq!(fate(-errno, &[0x1, 0, 0, 0, 0, 0, 0, 1]), Fate::Internal);
    }
}
