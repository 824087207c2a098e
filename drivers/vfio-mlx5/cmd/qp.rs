// SPDX-License-Identifier: GPL-2.0

//! Reliable-connected queue pairs that do not send, and the steps from their creation until they
//! are connected.

use super::{
    number,
    Command,
    Reply, //
};
use crate::{
    abi::bindings::{
        self,
        mlx5_ifc_create_qp_in_bits as create_in,
        mlx5_ifc_create_qp_out_bits as create_out,
        mlx5_ifc_destroy_qp_in_bits as destroy_in,
        mlx5_ifc_init2rtr_qp_in_bits as rtr_in,
        mlx5_ifc_rst2init_qp_in_bits as init_in,
        mlx5_ifc_rtr2rts_qp_in_bits as rts_in, //
    },
    ifc::{
        self,
        field,
        Writer, //
    },
};
use core::mem::offset_of;

// C header include/linux/mlx5/qp.h and include/rdma/ib_verbs.h: `crate::abi` compares.
/// `MLX5_QP_ST_RC`
pub const ST_RC: u32 = 0;
/// `MLX5_NON_ZERO_RQ`
pub const NON_ZERO_RQ: u32 = 0;
/// `MLX5_ZERO_LEN_RQ`
pub const ZERO_LEN_RQ: u32 = 3;
/// `IB_MTU_4096`
pub const MTU_4096: u32 = 5;

/// No user index: the CQEs have the number of the queue pair.
const NO_USER_INDEX: u32 = 0xff_ffff;
/// Bytes of an entry of the receive queue: one data segment.
pub const WQE_LEN: usize = 16;

/// A queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Qpn(pub u32);

impl Reply for Qpn {
    const LEN: usize = ifc::bytes::<create_out>();

    fn decode(mailbox: &[u8]) -> Option<Self> {
        number(mailbox, field!(create_out, qpn)).map(Self)
    }
}

/// The receive queue of a queue pair that has one.
#[derive(Debug)]
pub struct Receive<I> {
    /// Where it says what it received.
    pub cqn: u32,
    /// It has 2^n entries of [`WQE_LEN`] bytes.
    pub log_size: u8,
    /// 2^(12 + n) bytes in a page of it.
    pub log_page_size: u8,
    /// DMA address of its doorbell record.
    pub doorbell: u64,
    /// DMA address of each page.
    pub pages: I,
}

/// Make a queue pair, in reset.
#[derive(Debug)]
pub struct Create<I> {
    /// Protection domain.
    pub pd: u32,
    /// The page with its doorbells.
    pub uar: u32,
    /// How it takes the time.
    pub ts_format: u8,
    /// The device's CQEs have version 1.
    pub cqe_version_1: bool,
    /// `None`: it does not receive.
    pub receive: Option<Receive<I>>,
}

impl<I: Iterator<Item = u64> + ExactSizeIterator + Clone> Command for Create<I> {
    const OPCODE: u32 = bindings::MLX5_CMD_OP_CREATE_QP;
    type Reply = Qpn;

    fn size(&self) -> usize {
        let pages = self.receive.as_ref().map_or(0, |rq| rq.pages.len());
        ifc::bytes::<create_in>().saturating_add(pages.saturating_mul(size_of::<u64>()))
    }

    fn fill(&self, mailbox: &mut Writer<'_>) {
        mailbox
            .set(field!(create_in, qpc.st), ST_RC)
            .set(
                field!(create_in, qpc.pm_state),
                bindings::MLX5_QPC_PM_STATE_MIGRATED,
            )
            .set(field!(create_in, qpc.pd), self.pd)
            .set(field!(create_in, qpc.uar_page), self.uar)
            .set(field!(create_in, qpc.ts_format), self.ts_format)
            .set(field!(create_in, qpc.no_sq), 1_u32);
        if self.cqe_version_1 {
            mailbox.set(field!(create_in, qpc.user_index), NO_USER_INDEX);
        }
        let Some(rq) = &self.receive else {
            mailbox.set(field!(create_in, qpc.rq_type), ZERO_LEN_RQ);
            return;
        };
        mailbox
            .set(field!(create_in, qpc.rq_type), NON_ZERO_RQ)
            .set(field!(create_in, qpc.cqn_rcv), rq.cqn)
            // 0 is 16 bytes.
            .set(field!(create_in, qpc.log_rq_stride), 0_u32)
            .set(field!(create_in, qpc.log_rq_size), rq.log_size)
            .set(field!(create_in, qpc.log_page_size), rq.log_page_size)
            .set(field!(create_in, qpc.dbr_addr), rq.doorbell)
            .list(offset_of!(create_in, pas) / 8, rq.pages.clone());
    }
}

/// A command that takes a queue pair one step further.
macro_rules! step {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $member:ident: $type:ty,)* }
            $opcode:ident, $layout:ident, |$self:ident, $mailbox:ident| $fill:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            /// Which.
            pub qpn: Qpn,
            $($(#[$about])* pub $member: $type,)*
        }

        impl Command for $name {
            const OPCODE: u32 = bindings::$opcode;
            type Reply = ();

            fn size(&self) -> usize {
                ifc::bytes::<$layout>()
            }

            fn fill(&self, $mailbox: &mut Writer<'_>) {
                let $self = self;
                $mailbox.set(field!($layout, qpn), self.qpn.0);
                $fill;
            }
        }
    };
}

step! {
    /// From reset to initialised: it can be given receives.
    ToInit {} MLX5_CMD_OP_RST2INIT_QP, init_in, |_qp, mailbox| mailbox
        .set(field!(init_in, qpc.primary_address_path.vhca_port_num), 1_u32)
        .set(field!(init_in, qpc.pm_state), bindings::MLX5_QPC_PM_STATE_MIGRATED)
        .set(field!(init_in, qpc.rre), 1_u32)
        .set(field!(init_in, qpc.rwe), 1_u32)
}

step! {
    /// Connected to `remote`, a queue pair of the same port: it can receive.
    ToReceive {
        /// The other end.
        remote: Qpn,
        /// 2^n bytes are the most that a message may have: the device's own limit.
        log_msg_max: u8,
    } MLX5_CMD_OP_INIT2RTR_QP, rtr_in, |qp, mailbox| mailbox
        .set(field!(rtr_in, qpc.mtu), MTU_4096)
        .set(field!(rtr_in, qpc.log_msg_max), qp.log_msg_max)
        .set(field!(rtr_in, qpc.remote_qpn), qp.remote.0)
        .set(field!(rtr_in, qpc.primary_address_path.vhca_port_num), 1_u32)
        // It loops back.
        .set(field!(rtr_in, qpc.primary_address_path.fl), 1_u32)
        // 10 us: the receives are posted again as fast as they are read.
        .set(field!(rtr_in, qpc.min_rnr_nak), 1_u32)
}

step! {
    /// It can send: for ever again if there is no receive, as the driver comes to post one or gives
    /// up by itself.
    ToSend {} MLX5_CMD_OP_RTR2RTS_QP, rts_in, |_qp, mailbox| mailbox
        .set(field!(rts_in, qpc.retry_count), 7_u32)
        .set(field!(rts_in, qpc.rnr_retry), 7_u32)
        // 4.096 us * 2^8.
        .set(field!(rts_in, qpc.primary_address_path.ack_timeout), 8_u32)
}

step! {
    /// It is no more, and does not write anywhere from then on.
    Destroy {} MLX5_CMD_OP_DESTROY_QP, destroy_in, |_qp, _mailbox| {}
}
