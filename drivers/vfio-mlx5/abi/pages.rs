// SPDX-License-Identifier: GPL-2.0

//! Memory for the state of a VF: charged to whoever migrates it, and mapped for the device, which
//! uses it while the firmware saves or loads.
//!
//! It is in large pieces, because each of them is mapped, and has an entry in what the firmware is
//! told.
//!
//! C header: `include/linux/dma-mapping.h`.

use super::{
    bindings,
    core_dev::CoreDev, //
};
use core::{
    ops::Range,
    ptr::NonNull, //
};
use kernel::{
    ffi::c_void,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};

/// A piece has 2^n pages at most: more make the table for the firmware no shorter that matters.
const MAX_ORDER: u32 = 8;
/// And at most 2^-n of all: what is left of the last one is wasted.
const LOG_PIECES: u32 = 3;

/// Who writes to the memory.
#[derive(Clone, Copy)]
pub(crate) enum Writer {
    /// The device, and the CPU reads.
    Device,
    /// The CPU, and the device reads.
    Cpu,
}

/// Pages side by side.
struct Piece {
    memory: NonNull<c_void>,
    /// For the device.
    address: u64,
    /// 2^n pages.
    order: u32,
    /// The address of its first byte in all of the memory.
    start: u64,
}

impl Piece {
    fn len(&self) -> usize {
        PAGE_SIZE.wrapping_shl(self.order)
    }
}

/// Memory that is one, from address 0 on.
///
/// # Invariants
///
/// Each of `pieces` was allocated for `dev` with its order and `writer`, and not freed. They begin
/// where the one before ends.
pub(crate) struct Pages {
    dev: CoreDev,
    writer: Writer,
    pieces: KVVec<Piece>,
    /// Bytes of all.
    len: u64,
    /// Bits of an address for the device that are 0 at the beginning and the end of each piece.
    page_shift: u32,
}

// SAFETY: The memory belongs to no task. It is written by the CPU through `&mut` only.
unsafe impl Send for Pages {}
// SAFETY: As above.
unsafe impl Sync for Pages {}

impl Pages {
    /// None yet.
    pub(crate) fn new(dev: &CoreDev, writer: Writer) -> Self {
        // INVARIANT: There are no pieces.
        Self {
            dev: dev.clone(),
            writer,
            pieces: KVVec::new(),
            len: 0,
            page_shift: MAX_ORDER + PAGE_SHIFT as u32,
        }
    }

    fn is_written_by_device(&self) -> bool {
        matches!(self.writer, Writer::Device)
    }

