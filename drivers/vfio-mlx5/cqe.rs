// SPDX-License-Identifier: GPL-2.0

//! Entries of a completion queue, and the arithmetic of rings.
//!
//! Uses `core` only: the same source is in the host crate. C header: `include/linux/mlx5/device.h`,
//! `struct mlx5_cqe64`; `crate::abi::cq` compares.

/// Bytes of an entry.
pub const CQE_LEN: usize = 64;
/// Where the immediate of a message is, big-endian.
pub const IMMEDIATE: usize = 36;
/// Where the length of a message is, big-endian.
pub const BYTE_CNT: usize = 44;
/// Where the number of the receive is that a message went into, big-endian.
pub const WQE_COUNTER: usize = 60;
/// Where the opcode and the owner are.
pub const OP_OWN: usize = 63;
/// Of an error, where its syndrome is: `struct mlx5_err_cqe`.
pub const SYNDROME: usize = 55;

/// `MLX5_CQE_RESP_SEND_IMM`
pub const RESP_SEND_IMM: u8 = 3;
/// `MLX5_CQE_INVALID`: no entry was ever here.
pub const INVALID: u8 = 15;
/// `MLX5_CQE_OWNER_MASK`
pub const OWNER_MASK: u8 = 1;

/// A ring of 2^n entries, of which there is a number that only rises.
///
/// # Invariants
///
/// `log_size` is at most [`Ring::MAX_LOG_SIZE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    log_size: u8,
}

impl Ring {
    /// The counters of the hardware have 24 bits, some of them 16.
    pub const MAX_LOG_SIZE: u8 = 15;

    /// With 2^`log_size` entries; `None` if those are too many.
    pub fn new(log_size: u8) -> Option<Self> {
        // INVARIANT: Compared here.
        (log_size <= Self::MAX_LOG_SIZE).then_some(Self { log_size })
    }

    /// The logarithm of the number of entries.
    pub fn log_size(self) -> u8 {
        self.log_size
    }

    /// The number of entries.
    pub fn count(self) -> usize {
        1_usize.wrapping_shl(self.log_size.into())
    }

    /// The index of the entry with the number `counter`.
    pub fn slot(self, counter: u32) -> usize {
        // CAST: A usize has 32 bits at least.
        counter as usize & self.count().wrapping_sub(1)
    }

    /// The owner bit of that entry once the hardware has written it: it changes each time round.
    pub fn owner(self, counter: u32) -> u8 {
        u8::from(counter.wrapping_shr(self.log_size.into()) & 1 != 0)
    }

    /// Has the hardware written the entry with the number `counter`, by its last byte?
    pub fn is_written(self, counter: u32, op_own: u8) -> bool {
        op_own >> 4 != INVALID && op_own & OWNER_MASK == self.owner(counter)
    }
}

/// A message that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receive {
    /// What came with it.
    pub immediate: u32,
    /// Its length.
    pub bytes: u32,
    /// The number of the receive that it went into.
    pub wqe_counter: u16,
}

/// Nothing was received, and nothing will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// `MLX5_CQE_*`
    pub opcode: u8,
    /// Of an error, `MLX5_CQE_SYNDROME_*`.
    pub syndrome: u8,
}

fn at<const N: usize>(cqe: &[u8; CQE_LEN], offset: usize) -> [u8; N] {
    let bytes = cqe.get(offset..).and_then(|bytes| bytes.first_chunk());
    bytes.copied().unwrap_or([0; N])
}

/// What an entry says that the hardware has written.
pub fn decode(cqe: &[u8; CQE_LEN]) -> Result<Receive, Failed> {
    let [op_own] = at(cqe, OP_OWN);
    if op_own >> 4 != RESP_SEND_IMM {
        let [syndrome] = at(cqe, SYNDROME);
        return Err(Failed {
            opcode: op_own >> 4,
            syndrome,
        });
    }
    Ok(Receive {
        immediate: u32::from_be_bytes(at(cqe, IMMEDIATE)),
        bytes: u32::from_be_bytes(at(cqe, BYTE_CNT)),
        wqe_counter: u16::from_be_bytes(at(cqe, WQE_COUNTER)),
    })
}
