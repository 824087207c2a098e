// SPDX-License-Identifier: GPL-2.0

//! Memory that the device and the driver share.
//!
//! It is `mlx5_core`'s coherent memory: what the device writes is seen without further ado, also
//! behind an IOMMU or bounce buffers. The device may write to it at any time, so it is accessed by
//! words, volatile, and never by reference.
//!
//! C header: `include/linux/mlx5/driver.h`.

use super::{
    bindings,
    core_dev::CoreDev, //
};
use kernel::{
    error::to_result,
    ffi::c_int,
    prelude::*,
    sync::barrier::{
        dma_mb,
        Read,
        Write, //
    }, //
};

/// What was read before is older than what is read afterwards.
pub(crate) fn read_barrier() {
    dma_mb(Read)
}

/// What was written before is seen by the device before what is written afterwards.
pub(crate) fn write_barrier() {
    dma_mb(Write)
}

/// Memory in pages that need not be side by side.
///
/// # Invariants
///
/// `raw` was allocated from `dev` with `size` bytes.
pub(crate) struct FragBuf {
    dev: CoreDev,
    raw: bindings::mlx5_frag_buf,
}

// SAFETY: The memory belongs to no task; it is written through `&mut` only.
unsafe impl Send for FragBuf {}
// SAFETY: As above.
unsafe impl Sync for FragBuf {}

impl FragBuf {
    /// `size` bytes, all 0.
    pub(crate) fn new(dev: &CoreDev, size: usize) -> Result<Self> {
        let size = c_int::try_from(size)?;
        let mut raw = pin_init::zeroed();
        // SAFETY: By the type invariants of `CoreDev`; the pointer is valid.
        to_result(unsafe {
            bindings::mlx5_frag_buf_alloc_node(
                dev.as_raw(),
                size,
                &mut raw,
                bindings::vfio_mlx5_numa_node(dev.as_raw()),
            )
        })?;
        // INVARIANT: It was allocated just now.
        Ok(Self {
            dev: dev.clone(),
            raw,
        })
    }

    fn frags(&self) -> &[bindings::mlx5_buf_list] {
        // SAFETY: By the type invariants there are `npages` of them, and nobody changes them.
        unsafe { core::slice::from_raw_parts(self.raw.frags, self.raw.npages as usize) }
    }

    /// The DMA address of each page.
    pub(crate) fn pages(&self) -> impl ExactSizeIterator<Item = u64> + Clone + '_ {
        self.frags().iter().map(|frag| frag.map)
    }

    /// 2^(12 + n) bytes are in a page, as the firmware counts.
    pub(crate) fn log_page_size(&self) -> u8 {
        const ADAPTER_PAGE_SHIFT: u8 = bindings::MLX5_ADAPTER_PAGE_SHIFT as u8;
        self.raw.page_shift.saturating_sub(ADAPTER_PAGE_SHIFT)
    }

    /// Where the aligned `T` at byte `offset` is; `None` if it is not in the memory.
    #[inline]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        let page = 1_usize.wrapping_shl(self.raw.page_shift.into());
        let inside = offset & page.wrapping_sub(1);
        let end = offset.checked_add(size_of::<T>())?;
        if end > self.raw.size as usize || offset % size_of::<T>() != 0 {
            return None;
        }
        let frag = self.frags().get(offset >> self.raw.page_shift)?;
        // A page is larger than `T` is, and aligned: none reaches into the next one.
        Some(frag.buf.wrapping_byte_add(inside).cast())
    }

    /// The 8 bytes at `offset`, a multiple of 8.
    #[inline]
    pub(crate) fn read(&self, offset: usize) -> Option<[u8; 8]> {
        let at = self.at::<u64>(offset)?;
        // SAFETY: `at` is in the memory and aligned, by the type invariants.
        Some(unsafe { at.read_volatile() }.to_ne_bytes())
    }

    /// The byte at `offset`.
    pub(crate) fn read_byte(&self, offset: usize) -> Option<u8> {
        let at = self.at::<u8>(offset)?;
        // SAFETY: `at` is in the memory, by the type invariants.
        Some(unsafe { at.read_volatile() })
    }

    /// Sets the byte at `offset`. Beyond the memory there is nothing to set.
    pub(crate) fn write_byte(&mut self, offset: usize, value: u8) {
        if let Some(at) = self.at::<u8>(offset) {
            // SAFETY: `at` is in the memory, by the type invariants.
            unsafe { at.write_volatile(value) }
        }
    }

    /// Sets the 8 bytes at `offset`, a multiple of 8.
    pub(crate) fn write(&mut self, offset: usize, value: [u8; 8]) {
        if let Some(at) = self.at::<u64>(offset) {
            // SAFETY: `at` is in the memory and aligned, by the type invariants.
            unsafe { at.write_volatile(u64::from_ne_bytes(value)) }
        }
    }
}

impl Drop for FragBuf {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. Who has given it to the device has made sure that the
        // device does not use it any more, or has forgotten the value.
        unsafe { bindings::mlx5_frag_buf_free(self.dev.as_raw(), &mut self.raw) }
    }
}

/// A doorbell record: two words in which the driver tells the device how far it came.
///
/// # Invariants
///
/// `raw` was allocated from `dev`.
pub(crate) struct Doorbell {
    dev: CoreDev,
    raw: bindings::mlx5_db,
}

// SAFETY: The memory belongs to no task.
unsafe impl Send for Doorbell {}
// SAFETY: It is written through `&mut` only.
unsafe impl Sync for Doorbell {}

impl Doorbell {
    pub(crate) fn new(dev: &CoreDev) -> Result<Self> {
        let mut raw = pin_init::zeroed();
        // SAFETY: By the type invariants of `CoreDev`; the pointer is valid.
        to_result(unsafe {
            bindings::mlx5_db_alloc_node(
                dev.as_raw(),
                &mut raw,
                bindings::vfio_mlx5_numa_node(dev.as_raw()),
            )
        })?;
        // INVARIANT: It was allocated just now.
        Ok(Self {
            dev: dev.clone(),
            raw,
        })
    }

    /// Its DMA address.
    pub(crate) fn address(&self) -> u64 {
        self.raw.dma
    }

    /// The first word: of a receive queue the number of receives, of a completion queue how many
    /// entries were read.
    pub(super) fn first(&self) -> *mut u32 {
        self.raw.db.cast()
    }

    /// The second word: of a completion queue how far it is armed.
    pub(super) fn second(&self) -> *mut u32 {
        // A record has two words.
        self.first().wrapping_add(1)
    }

    /// Sets the first word, after all that was written before.
    pub(crate) fn ring(&mut self, counter: u32) {
        write_barrier();
        // SAFETY: By the type invariants.
        unsafe { self.first().write_volatile(counter.to_be()) }
    }
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; see `FragBuf`.
        unsafe { bindings::mlx5_db_free(self.dev.as_raw(), &mut self.raw) }
    }
}