    /// How many bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Makes it `bytes` long at least. What is new is 0: the firmware may say that it wrote more
    /// than it did. Nobody must have the addresses.
    ///
    /// Errors: `EINTR` if the task is to be killed, `ENOMEM`; there may be some more then.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result {
        let pages = bytes.div_ceil(PAGE_SIZE as u64).max(1);
        let usual = pages.ilog2().saturating_sub(LOG_PIECES).min(MAX_ORDER);
        // SAFETY: By the type invariants of `CoreDev`.
        let most = unsafe { bindings::vfio_mlx5_piece_max_order(self.dev.as_raw()) };
        let mut order = usual.min(most);
        while self.len < bytes {
            // How many the firmware says, or userspace.
            if super::killed() {
                return Err(EINTR);
            }
            match self.add(order) {
                Err(ENOMEM) if order > 0 => order = order.saturating_sub(1),
                result => result?,
            }
        }
        Ok(())
    }

    fn add(&mut self, order: u32) -> Result {
        self.pieces.reserve(1, GFP_KERNEL_ACCOUNT)?;
        let mut address = 0;
        // SAFETY: By the type invariants of `CoreDev`; the pointer is valid.
        let memory = unsafe {
            bindings::vfio_mlx5_piece_alloc(
                self.dev.as_raw(),
                order,
                self.is_written_by_device(),
                &mut address,
            )
        };
        let piece = Piece {
            memory: NonNull::new(memory).ok_or(ENOMEM)?,
            address,
            order,
            start: self.len,
        };
        // No overflow: it is memory that exists.
        self.len = self.len.wrapping_add(piece.len() as u64);
        // An address of an IOMMU is aligned as the memory is, one of a bounce buffer to a page.
        self.page_shift = self
            .page_shift
            .min(piece.len().trailing_zeros())
            .min(address.trailing_zeros());
        // INVARIANT: It was allocated just now, and begins at the end. There is room.
        let _ = self.pieces.push_within_capacity(piece);
        Ok(())
    }

    /// 2^n bytes are in a page, as the firmware counts.
    pub(crate) fn log_page_size(&self) -> u8 {
        // CAST: The logarithm of a size.
        self.page_shift as u8
    }

    /// The address of each page for the device.
    pub(crate) fn addresses(&self) -> Addresses<'_> {
        Addresses {
            pieces: &self.pieces,
            page_shift: self.page_shift,
            inside: 0,
            // CAST: There is memory for them.
            left: self.len.wrapping_shr(self.page_shift) as usize,
        }
    }

    /// Calls `f` with each piece that has some of the `len` bytes from `at` on, where these are in
    /// it, and a range of indices of the bytes that are there. `EINVAL` if it does not have them
    /// all.
    fn each(&self, at: u64, len: usize, mut f: impl FnMut(&Piece, usize, Range<usize>)) -> Result {
        let end = at.checked_add(len as u64).ok_or(EINVAL)?;
        if end > self.len {
            return Err(EINVAL);
        }
        let first = self.pieces.partition_point(|piece| piece.start <= at);
        let pieces = self.pieces.get(first.saturating_sub(1)..);
        let mut from = 0_usize;
        for piece in pieces.unwrap_or_default() {
            if from >= len {
                break;
            }
            // Not beyond the end, by the type invariants.
            let inside = at.wrapping_add(from as u64).wrapping_sub(piece.start) as usize;
            let part = piece.len().saturating_sub(inside).min(len - from);
            let to = from.wrapping_add(part);
            f(piece, inside, from..to);
            from = to;
        }
        Ok(())
    }

    /// Hands `len` bytes of a piece to the CPU, or to the device.
    fn sync(&self, piece: &Piece, inside: usize, len: usize, for_cpu: bool) {
        // SAFETY: By the type invariants, and the bytes are in the piece.
        unsafe {
            bindings::vfio_mlx5_piece_sync(
                self.dev.as_raw(),
                piece.address.wrapping_add(inside as u64),
                len,
                self.is_written_by_device(),
                for_cpu,
            )
        }
    }

    /// `EINVAL` if it does not have them all.
    pub(crate) fn read(&self, at: u64, bytes: &mut [u8]) -> Result {
        let to = bytes.as_mut_ptr();
        self.each(at, bytes.len(), |piece, inside, range| {
            self.sync(piece, inside, range.len(), true);
            let from = piece.memory.as_ptr().wrapping_byte_add(inside);
            // SAFETY: The range is one of `bytes`, whose memory `to` is. That of the piece has as
            // many bytes left, and it is no other's: the device does not write to it now, or has
            // been told not to.
            unsafe {
                to.add(range.start)
                    .copy_from_nonoverlapping(from.cast(), range.len())
            };
            self.sync(piece, inside, range.len(), false);
        })
    }

    /// `EINVAL` if it has no room for them all.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) -> Result {
        self.each(at, bytes.len(), |piece, inside, range| {
            self.sync(piece, inside, range.len(), true);
            let to = piece.memory.as_ptr().wrapping_byte_add(inside);
            // SAFETY: As for `read`, and we have `&mut self`.
            unsafe {
                to.cast::<u8>()
                    .copy_from_nonoverlapping(bytes.as_ptr().add(range.start), range.len())
            };
            self.sync(piece, inside, range.len(), false);
        })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        for piece in self.pieces.iter() {
            // SAFETY: By the type invariants. Who has given it to the device has made sure that the
            // device does not use it any more, or has forgotten the value.
            unsafe {
                bindings::vfio_mlx5_piece_free(
                    self.dev.as_raw(),
                    piece.memory.as_ptr(),
                    piece.order,
                    self.is_written_by_device(),
                    piece.address,
                )
            }
        }
    }
}

/// What [`Pages::addresses`] returns.
#[derive(Clone)]
pub(crate) struct Addresses<'a> {
    pieces: &'a [Piece],
    page_shift: u32,
    /// Bytes of the first piece whose addresses were told.
    inside: u64,
    left: usize,
}

impl Iterator for Addresses<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let (first, rest) = self.pieces.split_first()?;
        // No overflow: it is memory that exists.
        let address = first.address.wrapping_add(self.inside);
        self.inside = self
            .inside
            .wrapping_add(1_u64.wrapping_shl(self.page_shift));
        if self.inside >= first.len() as u64 {
            self.pieces = rest;
            self.inside = 0;
        }
        self.left = self.left.saturating_sub(1);
        Some(address)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Addresses<'_> {}
