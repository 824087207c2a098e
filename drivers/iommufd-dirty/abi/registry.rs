// SPDX-License-Identifier: GPL-2.0

//! The list of registered trackers.

use crate::tracker::Tracker;
use kernel::{
    prelude::*,
    sync::{
        global_lock,
        Arc, //
    }, //
};

global_lock! {
    // SAFETY: `init` is called in the module's init, before anybody can register.
    unsafe(uninit) static TRACKERS: Mutex<KVec<Arc<Tracker>>> = KVec::new();
}

/// Once, when the module is loaded.
pub(crate) fn init() {
    // SAFETY: The module's init calls this, once.
    unsafe { TRACKERS.init() }
}

/// Lists a tracker until [`remove`].
pub(crate) fn add(tracker: Arc<Tracker>) -> Result {
    Ok(TRACKERS.lock().push(tracker, GFP_KERNEL)?)
}

/// Takes a tracker out of the list.
pub(crate) fn remove(tracker: &Arc<Tracker>) {
    let mut trackers = TRACKERS.lock();
    trackers.retain(|t| !Arc::ptr_eq(t, tracker));
    if trackers.is_empty() {
        // Nothing frees a static when the module goes.
        *trackers = KVec::new();
    }
}

/// Calls `f` for each registered tracker, in the order of registration.
pub(crate) fn for_each(mut f: impl FnMut(&Tracker)) {
    for tracker in TRACKERS.lock().iter() {
        f(tracker);
    }
}
