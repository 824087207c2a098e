// SPDX-License-Identifier: GPL-2.0

//! What is asked of the PF to have a VF stopped, saved, loaded and set going.

use super::{
    mkey::Mkey,
    number,
    Command,
    Reply, //
};
use crate::{
    abi::bindings::{
        self,
        mlx5_ifc_load_vhca_state_in_bits as load_in,
        mlx5_ifc_query_vhca_migration_state_in_bits as query_in,
        mlx5_ifc_query_vhca_migration_state_out_bits as query_out,
        mlx5_ifc_resume_vhca_in_bits as resume_in,
        mlx5_ifc_save_vhca_state_in_bits as save_in,
        mlx5_ifc_save_vhca_state_out_bits as save_out,
        mlx5_ifc_suspend_vhca_in_bits as suspend_in, //
    },
    ifc::{
        self,
        field,
        Writer, //
    },
};

/// What of a VF is stopped, or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What it begins by itself: DMA, interrupts.
    Initiator,
    /// What it does because others want something of it.
    Responder,
}

/// Stop.
#[derive(Debug)]
pub struct Suspend {
    /// Which VF.
    pub vhca_id: u16,
    /// What of it.
    pub side: Side,
}

impl Command for Suspend {
    const OPCODE: u32 = bindings::MLX5_CMD_OP_SUSPEND_VHCA;
    type Reply = ();

    fn size(&self) -> usize {
        ifc::bytes::<suspend_in>()
    }

    fn fill(&self, mailbox: &mut Writer<'_>) {
        let side = match self.side {
            Side::Initiator => bindings::MLX5_SUSPEND_VHCA_IN_OP_MOD_SUSPEND_INITIATOR,
            Side::Responder => bindings::MLX5_SUSPEND_VHCA_IN_OP_MOD_SUSPEND_RESPONDER,
        };
        mailbox
            .set(field!(suspend_in, vhca_id), self.vhca_id)
            .set(field!(suspend_in, op_mod), side);
    }
}

/// Go on.
#[derive(Debug)]
pub struct Resume {
    /// Which VF.
    pub vhca_id: u16,
    /// What of it.
    pub side: Side,
}

impl Command for Resume {
    const OPCODE: u32 = bindings::MLX5_CMD_OP_RESUME_VHCA;
    type Reply = ();

    fn size(&self) -> usize {
        ifc::bytes::<resume_in>()
    }

    fn fill(&self, mailbox: &mut Writer<'_>) {
        let side = match self.side {
            Side::Initiator => bindings::MLX5_RESUME_VHCA_IN_OP_MOD_RESUME_INITIATOR,
            Side::Responder => bindings::MLX5_RESUME_VHCA_IN_OP_MOD_RESUME_RESPONDER,
        };
        mailbox
            .set(field!(resume_in, vhca_id), self.vhca_id)
            .set(field!(resume_in, op_mod), side);
    }
}

/// How large is the state?
#[derive(Debug)]
pub struct Query {
    /// Which VF's.
    pub vhca_id: u16,
    /// Only what has changed since the last [`Save`], which was to [`Save::track`] it.
    pub incremental: bool,
    /// It may be saved in chunks.
    pub chunks: bool,
}

/// What there is to be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    /// Bytes of memory that a [`Save`] needs, at least.
    pub bytes: u32,
    /// Bytes of all the saves together; only said of what is saved in chunks.
    pub total: u64,
    /// What was configured anew has to be known to the other side before the VF stops. Some
    /// firmware never says so.
    pub is_initial: bool,
}

impl Needed {
    /// Bytes of all the saves together.
    pub fn all(&self) -> u64 {
        self.total.max(self.bytes.into())
    }
}

impl Reply for Needed {
    const LEN: usize = ifc::bytes::<query_out>();

    fn decode(mailbox: &[u8]) -> Option<Self> {
        const INIT: u32 = bindings::MLX5_QUERY_VHCA_MIG_STATE_OPER_MIGRATION_INIT;

        let state = number(mailbox, field!(query_out, migration_state))?;
        Some(Self {
            bytes: number(mailbox, field!(query_out, required_umem_size))?,
            total: ifc::get(mailbox, field!(query_out, remaining_total_size))?,
            is_initial: state == INIT,
        })
    }
}

impl Command for Query {
    const OPCODE: u32 = bindings::MLX5_CMD_OP_QUERY_VHCA_MIGRATION_STATE;
    type Reply = Needed;

    fn size(&self) -> usize {
        ifc::bytes::<query_in>()
    }

    fn fill(&self, mailbox: &mut Writer<'_>) {
        mailbox
            .set(field!(query_in, vhca_id), self.vhca_id)
            .set(field!(query_in, incremental), self.incremental)
            .set(field!(query_in, chunk), self.chunks);
    }
}

/// Write the state to memory.
#[derive(Debug)]
pub struct Save {
    /// Which VF's.
    pub vhca_id: u16,
    /// The memory, from its beginning on.
    pub memory: Mkey,
    /// Bytes of memory.
    pub room: u32,
    /// Only what the last one did not have.
    pub incremental: bool,
    /// It runs, and from now on the firmware notes what changes. Neither this nor `incremental`, of
    /// a VF that runs: it does not note that any more, and writes nothing.
    pub track: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Bytes of it.
    pub length: u32,
    /// Bytes of memory that another [`Save`] needs to go on; 0 if this was all.
    pub next: u32,
}

impl Reply for Saved {
    const LEN: usize = ifc::bytes::<save_out>();

    fn decode(mailbox: &[u8]) -> Option<Self> {
        Some(Self {
            length: number(mailbox, field!(save_out, actual_image_size))?,
            next: number(mailbox, field!(save_out, next_required_umem_size))?,
        })
    }
}

impl Command for Save {
    const OPCODE: u32 = bindings::MLX5_CMD_OP_SAVE_VHCA_STATE;
    type Reply = Saved;

    fn size(&self) -> usize {
        ifc::bytes::<save_in>()
    }

    fn fill(&self, mailbox: &mut Writer<'_>) {
        mailbox
            .set(field!(save_in, vhca_id), self.vhca_id)
            .set(field!(save_in, mkey), self.memory.lkey())
            .set(field!(save_in, size), self.room)
            .set(field!(save_in, incremental), self.incremental)
            .set(field!(save_in, set_track), self.track);
    }
}

/// Take the state from memory.
#[derive(Debug)]
pub struct Load {
    /// Which VF's.
    pub vhca_id: u16,
    /// The memory, from its beginning on.
    pub memory: Mkey,
    /// Bytes of the state.
    pub length: u32,
}

impl Command for Load {
    const OPCODE: u32 = bindings::MLX5_CMD_OP_LOAD_VHCA_STATE;
    type Reply = ();

    fn size(&self) -> usize {
        ifc::bytes::<load_in>()
    }

    fn fill(&self, mailbox: &mut Writer<'_>) {
        mailbox
            .set(field!(load_in, vhca_id), self.vhca_id)
            .set(field!(load_in, mkey), self.memory.lkey())
            .set(field!(load_in, size), self.length);
    }
}
