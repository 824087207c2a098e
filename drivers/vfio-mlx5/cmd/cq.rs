// SPDX-License-Identifier: GPL-2.0

//! Completion queues.

use super::{
    Command,
    Reply, //
};
use crate::{
    abi::bindings::{
        self,
        mlx5_ifc_create_cq_in_bits as create_in,
        mlx5_ifc_create_cq_out_bits as create_out,
        mlx5_ifc_destroy_cq_in_bits as destroy_in, //
    },
    ifc::{
        self,
        field,
        Writer, //
    },
};
use core::mem::offset_of;

/// Make a completion queue, with entries of 64 bytes.
#[derive(Debug)]
pub struct Create<I> {
    /// It has 2^n entries.
    pub log_size: u8,
    /// Where its events go.
    pub eqn: u32,
    /// The page with its doorbells.
    pub uar: u32,
    /// 2^(12 + n) bytes in a page of it.
    pub log_page_size: u8,
    /// DMA address of its doorbell record.
    pub doorbell: u64,
    /// DMA address of each page.
    pub pages: I,
}

/// Which number it has, `mlx5_core` looks up by itself.
pub struct Created(());

impl Reply for Created {
    const LEN: usize = ifc::bytes::<create_out>();

    fn decode(_: &[u8]) -> Option<Self> {
        Some(Self(()))
    }
}

impl<I: Iterator<Item = u64> + ExactSizeIterator + Clone> Command for Create<I> {
    const OPCODE: u32 = bindings::MLX5_CMD_OP_CREATE_CQ;
    type Reply = Created;

    fn size(&self) -> usize {
        let list = self.pages.len().saturating_mul(size_of::<u64>());
        ifc::bytes::<create_in>().saturating_add(list)
    }

    fn fill(&self, mailbox: &mut Writer<'_>) {
        mailbox
            .set(field!(create_in, cq_context.log_cq_size), self.log_size)
            .set(field!(create_in, cq_context.c_eqn_or_apu_element), self.eqn)
            .set(field!(create_in, cq_context.uar_page), self.uar)
            .set(
                field!(create_in, cq_context.log_page_size),
                self.log_page_size,
            )
            .set(field!(create_in, cq_context.dbr_addr), self.doorbell)
            .list(offset_of!(create_in, pas) / 8, self.pages.clone());
    }
}

/// It is no more.
#[derive(Debug)]
pub struct Destroy {
    /// Which.
    pub cqn: u32,
}

impl Command for Destroy {
    const OPCODE: u32 = bindings::MLX5_CMD_OP_DESTROY_CQ;
    type Reply = ();

    fn size(&self) -> usize {
        ifc::bytes::<destroy_in>()
    }

    fn fill(&self, mailbox: &mut Writer<'_>) {
        mailbox.set(field!(destroy_in, cqn), self.cqn);
    }
}
