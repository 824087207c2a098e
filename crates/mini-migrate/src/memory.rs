// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The memory that devices write to, and that is migrated.

use crate::receiver::Receiver;
use crate::Result;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{Bytes, MmapRegion, VolatileMemory};

pub const PAGE: u64 = 4096;
pub const SIZE: u64 = 16 << 20;

pub struct Memory(MmapRegion);

impl Memory {
    /// In huge pages, so that a virtual IOMMU has few entries to report.
    pub fn new() -> Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB;
        let region = MmapRegionBuilder::new(SIZE as usize)
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(flags)
            .build()?;
        Ok(Self(region))
    }

    pub fn as_ptr(&self) -> *mut u8 {
        self.0.as_ptr()
    }

    fn read(&self, at: u64, buffer: &mut [u8]) -> Result<()> {
        Ok(self.0.as_volatile_slice().read_slice(buffer, at as usize)?)
    }

    pub fn send(&self, from: u64, length: u64, receiver: &mut Receiver) -> Result<()> {
        let mut page = [0; PAGE as usize];
        for at in (from..from + length).step_by(PAGE as usize) {
            self.read(at, &mut page)?;
            receiver.send(at, &page)?;
        }
        Ok(())
    }

    /// In how many pages does `other` differ?
    pub fn differences(&self, other: &[u8]) -> Result<u64> {
        if other.len() as u64 != SIZE {
            return Err("the other process has another size of memory".into());
        }
        let mut page = [0; PAGE as usize];
        let mut bad = 0;
        for (n, theirs) in other.chunks(PAGE as usize).enumerate() {
            self.read(n as u64 * PAGE, &mut page)?;
            bad += u64::from(page != theirs);
        }
        Ok(bad)
    }
}
