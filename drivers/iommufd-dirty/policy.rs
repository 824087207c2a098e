// SPDX-License-Identifier: GPL-2.0

//! What is done about a tracker that cannot track.

use crate::{
    abi::{
        bindings::*,
        uapi, //
    },
    state::State, //
};
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

/// `ioctl(IOMMUFD_DIRTY_SET_POLICY)`
pub(crate) fn set_policy(state: &mut State, cmd: &mut uapi::SetPolicy) -> Result {
    if cmd.flags != 0 {
        return Err(EOPNOTSUPP);
    }
    let policy = Policy::from_uapi(cmd.policy)?;
    let m = state.member(cmd.tracker_id)?;
    if m.tracker().is_none() && policy == Policy::Fail {
        return Err(EINVAL);
    }
    m.acknowledge();
    m.policy = policy;
    Ok(())
}
