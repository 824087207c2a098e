// SPDX-License-Identifier: GPL-2.0

//! The functions that other modules call; `abi/glue.c` exports and describes them.

use super::{
    bindings::{
        self,
        iommufd_dirty_sink,
        iommufd_dirty_tracker, //
    },
    chardev,
    ops::Provider,
    registry,
    signatures::check_signatures, //
};
use crate::{
    context,
    sink::Sink,
    source::Source,
    tracker::Tracker, //
};
use core::ffi::c_int;
use kernel::{
    error::from_result,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    types::ForeignOwnable, //
};

/// The core's side of a registered tracker.
///
/// # Safety
///
/// `raw` must be registered, and stay so for `'a`.
unsafe fn tracker<'a>(raw: *mut iommufd_dirty_tracker) -> ArcBorrow<'a, Tracker> {
    // SAFETY: `register` put an `Arc<Tracker>` there, and `unregister` takes it away.
    unsafe { <Arc<Tracker> as ForeignOwnable>::borrow((*raw).core) }
}

/// The core's side of a tracker that a test of this module has registered.
#[cfg(CONFIG_KUNIT = "y")]
pub(crate) fn tracker_of<T: super::provider::Operations>(
    registration: &super::provider::Registration<T>,
) -> Arc<Tracker> {
    // SAFETY: It is registered for as long as `registration` lives.
    unsafe { tracker(registration.as_raw()) }.into()
}

/// # Safety
///
/// See `iommufd_dirty_tracker_register()`: `raw`, its ops and its name are valid until it is
/// unregistered, or this has failed.
#[no_mangle]
unsafe extern "C" fn iommufd_dirty_rs_register(raw: *mut iommufd_dirty_tracker) -> c_int {
    from_result(|| {
        // SAFETY: The caller gives a tracker that is valid until `unregister` returns, which is
        // after `close`; if this fails the provider is dropped here.
        let (properties, provider) = unsafe { Provider::new(raw) }?;
        let provider = KBox::pin_init(provider, GFP_KERNEL_ACCOUNT)?;
        let tracker = Tracker::new(properties, Source::Provider(provider))?;
        registry::add(tracker.clone())?;
        // SAFETY: The field is the core's, and nobody uses the tracker before this returns.
        unsafe { (*raw).core = tracker.into_foreign() };
        Ok(0)
    })
}

/// # Safety
///
/// See `iommufd_dirty_tracker_unregister()`: `raw` is registered, and nobody unregisters it
/// meanwhile.
#[no_mangle]
unsafe extern "C" fn iommufd_dirty_rs_unregister(raw: *mut iommufd_dirty_tracker) {
    // SAFETY: The caller gives a registered tracker, and uses it no more in any other way.
    let tracker = unsafe { <Arc<Tracker> as ForeignOwnable>::from_foreign((*raw).core) };
    registry::remove(&tracker);
    tracker.close();
    // SAFETY: The field is the core's, and the tracker still valid.
    unsafe { (*raw).core = core::ptr::null_mut() };
}

/// # Safety
///
/// See `iommufd_dirty_tracker_lost()`: `raw` is registered, and nobody unregisters it meanwhile.
#[no_mangle]
unsafe extern "C" fn iommufd_dirty_rs_lost(raw: *mut iommufd_dirty_tracker, error: c_int) {
    // SAFETY: The caller gives a registered tracker and does not unregister it meanwhile.
    let tracker = unsafe { tracker(raw) };
    tracker.lose(Error::from_errno(error));
}

/// # Safety
///
/// See `iommufd_dirty_bind()`: `raw` is registered, and nobody unregisters it meanwhile.
#[no_mangle]
unsafe extern "C" fn iommufd_dirty_rs_bind(
    raw: *mut iommufd_dirty_tracker,
    context_fd: c_int,
    flags: u32,
    policy: u32,
    cookie: u64,
) -> c_int {
    from_result(|| {
        let file = chardev::context(context_fd)?;
        // SAFETY: The caller gives a registered tracker and does not unregister it meanwhile.
        let tracker = unsafe { tracker(raw) };
        let id = context::bind(&file, tracker.into(), flags, policy, cookie)?;
        c_int::try_from(id).map_err(|_| ENOSPC)
    })
}

/// # Safety
///
/// See `iommufd_dirty_sink_record()`: `sink` is that of the op that is being called.
#[no_mangle]
unsafe extern "C" fn iommufd_dirty_rs_record(
    sink: *mut iommufd_dirty_sink,
    iova: u64,
    length: u64,
    unsure: bool,
) {
    // SAFETY: An op gets its sink from `Provider::read`, which lends it for the time of the call,
    // to that task alone.
    let sink = unsafe { &mut *sink.cast::<Sink<'_>>() };
    if unsure {
        sink.record_unsure(iova, length);
    } else {
        sink.record(iova, length);
    }
}

/// # Safety
///
/// See `iommufd_dirty_sink_interrupted()`: `sink` is that of the op that is being called.
#[no_mangle]
unsafe extern "C" fn iommufd_dirty_rs_interrupted(sink: *mut iommufd_dirty_sink) -> bool {
    // SAFETY: As in `iommufd_dirty_rs_record`.
    let sink = unsafe { &*sink.cast::<Sink<'_>>() };
    sink.patience.has_ended()
}

check_signatures!(
    iommufd_dirty_rs_register,
    iommufd_dirty_rs_unregister,
    iommufd_dirty_rs_lost,
    iommufd_dirty_rs_bind,
    iommufd_dirty_rs_record,
    iommufd_dirty_rs_interrupted,
);
