// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use crate::{Error, Result};
use iommufd_dirty_bindings::iommufd_dirty_range;

/// A range of the I/O address space, in bytes.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    iova: u64,
    length: u64,
}

// As an array the kernel reads and writes it.
const _: () = assert!(size_of::<Range>() == size_of::<iommufd_dirty_range>());

impl Range {
    /// `length` bytes from `iova` on. [`Error::Range`] if it is empty or wraps.
    pub const fn new(iova: u64, length: u64) -> Result<Self> {
        if length == 0 || iova.checked_add(length - 1).is_none() {
            return Err(Error::Range { iova, length });
        }
        Ok(Self { iova, length })
    }

    /// The first byte.
    pub const fn iova(&self) -> u64 {
        self.iova
    }

    /// In bytes, not 0.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The last byte.
    pub const fn last(&self) -> u64 {
        // Cannot wrap for what `new` made, and for what the kernel writes.
        self.iova.wrapping_add(self.length).wrapping_sub(1)
    }
}

/// The bytes that a bit stands for: a power of two, 4 KiB or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize(u64);

impl PageSize {
    /// 4096 bytes.
    pub const KIB_4: Self = Self(4096);

    /// [`Error::PageSize`] if it is not a power of two, or less than 4 KiB.
    pub const fn new(bytes: u64) -> Result<Self> {
        if !bytes.is_power_of_two() || bytes < 4096 {
            return Err(Error::PageSize { bytes });
        }
        Ok(Self(bytes))
    }

    /// How many bytes it is.
    pub const fn bytes(&self) -> u64 {
        self.0
    }
}
