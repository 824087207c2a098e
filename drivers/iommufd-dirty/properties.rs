// SPDX-License-Identifier: GPL-2.0

//! What a tracker is and can do.

use crate::{
    abi::bindings::IOMMUFD_DIRTY_NAME_LEN,
    logic::granule::Limits, //
};

const NAME_LEN: usize = IOMMUFD_DIRTY_NAME_LEN as usize;

/// What a tracker is and can do, for as long as it is there.
pub(crate) struct Properties {
    /// NUL-padded.
    pub(crate) name: [u8; NAME_LEN],
    /// `enum iommufd_dirty_kind`.
    pub(crate) kind: u32,
    /// `enum iommufd_dirty_caps`.
    pub(crate) caps: u32,
    pub(crate) limits: Limits,
}

impl Properties {
    /// A name as [`Properties::name`] has it; what is too long is cut.
    pub(crate) fn padded(name: &[u8]) -> [u8; NAME_LEN] {
        let mut padded = [0; NAME_LEN];
        // The last byte stays NUL.
        for (to, from) in padded.iter_mut().take(NAME_LEN - 1).zip(name) {
            *to = *from;
        }
        padded
    }
}
