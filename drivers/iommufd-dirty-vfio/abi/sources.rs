// SPDX-License-Identifier: GPL-2.0

//! The list of sources that logs have.
//!
//! Its lock is everybody's: nothing is waited for while it is held.

use crate::source::{
    Origin,
    Source, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*,
    sync::{
        global_lock,
        Arc, //
    }, //
};

/// A source, and how many logs have it or are about to.
struct Shared {
    source: Arc<Source>,
    users: usize,
}

global_lock! {
    // SAFETY: `init` is called in the module's init, before anybody can start a log.
    unsafe(uninit) static SOURCES: Mutex<KVec<Shared>> = KVec::new();
}

/// Once, when the module is loaded.
pub(crate) fn init() {
    // SAFETY: The module's init calls this, once.
    unsafe { SOURCES.init() }
}

/// The source that `origin` is, with one user more. `ENOMEM`.
pub(crate) fn get(origin: Origin) -> Result<Arc<Source>> {
    let mut sources = SOURCES.lock();
    if let Some(shared) = sources.iter_mut().find(|s| s.source.is(&origin)) {
        shared.users = shared.users.saturating_add(1);
        return Ok(shared.source.clone());
    }
    let source = Source::new(origin)?;
    let shared = Shared {
        source: source.clone(),
        users: 1,
    };
    let added = sources.push(shared, GFP_KERNEL_ACCOUNT);
    free_if_empty(&mut sources);
    added?;
    Ok(source)
}

/// `source` has one user fewer. Was that the last one?
pub(crate) fn put(source: &Arc<Source>) -> bool {
    let mut sources = SOURCES.lock();
    let shared = sources.iter_mut().find(|s| Arc::ptr_eq(&s.source, source));
    shared.is_some_and(|shared| {
        shared.users = shared.users.saturating_sub(1);
        shared.users == 0
    })
}

/// Takes `source` off the list, unless it has got a user since [`put`].
pub(crate) fn forget(source: &Arc<Source>) {
    let mut sources = SOURCES.lock();
    // The caller has a reference, so nothing is dropped here.
    sources.retain(|s| s.users > 0 || !Arc::ptr_eq(&s.source, source));
    free_if_empty(&mut sources);
}

/// Nothing frees a static when the module goes.
fn free_if_empty(sources: &mut KVec<Shared>) {
    if sources.is_empty() {
        *sources = KVec::new();
    }
}

/// Calls `f` for each source. `None` if somebody has the list.
pub(crate) fn try_for_each(
    mut f: impl FnMut(&Source) -> Result<(), kernel::fmt::Error>,
) -> Option<Result<(), kernel::fmt::Error>> {
    let sources = SOURCES.try_lock()?;
    Some(sources.iter().try_for_each(|shared| f(&shared.source)))
}
