// SPDX-License-Identifier: GPL-2.0

//! Where a tracker's dirty pages come from.

#[cfg(CONFIG_IOMMUFD_DIRTY_HWPT)]
use crate::abi::hwpt::Hwpt;
use crate::{
    abi::{
        ops::{
            Owner,
            Provider, //
        },
        uapi::DirtyRange, //
    },
    logic::range::Range,
    sink::Sink, //
};
use kernel::prelude::*;

/// The context that the tracker is bound to starts, reads and stops it, one call at a time.
pub(crate) enum Source {
    /// The dirty bits of an iommufd HWPT.
    #[cfg(CONFIG_IOMMUFD_DIRTY_HWPT)]
    Hwpt(Hwpt),
    /// A driver, which has registered it.
    Provider(Pin<KBox<Provider>>),
}

impl Source {
    /// Keeps the module of a driver loaded.
    pub(crate) fn hold_owner(&self) -> Result<Option<Owner>> {
        match self {
            #[cfg(CONFIG_IOMMUFD_DIRTY_HWPT)]
            Self::Hwpt(_) => Ok(None),
            Self::Provider(provider) => provider.hold_owner().map(Some),
        }
    }

    /// The driver has unregistered it.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            #[cfg(CONFIG_IOMMUFD_DIRTY_HWPT)]
            Self::Hwpt(_) => false,
            Self::Provider(provider) => provider.is_closed(),
        }
    }

    /// The driver unregisters it. See [`Provider::close`].
    pub(crate) fn close(&self) {
        match self {
            #[cfg(CONFIG_IOMMUFD_DIRTY_HWPT)]
            Self::Hwpt(_) => (),
            Self::Provider(provider) => provider.close(),
        }
    }

    /// See [`Provider::query`].
    pub(crate) fn query(&self, granule: u64, ranges: &[DirtyRange]) -> Result<u64> {
        match self {
            // The dirty bits are in the page table, which is there anyway.
            #[cfg(CONFIG_IOMMUFD_DIRTY_HWPT)]
            Self::Hwpt(_) => Ok(0),
            Self::Provider(provider) => provider.query(granule, ranges),
        }
    }

    /// See [`Provider::start`].
    pub(crate) fn start(&self, granule: u64, ranges: &[DirtyRange]) -> Result<Option<u64>> {
        match self {
            // It tracks whatever is mapped.
            #[cfg(CONFIG_IOMMUFD_DIRTY_HWPT)]
            Self::Hwpt(hwpt) => hwpt.start().map(|()| None),
            Self::Provider(provider) => provider.start(granule, ranges),
        }
    }

    /// See [`Provider::stop`].
    pub(crate) fn stop(&self) -> Result {
        match self {
            #[cfg(CONFIG_IOMMUFD_DIRTY_HWPT)]
            Self::Hwpt(hwpt) => hwpt.stop(),
            Self::Provider(provider) => provider.stop(),
        }
    }

    /// See [`Provider::read`].
    pub(crate) fn read(
        &self,
        range: Range,
        flags: u32,
        peek: bool,
        sink: &mut Sink<'_>,
    ) -> Result<bool> {
        match self {
            #[cfg(CONFIG_IOMMUFD_DIRTY_HWPT)]
            Self::Hwpt(hwpt) => hwpt.read(range, flags, peek, sink),
            Self::Provider(provider) => provider.read(range, flags, peek, sink),
        }
    }

    /// See [`Provider::update_ranges`].
    pub(crate) fn update_ranges(&self, ranges: &[DirtyRange]) -> Result {
        match self {
            #[cfg(CONFIG_IOMMUFD_DIRTY_HWPT)]
            Self::Hwpt(_) => Ok(()),
            Self::Provider(provider) => provider.update_ranges(ranges),
        }
    }

    /// The I/O address space that it is in at the moment; 0 cannot be told.
    pub(crate) fn space(&self) -> u64 {
        match self {
            #[cfg(CONFIG_IOMMUFD_DIRTY_HWPT)]
            Self::Hwpt(hwpt) => hwpt.space(),
            Self::Provider(provider) => provider.space(),
        }
    }

    /// Bytes that its bitmaps take at the moment.
    pub(crate) fn bitmap_bytes(&self) -> u64 {
        match self {
            #[cfg(CONFIG_IOMMUFD_DIRTY_HWPT)]
            Self::Hwpt(_) => 0,
            Self::Provider(provider) => provider.bitmap_bytes(),
        }
    }
}
