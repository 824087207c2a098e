// SPDX-License-Identifier: GPL-2.0

//! Pages of a user's bitmap, pinned while trackers record into them.
//!
//! C header: `include/linux/mm.h`.

use crate::logic::{
    bits::{
        self,
        words,
        Bits,
        Words, //
    },
    window::Window, //
};
// The kernel crate's atomics have no OR.
use core::sync::atomic::{
    AtomicU64,
    Ordering, //
};
use kernel::{
    bindings,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};

/// Pages pinned at a time: 2 MiB of bitmap, which is 64 GiB at 4 KiB per bit.
pub(crate) const MAX_PAGES: usize = 512;

const WORDS_PER_PAGE: usize = PAGE_SIZE / core::mem::size_of::<u64>();

/// Words of a line, as caches have them: their bits are set together.
pub(crate) const LINE_WORDS: usize = 8;

/// Pinned user pages.
///
/// # Invariants
///
/// All of `pages` are pinned for writing.
pub(crate) struct PinnedPages {
    pages: KVec<*mut bindings::page>,
    /// User address of the last one.
    last_addr: u64,
}

// SAFETY: Pinned pages may be used and unpinned by any task.
unsafe impl Send for PinnedPages {}
// SAFETY: `set` writes to them atomically only.
unsafe impl Sync for PinnedPages {}

impl PinnedPages {
    /// Room for [`MAX_PAGES`] pages; none is pinned yet.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            pages: KVec::with_capacity(MAX_PAGES, GFP_KERNEL_ACCOUNT)?,
            last_addr: 0,
        })
    }

    /// Pins the pages of `window` after those that are pinned. Returns the index of its first one:
    /// that of the last one that is pinned, if it is the same.
    ///
    /// Errors: `EFAULT` if one of them cannot be written to, `ENOMEM`, `ENOSPC` if it would be more
    /// than [`MAX_PAGES`]; then none of the window is pinned.
    pub(crate) fn pin(&mut self, window: &Window) -> Result<usize> {
        let pinned = self.pages.len();
        let again = usize::from(pinned > 0 && window.addr == self.last_addr);
        let index = pinned.saturating_sub(again);
        let Some(count) = window.pages.checked_sub(again).filter(|count| *count > 0) else {
            return Ok(index);
        };
        let addr = window.addr.saturating_add((again as u64) << PAGE_SHIFT);
        let addr = usize::try_from(addr).map_err(|_| EFAULT)?;
        let nr = c_int::try_from(count).map_err(|_| EINVAL)?;
        let spare = self.pages.spare_capacity_mut();
        if count > spare.len() || pinned.saturating_add(count) > MAX_PAGES {
            return Err(ENOSPC);
        }
        // SAFETY: There is room for `nr` pointers.
        let got = unsafe {
            bindings::pin_user_pages_fast(addr, nr, bindings::FOLL_WRITE, spare.as_mut_ptr().cast())
        };
        let got = match usize::try_from(got) {
            Ok(got) => got.min(count),
            Err(_) => {
                let error = Error::from_errno(got);
                return Err(if error == ENOMEM { ENOMEM } else { EFAULT });
            }
        };
        // INVARIANT: The first `got` were written, and are pinned.
        // SAFETY: `got` is within the capacity and those elements are initialised.
        unsafe { self.pages.inc_len(got) };
        if got < count {
            self.unpin_from(pinned);
            return Err(EFAULT);
        }
        let last = window.pages.saturating_sub(1) as u64;
        self.last_addr = window.addr.saturating_add(last << PAGE_SHIFT);
        Ok(index)
    }

    /// Pages that can be pinned beside those that are.
    pub(crate) fn room(&self) -> usize {
        MAX_PAGES.saturating_sub(self.pages.len())
    }

    /// Sets bits, counted from the first pinned page, and returns how many were not set before.
    /// Bits beyond the pinned pages are ignored.
    pub(crate) fn set(&self, bits: Bits) -> u64 {
        let mut fresh = 0u64;
        bits::pages(bits, |at, bits| {
            if let Some(page) = Mapped::new(self, at) {
                fresh = fresh.saturating_add(page.set(bits));
            }
        });
        fresh
    }

    /// Sets the bits of `masks` in the words of a line, counted from the first pinned page, and
    /// returns how many were not set before. A line beyond the pinned pages is ignored.
    pub(crate) fn set_in_line(&self, line: usize, masks: &[u64; LINE_WORDS]) -> u64 {
        let first = line.saturating_mul(LINE_WORDS);
        let Some(page) = Mapped::new(self, first / WORDS_PER_PAGE) else {
            return 0;
        };
        let words = page.words().get(first % WORDS_PER_PAGE..);
        let words = words.unwrap_or_default().iter().zip(masks);
        words
            .filter(|(_, mask)| **mask != 0)
            // At most the bits of a line.
            .fold(0, |sum, (word, mask)| {
                sum.wrapping_add(set_bits(word, *mask))
            })
    }

    /// Unpins all.
    pub(crate) fn unpin(&mut self) {
        self.unpin_from(0);
    }

    /// Unpins all but the first `keep`.
    fn unpin_from(&mut self, keep: usize) {
        let Some(rest) = self.pages.get_mut(keep..).filter(|rest| !rest.is_empty()) else {
            return;
        };
        // SAFETY: By the type invariants they are pinned; they were pinned to be written to.
        unsafe { bindings::unpin_user_pages_dirty_lock(rest.as_mut_ptr(), rest.len(), true) };
        self.pages.truncate(keep);
    }

    /// Bytes of kernel memory held.
    pub(crate) fn bytes(&self) -> usize {
        self.pages
            .capacity()
            .saturating_mul(core::mem::size_of::<*mut bindings::page>())
    }
}

