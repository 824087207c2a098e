// SPDX-License-Identifier: GPL-2.0

//! The firmware's commands, as values with a type for each reply.
//!
//! A command says what it is and how it is laid out, and decodes its reply; [`CoreDev::exec`] sends
//! it. There is no other way to a mailbox, so what is not here is never asked for.
//!
//! Uses `core` only: the same source is in the host crate. C header:
//! `include/linux/mlx5/mlx5_ifc.h`.
//!
//! [`CoreDev::exec`]: crate::abi::core_dev::CoreDev::exec

use crate::{
    abi::bindings::{
        mlx5_ifc_nop_in_bits as any_in,
        mlx5_ifc_nop_out_bits as any_out, //
    },
    ifc::{
        self,
        field,
        Writer, //
    },
};

pub mod cq;
pub mod migration;
pub mod mkey;
pub mod object;
pub mod qp;

/// The largest command without a list of addresses or ranges, in bytes.
pub const INLINE_LEN: usize = 320;
/// The largest reply, in bytes.
pub const REPLY_LEN: usize = 128;

/// A command.
pub trait Command {
    /// `MLX5_CMD_OP_*`
    const OPCODE: u32;
    /// What comes back.
    type Reply: Reply;

    /// Bytes of the mailbox.
    fn size(&self) -> usize;

    /// Fills the mailbox, but for the opcode.
    fn fill(&self, mailbox: &mut Writer<'_>);
}

/// What comes back if the firmware did as it was told.
pub trait Reply: Sized {
    /// Bytes of the mailbox.
    const LEN: usize;

    /// `None` if the mailbox has not got what has to be in it.
    fn decode(mailbox: &[u8]) -> Option<Self>;
}

/// Nothing but that it is done.
impl Reply for () {
    const LEN: usize = ifc::bytes::<any_out>();

    fn decode(_: &[u8]) -> Option<Self> {
        Some(())
    }
}

/// Lays `command` out in `mailbox`, whose length is the command's. `None` if a value of it does not
/// fit into its field: the firmware is never told another one.
pub fn encode<C: Command>(command: &C, mailbox: &mut [u8]) -> Option<()> {
    if mailbox.len() != command.size() {
        return None;
    }
    let mut writer = Writer::new(mailbox);
    command.fill(&mut writer);
    writer.set(field!(any_in, opcode), C::OPCODE);
    writer.finish().then_some(())
}

/// What the firmware thought of a command: `MLX5_CMD_STAT_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is done, or the firmware did not say.
    Ok,
    /// `INT_ERR`: something went wrong within it.
    Internal,
    /// `LIM_ERR` or `NO_RES_ERR`: it has no more of them.
    NoMore,
    /// `BAD_RES_STATE_ERR`: what it is about is not in the state for it.
    BadState,
    /// Anything else.
    Refused(u8),
}

/// The status in a reply.
pub fn status(mailbox: &[u8]) -> Status {
    const INT_ERR: u64 = 0x1;
    const LIM_ERR: u64 = 0x8;
    const BAD_RES_STATE_ERR: u64 = 0x9;
    const NO_RES_ERR: u64 = 0xf;
    // mlx5_core's own, when it has given up the firmware: MLX5_DRIVER_STATUS_ABORTED.
    const ABORTED: u64 = 0xfe;

    match ifc::get(mailbox, field!(any_out, status)) {
        None | Some(0 | ABORTED) => Status::Ok,
        Some(INT_ERR) => Status::Internal,
        Some(LIM_ERR | NO_RES_ERR) => Status::NoMore,
        Some(BAD_RES_STATE_ERR) => Status::BadState,
        // CAST: The field has 8 bits.
        Some(other) => Status::Refused(other as u8),
    }
}

/// What became of a command that was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The firmware does not know of it.
    Unsent,
    /// The firmware said that it did nothing.
    Refused,
    /// As that, because it has no more of them.
    NoMore,
    /// As that, because what it is about is not in the state for it.
    BadState,
    /// The firmware said that something went wrong within it.
    Internal,
    /// The firmware may have it: what it was given may be in use, and what it was to do may be
    /// done.
    Open,
}

/// What became of the command for which `mlx5_cmd_exec()` returned the negative `errno` and the
/// reply `mailbox`, which was all 0 before.
pub fn fate(errno: i32, mailbox: &[u8]) -> Fate {
    // Without a reply these are mlx5_core's own: no memory for a mailbox; all entries of the queue
    // are stalled, or there is none; no entry became free in time; the worker did not come to it.
    const EAGAIN: i32 = -11;
    const ENOMEM: i32 = -12;
    const EBUSY: i32 = -16;
    const ECANCELED: i32 = -125;

    match (status(mailbox), errno) {
        (Status::Ok, EAGAIN | ENOMEM | EBUSY | ECANCELED) => Fate::Unsent,
        (Status::Ok, _) => Fate::Open,
        (Status::Internal, _) => Fate::Internal,
        (Status::NoMore, _) => Fate::NoMore,
        (Status::BadState, _) => Fate::BadState,
        (Status::Refused(_), _) => Fate::Refused,
    }
}

/// A number that a reply has: `None` if it has not got it, or if it is too large to be one.
fn number(mailbox: &[u8], field: ifc::Field) -> Option<u32> {
    ifc::get(mailbox, field)?.try_into().ok()
}
