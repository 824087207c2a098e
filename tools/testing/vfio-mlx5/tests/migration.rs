// SPDX-License-Identifier: GPL-2.0

//! Tests of `cmd/migration.rs`: each mailbox, bit for bit.

use crate::{
    commands::{
        expected,
        mailbox, //
    },
    common::cases, //
};
use mlx5_model::{
    bits,
    ifc::*, //
};
use proptest::prelude::*;
use vfio_mlx5_logic::cmd::{
    migration::{
        Load,
        Needed,
        Query,
        Resume,
        Save,
        Saved,
        Side,
        Suspend, //
    },
    mkey::Mkey,
    Command,
    Reply,
    INLINE_LEN, //
};

/// The key with this index, as the firmware gives it.
fn key(index: u32) -> Mkey {
    let mut reply = vec![0; create_mkey_out::SIZE];
    bits::set(&mut reply, create_mkey_out::mkey_index, index.into());
    Mkey::decode(&reply).unwrap()
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn suspend_and_resume(vhca_id: u16, responder: bool) {
        let (side, suspend, resume) = if responder {
            (
                Side::Responder,
                MLX5_SUSPEND_VHCA_IN_OP_MOD_SUSPEND_RESPONDER,
                MLX5_RESUME_VHCA_IN_OP_MOD_RESUME_RESPONDER,
            )
        } else {
            (
                Side::Initiator,
                MLX5_SUSPEND_VHCA_IN_OP_MOD_SUSPEND_INITIATOR,
                MLX5_RESUME_VHCA_IN_OP_MOD_RESUME_INITIATOR,
            )
        };
        let fields = [
            (suspend_vhca_in::vhca_id, vhca_id.into()),
            (suspend_vhca_in::op_mod, suspend),
        ];
        prop_assert_eq!(
            mailbox(&Suspend { vhca_id, side }),
            expected(suspend_vhca_in::SIZE, MLX5_CMD_OP_SUSPEND_VHCA, &fields, &[])
        );
        let fields = [
            (resume_vhca_in::vhca_id, vhca_id.into()),
            (resume_vhca_in::op_mod, resume),
        ];
        prop_assert_eq!(
            mailbox(&Resume { vhca_id, side }),
            expected(resume_vhca_in::SIZE, MLX5_CMD_OP_RESUME_VHCA, &fields, &[])
        );
    }

    #[test]
    fn query(
        vhca_id: u16,
        incremental: bool,
        chunks: bool,
        bytes: u32,
        total: u64,
        state in 0..16_u64,
    ) {
        use query_vhca_migration_state_in as query_in;
        use query_vhca_migration_state_out as query_out;
        prop_assert_eq!(
            mailbox(&Query { vhca_id, incremental, chunks }),
            expected(
                query_in::SIZE,
                MLX5_CMD_OP_QUERY_VHCA_MIGRATION_STATE,
                &[
                    (query_in::vhca_id, vhca_id.into()),
                    (query_in::incremental, incremental.into()),
                    (query_in::chunk, chunks.into()),
                ],
                &[],
            )
        );
        let mut reply = vec![0; query_out::SIZE];
        bits::set(&mut reply, query_out::required_umem_size, bytes.into());
        bits::set(&mut reply, query_out::remaining_total_size, total);
        bits::set(&mut reply, query_out::migration_state, state);
        let is_initial = state == MLX5_QUERY_VHCA_MIG_STATE_OPER_MIGRATION_INIT;
        let needed = Needed { bytes, total, is_initial };
        prop_assert_eq!(Needed::LEN, query_out::SIZE);
        prop_assert_eq!(Needed::decode(&reply), Some(needed));
        prop_assert_eq!(needed.all(), total.max(bytes.into()));
    }

    #[test]
    fn save(
        vhca_id: u16,
        index in 0..1_u32 << 24,
        room: u32,
        incremental: bool,
        track: bool,
        length: u32,
        next: u32,
    ) {
        let memory = key(index);
        let fields = [
            (save_vhca_state_in::vhca_id, vhca_id.into()),
            (save_vhca_state_in::mkey, u64::from(index) << 8),
            (save_vhca_state_in::size, room.into()),
            (save_vhca_state_in::incremental, incremental.into()),
            (save_vhca_state_in::set_track, track.into()),
        ];
        prop_assert_eq!(
            mailbox(&Save { vhca_id, memory, room, incremental, track }),
            expected(save_vhca_state_in::SIZE, MLX5_CMD_OP_SAVE_VHCA_STATE, &fields, &[])
        );
        let mut reply = vec![0; save_vhca_state_out::SIZE];
        bits::set(&mut reply, save_vhca_state_out::actual_image_size, length.into());
        bits::set(&mut reply, save_vhca_state_out::next_required_umem_size, next.into());
        prop_assert_eq!(Saved::LEN, save_vhca_state_out::SIZE);
        prop_assert_eq!(Saved::decode(&reply), Some(Saved { length, next }));
    }

    #[test]
    fn load(vhca_id: u16, index in 0..1_u32 << 24, length: u32) {
        let memory = key(index);
        let fields = [
            (load_vhca_state_in::vhca_id, vhca_id.into()),
            (load_vhca_state_in::mkey, u64::from(index) << 8),
            (load_vhca_state_in::size, length.into()),
        ];
        let command = Load { vhca_id, memory, length };
        prop_assert_eq!(
            mailbox(&command),
            expected(load_vhca_state_in::SIZE, MLX5_CMD_OP_LOAD_VHCA_STATE, &fields, &[])
        );
        prop_assert!(command.size() <= INLINE_LEN);
    }

    #[test]
    fn replies_that_are_cut_off_are_none(reply in prop::collection::vec(any::<u8>(), 0..8)) {
        prop_assert_eq!(Needed::decode(&reply), None);
        prop_assert_eq!(Saved::decode(&reply), None);
    }
}
