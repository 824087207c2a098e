// SPDX-License-Identifier: GPL-2.0

//! A tracker that is bound to a context.

use crate::{
    abi::{
        ops::Owner,
        registry, //
    },
    tracker::Tracker,
    waker::Binding, //
};
use core::ops::Deref;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Dropping it takes the tracker out of the context.
pub(crate) struct Bound {
    tracker: Arc<Tracker>,
    /// Its code, while it is called.
    _owner: Option<Owner>,
    /// It is listed for as long as it is bound.
    own: bool,
}

impl Bound {
    /// Binds what a driver has registered. `EBUSY` if it is in a context; `ESHUTDOWN` if it is
    /// gone.
    pub(crate) fn registered(binding: Binding, tracker: Arc<Tracker>) -> Result<Self> {
        let owner = tracker.source.hold_owner()?;
        tracker.bind(binding)?;
        Ok(Self {
            tracker,
            _owner: owner,
            own: false,
        })
    }

    /// Binds a tracker that nobody else has.
    #[cfg(CONFIG_IOMMUFD_DIRTY_HWPT)]
    pub(crate) fn own(binding: Binding, tracker: Arc<Tracker>) -> Result<Self> {
        tracker.bind(binding)?;
        registry::add(tracker.clone())?;
        Ok(Self {
            tracker,
            _owner: None,
            own: true,
        })
    }
}

impl Deref for Bound {
    type Target = Arc<Tracker>;

    fn deref(&self) -> &Arc<Tracker> {
        &self.tracker
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.tracker.unbind();
        if self.own {
            registry::remove(&self.tracker);
        }
    }
}
