// SPDX-License-Identifier: GPL-2.0

//! Memory for the state of a VF: pages that are charged to whoever migrates it, and lent to the
//! device while the firmware uses them.
//!
//! C headers: `include/linux/mm.h`, `include/linux/dma-mapping.h`.

use super::{
    bindings,
    core_dev::CoreDev, //
};
use core::mem;
use kernel::{
    alloc::flags::__GFP_ZERO,
    error::to_result,
    page::{
        Page,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};

/// Pages that are one memory, from address 0 on.
pub(crate) struct Pages(KVVec<Page>);

/// Calls `f` with an index of a page, an offset in it, and a range of indices of the bytes that are
/// there, for `len` bytes from `at` on. `EINVAL` if there are no such addresses.
fn split(
    at: u64,
    len: usize,
    mut f: impl FnMut(usize, usize, core::ops::Range<usize>) -> Result,
) -> Result {
    let mut at = usize::try_from(at)?;
    let end = at.checked_add(len).ok_or(EINVAL)?;
    let mut from = 0_usize;
    while at < end {
        let offset = at & (PAGE_SIZE - 1);
        let part = (PAGE_SIZE - offset).min(end - at);
        // No overflow: it is at most `len`.
        let to = from.wrapping_add(part);
        f(at >> PAGE_SHIFT, offset, from..to)?;
        from = to;
        // No overflow: it is at most `end`.
        at = at.wrapping_add(part);
    }
    Ok(())
}

impl Pages {
    pub(crate) const fn new() -> Self {
        Self(KVVec::new())
    }

    /// How many bytes.
    pub(crate) fn len(&self) -> u64 {
        // No overflow: it is memory that exists.
        (self.0.len() as u64).wrapping_shl(PAGE_SHIFT as u32)
    }

    /// Makes it `bytes` long at least. What is new is 0: the firmware may say that it wrote more
    /// than it did.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result {
        while self.len() < bytes {
            // How many the firmware says, or userspace.
            if super::killed() {
                return Err(EINTR);
            }
            let page = Page::alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?;
            self.0.push(page, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(())
    }

    /// `EINVAL` if it does not have them all.
    pub(crate) fn read(&self, at: u64, bytes: &mut [u8]) -> Result {
        split(at, bytes.len(), |index, offset, range| {
            let page = self.0.get(index).ok_or(EINVAL)?;
            let part = bytes.get_mut(range).ok_or(EINVAL)?;
            // SAFETY: The destination is `part`. The page is ours, and nobody writes to it, as that
            // takes `&mut self`.
            unsafe { page.read_raw(part.as_mut_ptr(), offset, part.len()) }
        })
    }

    /// `EINVAL` if it has no room for them all.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) -> Result {
        split(at, bytes.len(), |index, offset, range| {
            let page = self.0.get(index).ok_or(EINVAL)?;
            let part = bytes.get(range).ok_or(EINVAL)?;
            // SAFETY: The source is `part`. The page is ours, and nobody else uses it: we have
            // `&mut self`.
            unsafe { page.write_raw(part.as_ptr(), offset, part.len()) }
        })
    }
}

/// Who writes to the memory.
#[derive(Clone, Copy)]
pub(crate) enum Writer {
    /// The device, and nobody reads it meanwhile.
    Device,
    /// The CPU, and is done.
    Cpu,
}

/// Pages that are lent to the device.
///
/// # Invariants
///
/// The first `addresses.len()` of `pages` are mapped for `dev` at those, in the direction of
/// `writer`.
pub(crate) struct Lent {
    dev: CoreDev,
    pages: Pages,
    addresses: KVVec<u64>,
    writer: Writer,
}

impl Lent {
    pub(crate) fn new(dev: &CoreDev, pages: Pages, writer: Writer) -> Result<Self> {
        let addresses = KVVec::with_capacity(pages.0.len(), GFP_KERNEL_ACCOUNT)?;
        // INVARIANT: None is mapped yet.
        let mut lent = Self {
            dev: dev.clone(),
            pages,
            addresses,
            writer,
        };
        for page in lent.pages.0.iter() {
            let mut address = 0;
            // SAFETY: By the type invariants of `CoreDev`. The page is not touched until it is
            // unmapped: for that `pages` had to be taken out, and that unmaps it.
            to_result(unsafe {
                bindings::vfio_mlx5_map_page(
                    dev.as_raw(),
                    page.as_ptr(),
                    matches!(writer, Writer::Device),
                    &mut address,
                )
            })?;
            // INVARIANT: It was mapped just now.
            lent.addresses.push(address, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(lent)
    }

    /// DMA address of each page.
    pub(crate) fn addresses(&self) -> impl ExactSizeIterator<Item = u64> + Clone + '_ {
        self.addresses.iter().copied()
    }

    /// Takes the pages back. The device must not use them any more.
    pub(crate) fn take_back(mut self) -> Pages {
        self.unmap();
        mem::replace(&mut self.pages, Pages::new())
    }

    fn unmap(&mut self) {
        while let Some(address) = self.addresses.pop() {
            // SAFETY: By the type invariants, and it is not counted as mapped any more.
            unsafe {
                bindings::vfio_mlx5_unmap_page(
                    self.dev.as_raw(),
                    address,
                    matches!(self.writer, Writer::Device),
                )
            }
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.unmap();
    }
}
