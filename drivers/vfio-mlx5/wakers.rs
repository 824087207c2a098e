// SPDX-License-Identifier: GPL-2.0

//! Waking those who wait for a report that will not be needed any more.

use crate::{
    tracker::Signal,
    vf::MAX_TRACKERS, //
};
use core::mem;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// The signals of the page trackers that a VF has, apart from them: who ends a wait cannot have the
/// lock that is held while waiting.
#[pin_data]
pub(crate) struct Wakers {
    #[pin]
    inner: Mutex<Inner>,
}

struct Inner {
    /// Nobody has the VF open.
    closed: bool,
    /// The PF is down, or does not let the VF be used.
    detached: bool,
    signals: [Option<Arc<Signal>>; MAX_TRACKERS],
}

impl Inner {
    /// Ends all waits, if there is nothing more to wait for.
    fn fail(&self) {
        if self.closed || self.detached {
            for signal in self.signals.iter().flatten() {
                signal.fail(ENODEV);
            }
        }
    }
}

impl Wakers {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- new_mutex!(Inner {
                closed: true,
                detached: false,
                signals: [const { None }; MAX_TRACKERS],
            }, "vfio_mlx5::Wakers::inner"),
        })
    }

    /// These are the ones from now on; more than [`MAX_TRACKERS`] there cannot be. They are failed
    /// at once if the VF was closed or detached meanwhile.
    pub(crate) fn set(&self, signals: impl Iterator<Item = Arc<Signal>>) {
        let mut new = [const { None }; MAX_TRACKERS];
        for (slot, signal) in new.iter_mut().zip(signals) {
            *slot = Some(signal);
        }
        let mut inner = self.inner.lock();
        let old = mem::replace(&mut inner.signals, new);
        inner.fail();
        drop(inner);
        drop(old);
    }

    pub(crate) fn set_closed(&self, closed: bool) {
        let mut inner = self.inner.lock();
        inner.closed = closed;
        inner.fail();
    }

    pub(crate) fn set_detached(&self, detached: bool) {
        let mut inner = self.inner.lock();
        inner.detached = detached;
        inner.fail();
    }
}
