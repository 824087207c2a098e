// SPDX-License-Identifier: GPL-2.0

//! What is done about a tracker that cannot track.

use crate::abi::bindings::*;
use kernel::prelude::*;

/// What userspace wants done about a tracker that cannot track.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Policy {
    Fail = IOMMUFD_DIRTY_POLICY_FAIL,
    Ignore = IOMMUFD_DIRTY_POLICY_IGNORE,
    AllDirty = IOMMUFD_DIRTY_POLICY_ALL_DIRTY,
}

impl Policy {
    /// `EOPNOTSUPP` if there is no such policy.
    pub(crate) fn from_uapi(policy: u32) -> Result<Self> {
        [Self::Fail, Self::Ignore, Self::AllDirty]
            .into_iter()
            .find(|p| *p as u32 == policy)
            .ok_or(EOPNOTSUPP)
    }
}
