// SPDX-License-Identifier: GPL-2.0

//! Memory that the device writes to, and that is charged to whoever opened what it is for.
//!
//! It is in few large pieces, because each of them is mapped for the device, and has an entry in
//! what the firmware is told. The device may write to it at any time, so it is read volatile, and
//! never by reference.
//!
//! C header: `include/linux/dma-mapping.h`.

use super::{
    bindings,
    core_dev::CoreDev, //
};
use core::ptr::NonNull;
use kernel::{
    ffi::c_void,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};

/// Pages side by side.
struct Piece {
    memory: NonNull<c_void>,
    /// For the device.
    address: u64,
}

/// Memory for the device to write to.
///
/// # Invariants
///
/// Each of `pieces` was allocated for `dev` with `order`, and not freed.
pub(crate) struct Pieces {
    dev: CoreDev,
    pieces: KVec<Piece>,
    /// Pages of each: 2^order.
    order: u32,
    /// Bits of an address for the device that are 0 at the beginning and the end of each piece.
    page_shift: u32,
}

// SAFETY: The memory belongs to no task, and is only read.
unsafe impl Send for Pieces {}
// SAFETY: As above.
unsafe impl Sync for Pieces {}

impl Pieces {
    /// At least `bytes` bytes, all 0, in as few pieces as there are. `ENOMEM`.
    pub(crate) fn new(dev: &CoreDev, bytes: usize) -> Result<Self> {
        let pages = bytes.div_ceil(PAGE_SIZE).max(1).next_power_of_two();
        // SAFETY: By the type invariants of `CoreDev`.
        let most = unsafe { bindings::vfio_mlx5_piece_max_order(dev.as_raw()) };
        let mut order = pages.ilog2().min(most);
        loop {
            match Self::of_order(dev, pages.wrapping_shr(order), order) {
                Err(ENOMEM) if order > 0 => order = order.saturating_sub(1),
                result => return result,
            }
        }
    }

    fn of_order(dev: &CoreDev, count: usize, order: u32) -> Result<Self> {
        // INVARIANT: There are none yet.
        let mut this = Self {
            dev: dev.clone(),
            pieces: KVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?,
            order,
            page_shift: order.saturating_add(PAGE_SHIFT as u32),
        };
        for _ in 0..count {
            let mut address = 0;
            // SAFETY: By the type invariants of `CoreDev`; the pointer is valid.
            let memory = unsafe {
                bindings::vfio_mlx5_piece_alloc(dev.as_raw(), this.order, true, &mut address)
            };
            let memory = NonNull::new(memory).ok_or(ENOMEM)?;
            // An address of an IOMMU is aligned as the memory is, one of a bounce buffer to a page.
            this.page_shift = this.page_shift.min(address.trailing_zeros());
            // INVARIANT: It was allocated just now. There is room.
            let _ = this.pieces.push_within_capacity(Piece { memory, address });
        }
        Ok(this)
    }

    /// 2^(12 + n) bytes are in a page, as the firmware counts.
    pub(crate) fn log_page_size(&self) -> u8 {
        const ADAPTER_PAGE_SHIFT: u32 = bindings::MLX5_ADAPTER_PAGE_SHIFT;
        // CAST: The logarithm of a size.
        self.page_shift.saturating_sub(ADAPTER_PAGE_SHIFT) as u8
    }

    /// The DMA address of each page.
    pub(crate) fn pages(&self) -> impl ExactSizeIterator<Item = u64> + Clone + '_ {
        let in_piece = self
            .order
            .saturating_add(PAGE_SHIFT as u32)
            .saturating_sub(self.page_shift);
        let count = self.pieces.len().wrapping_shl(in_piece);
        (0..count).map(move |n| {
            let inside = n & 1_usize.wrapping_shl(in_piece).wrapping_sub(1);
            let piece = self.pieces.get(n.wrapping_shr(in_piece));
            piece.map_or(0, |piece| {
                // It is memory that exists: nothing wraps.
                let offset = (inside as u64).wrapping_shl(self.page_shift);
                piece.address.wrapping_add(offset)
            })
        })
    }

    /// The piece with the byte `offset`, where that is in it, and how many bytes are left there.
    #[inline]
    fn at(&self, offset: usize) -> Option<(&Piece, usize, usize)> {
        let size = PAGE_SIZE.wrapping_shl(self.order);
        let inside = offset & size.wrapping_sub(1);
        let piece = self
            .pieces
            .get(offset.wrapping_shr(size.trailing_zeros()))?;
        Some((piece, inside, size.wrapping_sub(inside)))
    }

    /// The device has written to the `len` bytes from `offset` on, and they are to be read; or it
    /// may write to them again.
    fn sync(&self, mut offset: usize, mut len: usize, for_cpu: bool) {
        while let Some((piece, inside, left)) = self.at(offset).filter(|_| len > 0) {
            let part = left.min(len);
            // SAFETY: By the type invariants, and the bytes are in the piece.
            unsafe {
                bindings::vfio_mlx5_piece_sync(
                    self.dev.as_raw(),
                    piece.address.wrapping_add(inside as u64),
                    part,
                    true,
                    for_cpu,
                )
            }
            // No overflow: it is memory that exists, and at most `len`.
            offset = offset.wrapping_add(part);
            len = len.wrapping_sub(part);
        }
    }

    /// Calls `f` with each 8 of the `len` bytes from `offset` on, both multiples of 8, that the
    /// device has written.
    pub(crate) fn read(&self, offset: usize, len: usize, mut f: impl FnMut(&[u8; 8])) {
        self.sync(offset, len, true);
        let words = len / size_of::<u64>();
        for n in 0..words {
            let at = offset.saturating_add(n.saturating_mul(size_of::<u64>()));
            // A piece is a multiple of it.
            let Some((piece, inside, _)) = self.at(at) else {
                break;
            };
            let word = piece
                .memory
                .as_ptr()
                .wrapping_byte_add(inside)
                .cast::<u64>();
            // SAFETY: By the type invariants it is memory, there are 8 bytes left, and it is
            // aligned: a piece begins with a page.
            f(&unsafe { word.read_volatile() }.to_ne_bytes());
        }
        self.sync(offset, len, false);
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        for piece in self.pieces.iter() {
            // SAFETY: By the type invariants. Who has given it to the device has made sure that the
            // device does not use it any more, or has forgotten the value.
            unsafe {
                bindings::vfio_mlx5_piece_free(
                    self.dev.as_raw(),
                    piece.memory.as_ptr(),
                    self.order,
                    true,
                    piece.address,
                )
            }
        }
    }
}
