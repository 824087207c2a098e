// SPDX-License-Identifier: GPL-2.0

//! Memory keys: addresses of the driver's own, over pages of the host.

use crate::image::Persist;
use crate::image::Reader;
use crate::memory::Fault;
use crate::memory::Memory;

/// A key that stands for pages (an MTT).
#[derive(Clone, Debug)]
pub struct Mkey {
    /// The protection domain that it is for.
    pub pd: u32,
    /// The byte of the key that is the driver's.
    pub tag: u8,
    start: u64,
    len: u64,
    log_page: u32,
    pages: Vec<u64>,
    readable: bool,
    writable: bool,
}

/// Of what size and where a key is.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Its first address.
    pub start: u64,
    /// In bytes.
    pub len: u64,
    /// Of its pages.
    pub log_page: u32,
    /// The device may read.
    pub readable: bool,
    /// The device may write.
    pub writable: bool,
}

impl Mkey {
    /// `None` if the pages do not hold the key's bytes.
    pub fn new(pd: u32, tag: u8, layout: Layout, pages: Vec<u64>) -> Option<Self> {
        let Layout {
            start,
            len,
            log_page,
            ..
        } = layout;
        if !(12..=30).contains(&log_page) || len == 0 {
            return None;
        }
        let needed = len.div_ceil(1 << log_page);
        let enough = needed <= pages.len() as u64;
        (enough && start.checked_add(len).is_some()).then_some(Self {
            pd,
            tag,
            start,
            len,
            log_page,
            pages,
            readable: layout.readable,
            writable: layout.writable,
        })
    }

    /// Calls `f` for each contiguous piece of the range with its address, and the piece.
    fn each<F>(&self, address: u64, len: usize, mut f: F) -> Result<(), Fault>
    where
        F: FnMut(u64, std::ops::Range<usize>) -> Result<(), Fault>,
    {
        let fault = Fault { iova: address };
        let offset = address.checked_sub(self.start).ok_or(fault)?;
        let end = offset.checked_add(len as u64).ok_or(fault)?;
        if end > self.len {
            return Err(fault);
        }
        let mut done = 0;
        while done < len {
            // Not beyond `self.len`.
            let here = offset + done as u64;
            let inside = here & ((1 << self.log_page) - 1);
            let page = usize::try_from(here >> self.log_page).map_err(|_| fault)?;
            let page = self.pages.get(page).ok_or(fault)?;
            let iova = page.checked_add(inside).ok_or(fault)?;
            let left = (1u64 << self.log_page) - inside;
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(len - done);
            f(iova, done..done + n)?;
            done += n;
        }
        Ok(())
    }

    /// Is it a key to all of these addresses?
    pub fn has(&self, address: u64, len: u64) -> bool {
        let offset = address.checked_sub(self.start);
        let end = offset.and_then(|offset| offset.checked_add(len));
        end.is_some_and(|end| end <= self.len)
    }

    /// Writes through the key.
    pub fn write(&self, memory: &Memory, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        if !self.writable {
            return Err(Fault { iova: address });
        }
        self.each(address, bytes.len(), |iova, piece| {
            memory.write(iova, bytes.get(piece).unwrap_or(&[]))
        })
    }

    /// Reads through the key.
    pub fn read(&self, memory: &Memory, address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        if !self.readable {
            return Err(Fault { iova: address });
        }
        self.each(address, bytes.len(), |iova, piece| {
            memory.read(iova, bytes.get_mut(piece).unwrap_or(&mut []))
        })
    }
}

impl Persist for Mkey {
    fn save(&self, image: &mut Vec<u8>) {
        self.pd.save(image);
        self.tag.save(image);
        self.start.save(image);
        self.len.save(image);
        self.log_page.save(image);
        self.readable.save(image);
        self.writable.save(image);
        self.pages.save(image);
    }

    fn load(image: &mut Reader<'_>) -> Option<Self> {
        let (pd, tag) = (u32::load(image)?, u8::load(image)?);
        let layout = Layout {
            start: u64::load(image)?,
            len: u64::load(image)?,
            log_page: u32::load(image)?,
            readable: bool::load(image)?,
            writable: bool::load(image)?,
        };
        Self::new(pd, tag, layout, Vec::load(image)?)
    }
}
