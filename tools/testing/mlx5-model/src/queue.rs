// SPDX-License-Identifier: GPL-2.0

//! A queue's buffer in the host's memory: pages that need not be contiguous.

use crate::image::Persist;
use crate::image::Reader;
use crate::memory::Fault;
use crate::memory::Memory;

/// Entries of 2^`log_stride` bytes, 2^`log_size` of them, in pages.
#[derive(Clone, Debug)]
pub struct Queue {
    pages: Vec<u64>,
    log_page: u32,
    log_stride: u32,
    log_size: u32,
}

impl Queue {
    /// `None` if the sizes are beyond what a device has, or if the pages do not hold the entries.
    pub fn new(pages: Vec<u64>, log_page: u32, log_stride: u32, log_size: u32) -> Option<Self> {
        if log_page > 30 || log_stride > 12 || log_size > 24 {
            return None;
        }
        let queue = Self {
            pages,
            log_page,
            log_stride,
            log_size,
        };
        (queue.pages.len() == Self::pages(log_page, log_stride, log_size)?).then_some(queue)
    }

    /// How many pages a queue takes.
    pub fn pages(log_page: u32, log_stride: u32, log_size: u32) -> Option<usize> {
        let bytes = 1u64.checked_shl(log_stride.checked_add(log_size)?)?;
        let page = 1u64.checked_shl(log_page)?;
        usize::try_from(bytes.div_ceil(page)).ok()
    }

    /// How many entries there are.
    pub fn len(&self) -> u32 {
        1 << self.log_size
    }

    /// Never: there is one entry at least.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Which time the queue is gone through at `counter`: the ownership bit follows it.
    pub fn lap(&self, counter: u32) -> u8 {
        ((counter >> self.log_size) & 1) as u8
    }

    /// Calls `f` with the address of each piece of an entry that is contiguous, and the piece.
    fn each<F>(&self, counter: u32, at: usize, len: usize, mut f: F) -> Result<(), Fault>
    where
        F: FnMut(u64, std::ops::Range<usize>) -> Result<(), Fault>,
    {
        let entry = u64::from(counter & (self.len() - 1)) << self.log_stride;
        let mut done = 0;
        while done < len {
            let offset = entry + (at + done) as u64;
            let page = usize::try_from(offset >> self.log_page).unwrap_or(usize::MAX);
            let inside = offset & ((1 << self.log_page) - 1);
            let fault = Fault { iova: offset };
            let address = self
                .pages
                .get(page)
                .and_then(|p| p.checked_add(inside))
                .ok_or(fault)?;
            let left = (1u64 << self.log_page) - inside;
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(len - done);
            f(address, done..done + n)?;
            done += n;
        }
        Ok(())
    }

    /// Writes `bytes` at the offset `at` of the entry that `counter` stands for.
    pub fn write(
        &self,
        memory: &Memory,
        counter: u32,
        at: usize,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        self.each(counter, at, bytes.len(), |address, piece| {
            memory.write(address, bytes.get(piece).unwrap_or(&[]))
        })
    }

    /// Reads the start of the entry that `counter` stands for.
    pub fn read(&self, memory: &Memory, counter: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        self.each(counter, 0, bytes.len(), |address, piece| {
            memory.read(address, bytes.get_mut(piece).unwrap_or(&mut []))
        })
    }
}

impl Persist for Queue {
    fn save(&self, image: &mut Vec<u8>) {
        self.pages.save(image);
        self.log_page.save(image);
        self.log_stride.save(image);
        self.log_size.save(image);
    }

    fn load(image: &mut Reader<'_>) -> Option<Self> {
        let pages = Vec::load(image)?;
        let (log_page, log_stride) = (u32::load(image)?, u32::load(image)?);
        Self::new(pages, log_page, log_stride, u32::load(image)?)
    }
}