impl Drop for PinnedPages {
    fn drop(&mut self) {
        self.unpin();
    }
}

/// One page, mapped into the kernel.
///
/// # Invariants
///
/// `addr` is the local mapping of a pinned page, made by this task.
struct Mapped {
    addr: *mut kernel::ffi::c_void,
}

impl Mapped {
    fn new(pages: &PinnedPages, at: usize) -> Option<Self> {
        let page = *pages.pages.get(at)?;
        // INVARIANT: By the invariants of `PinnedPages` the page is pinned, and stays so as long as
        // `pages` is borrowed, which is longer than any `Mapped` lives.
        // SAFETY: As above.
        let addr = unsafe { bindings::kmap_local_page(page) };
        Some(Self { addr })
    }

    fn words(&self) -> &[AtomicU64; WORDS_PER_PAGE] {
        // SAFETY: By the type invariants a whole page is mapped, and pages are aligned. Userspace
        // may write at the same time: it is accessed atomically, through `UnsafeCell`.
        unsafe { &*self.addr.cast() }
    }

    /// Sets bits, counted from the page's first one; returns how many were not set before.
    fn set(&self, bits: Bits) -> u64 {
        let mut fresh = 0u64;
        words(bits, |words| match words {
            Words::Part(index, mask) => {
                fresh = fresh.saturating_add(self.set_in_word(index, mask));
            }
            Words::Whole(indices) => {
                for word in self.words().get(indices).unwrap_or_default() {
                    // At most the bits of a page.
                    fresh = fresh.wrapping_add(set_word(word));
                }
            }
        });
        fresh
    }

    fn set_in_word(&self, index: usize, mask: u64) -> u64 {
        self.words()
            .get(index)
            .map_or(0, |word| set_bits(word, mask))
    }
}

/// Sets the bits of `mask` in a word; returns how many were not set before.
fn set_bits(word: &AtomicU64, mask: u64) -> u64 {
    // The words of the uAPI are little-endian.
    let old = u64::from_le(word.fetch_or(mask.to_le(), Ordering::Relaxed));
    u64::from((mask & !old).count_ones())
}

/// Sets all bits of a word; returns how many were not set before.
fn set_word(word: &AtomicU64) -> u64 {
    // Another tracker may have set them: to look is cheaper than to exchange. And that does not
    // loop, as an OR does of which the old value is wanted.
    if word.load(Ordering::Relaxed) == u64::MAX {
        return 0;
    }
    match word.swap(u64::MAX, Ordering::Relaxed) {
        // Most often. Not every processor can count bits.
        0 => u64::BITS.into(),
        old => old.count_zeros().into(),
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this task made the mapping, and mappings are undone in
        // reverse order because `set` holds one at a time.
        unsafe { bindings::kunmap_local(self.addr) }
    }
}
