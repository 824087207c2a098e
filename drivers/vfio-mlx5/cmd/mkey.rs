// SPDX-License-Identifier: GPL-2.0

//! Memory keys: which memory a queue pair may write to.

use super::{
    number,
    Command,
    Reply, //
};
use crate::{
    abi::bindings::{
        self,
        mlx5_ifc_create_mkey_in_bits as create_in,
        mlx5_ifc_create_mkey_out_bits as create_out,
        mlx5_ifc_destroy_mkey_in_bits as destroy_in, //
    },
    ifc::{
        self,
        field,
        Writer, //
    },
};
use core::mem::offset_of;

/// For any queue pair of the protection domain.
const ANY_QP: u32 = 0xff_ffff;

/// A key, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mkey(u32);

impl Mkey {
    /// What a work request has in it. The variant, its lower byte, is 0: none is used twice.
    pub fn lkey(self) -> u32 {
        self.0.wrapping_shl(8)
    }
}

impl Reply for Mkey {
    const LEN: usize = ifc::bytes::<create_out>();

    fn decode(mailbox: &[u8]) -> Option<Self> {
        number(mailbox, field!(create_out, mkey_index)).map(Self)
    }
}

/// Make a key for memory that is at address 0 for those who use it.
#[derive(Debug)]
pub struct Create<I> {
    /// Protection domain.
    pub pd: u32,
    /// Bytes of memory.
    pub bytes: u64,
    /// 2^n bytes in a page of it.
    pub log_page_size: u8,
    /// DMA address of each page.
    pub pages: I,
}

impl<I: ExactSizeIterator> Create<I> {
    /// Two addresses are an octword.
    fn octwords(&self) -> usize {
        self.pages.len().div_ceil(2)
    }
}

impl<I: Iterator<Item = u64> + ExactSizeIterator + Clone> Command for Create<I> {
    const OPCODE: u32 = bindings::MLX5_CMD_OP_CREATE_MKEY;
    type Reply = Mkey;

    fn size(&self) -> usize {
        ifc::bytes::<create_in>().saturating_add(self.octwords().saturating_mul(16))
    }

    fn fill(&self, mailbox: &mut Writer<'_>) {
        // CAST: A usize has at most 64 bits.
        let octwords = self.octwords() as u64;
        mailbox
            .set(
                field!(create_in, translations_octword_actual_size),
                octwords,
            )
            .set(
                field!(create_in, memory_key_mkey_entry.access_mode_1_0),
                bindings::MLX5_MKC_ACCESS_MODE_MTT,
            )
            .set(field!(create_in, memory_key_mkey_entry.lr), 1_u32)
            .set(field!(create_in, memory_key_mkey_entry.lw), 1_u32)
            // The firmware comes as a remote when it saves or loads a VF's state.
            .set(field!(create_in, memory_key_mkey_entry.rr), 1_u32)
            .set(field!(create_in, memory_key_mkey_entry.rw), 1_u32)
            .set(field!(create_in, memory_key_mkey_entry.pd), self.pd)
            .set(field!(create_in, memory_key_mkey_entry.qpn), ANY_QP)
            .set(
                field!(create_in, memory_key_mkey_entry.log_page_size),
                self.log_page_size,
            )
            .set(
                field!(create_in, memory_key_mkey_entry.translations_octword_size),
                octwords,
            )
            .set(field!(create_in, memory_key_mkey_entry.len), self.bytes)
            .list(offset_of!(create_in, klm_pas_mtt) / 8, self.pages.clone());
    }
}

/// Nobody may use it any more.
#[derive(Debug)]
pub struct Destroy(pub Mkey);

impl Command for Destroy {
    const OPCODE: u32 = bindings::MLX5_CMD_OP_DESTROY_MKEY;
    type Reply = ();

    fn size(&self) -> usize {
        ifc::bytes::<destroy_in>()
    }

    fn fill(&self, mailbox: &mut Writer<'_>) {
        mailbox.set(field!(destroy_in, mkey_index), self.0 .0);
    }
}
