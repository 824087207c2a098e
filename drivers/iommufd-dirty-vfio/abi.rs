// SPDX-License-Identifier: GPL-2.0

//! Where the module meets C: all its `unsafe` is here and below this directory.

use crate::logging::Logging;
use core::ffi::{
    c_int,
    c_void, //
};
use device::Device;
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    sync::Arc,
    types::ForeignOwnable, //
};
use provider::{
    Operations,
    Registration, //
};
use signatures::check_signatures;
use space::Space;

pub(crate) mod bitmap;
pub(crate) mod bitmap_bytes;
pub(crate) mod device;
mod dma_log;
#[path = "../iommufd-dirty/abi/gfp.rs"]
pub(crate) mod gfp;
pub(crate) mod hwpt;
pub(crate) mod log;
#[path = "../iommufd-dirty/abi/memcg.rs"]
pub(crate) mod memcg;
pub(crate) mod record;
#[path = "../iommufd-dirty/abi/signatures.rs"]
mod signatures;
pub(crate) mod slot;
pub(crate) mod sources;
pub(crate) mod space;
pub(crate) mod watch;

#[allow(unreachable_pub)]
#[path = "../iommufd-dirty/abi/provider.rs"]
pub(crate) mod provider;

/// bindgen's output of `abi/glue.h`.
#[allow(
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unsafe_op_in_unsafe_fn,
    unreachable_pub,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
pub(crate) mod bindings {
    use kernel::bindings::{
        mem_cgroup,
        module,
        rb_root_cached, //
    };
    use pin_init::MaybeZeroable;
    include!(env!("IOMMUFD_DIRTY_VFIO_BINDINGS"));

    // By these names the files have them that other modules have, too.
    pub(crate) use {
        iommufd_dirty_vfio_bitmap_set as bitmap_set,
        iommufd_dirty_vfio_memcg_enter as memcg_enter,
        iommufd_dirty_vfio_memcg_get as memcg_get,
        iommufd_dirty_vfio_memcg_leave as memcg_leave,
        iommufd_dirty_vfio_memcg_put as memcg_put, //
    };
}

/// VFIO asks this module for trackers for as long as the value lives.
pub(crate) struct Ops(());

impl Ops {
    /// With `logs`, it asks for VFIO's DMA logging as well. `EBUSY` if somebody else makes
    /// trackers.
    pub(crate) fn register(logs: bool) -> Result<Self> {
        // SAFETY: Dropping the value unregisters them. VFIO holds the module while a device has a
        // tracker, so the value is dropped after all of them.
        to_result(unsafe { bindings::iommufd_dirty_vfio_register(logs) })?;
        Ok(Self(()))
    }
}

impl Drop for Ops {
    fn drop(&mut self) {
        // SAFETY: They are registered.
        unsafe { bindings::iommufd_dirty_vfio_unregister() }
    }
}

/// A registered tracker, whichever ops it has.
pub(crate) trait Registered: Send + Sync {
    fn as_raw(&self) -> *mut bindings::iommufd_dirty_tracker;
    fn set_space(&self, space: u64);
}

impl<T: Operations> Registered for Pin<KBox<Registration<T>>> {
    fn as_raw(&self) -> *mut bindings::iommufd_dirty_tracker {
        Registration::as_raw(self)
    }

    fn set_space(&self, space: u64) {
        Registration::set_space(self, space);
    }
}

/// What VFIO keeps for an open device.
struct DeviceState {
    /// `None` if there is nothing to make one of.
    tracker: Option<KBox<dyn Registered>>,
    space: Arc<Space>,
    logging: Arc<Logging>,
}

impl DeviceState {
    /// The feature, as `iommufd_dirty_vfio_feature()` has it.
    ///
    /// # Safety
    ///
    /// `arg` must be what VFIO gave its driver's `device_feature`.
    unsafe fn feature(&self, flags: u32, arg: *mut c_void, argsz: usize) -> c_int {
        let Some(tracker) = &self.tracker else {
            return ENOTTY.to_errno();
        };
        let raw = tracker.as_raw();
        // SAFETY: The tracker is registered; by the safety requirements.
        let bind = || unsafe { bindings::iommufd_dirty_vfio_bind(raw, flags, arg, argsz) };
        if flags & bindings::IOMMUFD_DIRTY_VFIO_PROBE != 0 {
            return bind();
        }
        from_result(|| {
            self.space.bind(|space| {
                tracker.set_space(space);
                to_result(bind())
            })?;
            Ok(0)
        })
    }
}

/// # Safety
///
/// See `struct vfio_dirty_ops`: `device` is open, and stays so until the result is destroyed.
#[no_mangle]
unsafe extern "C" fn iommufd_dirty_vfio_rs_create(
    device: *mut bindings::vfio_device,
) -> *mut c_void {
    let create = || {
        // SAFETY: By the safety requirements; it is put into the state, or dropped here.
        let device = unsafe { Device::new(device) }?;
        let space = Space::new(&device)?;
        let tracker = match crate::create(&device, &space) {
            // Of what it is attached to now, or later, there may be a log.
            Err(e) if e == ENOTTY && crate::dma_log_is_on() => None,
            tracker => Some(tracker?),
        };
        let logging = Logging::new(&device, &space)?;
        let state = DeviceState {
            tracker,
            space,
            logging,
        };
        Ok(KBox::new(state, GFP_KERNEL_ACCOUNT)?)
    };
    match create() {
        Ok(state) => state.into_foreign(),
        Err(e) => Error::to_ptr(e),
    }
}

/// # Safety
///
/// See `struct vfio_dirty_ops`: `state` was created, and is not destroyed meanwhile; the rest is as
/// VFIO gave it.
#[no_mangle]
unsafe extern "C" fn iommufd_dirty_vfio_rs_feature(
    state: *mut c_void,
    flags: u32,
    arg: *mut c_void,
    argsz: usize,
) -> c_int {
    // SAFETY: By the safety requirements.
    let state = unsafe { <KBox<DeviceState> as ForeignOwnable>::borrow(state) };
    // SAFETY: By the safety requirements.
    unsafe { state.feature(flags, arg, argsz) }
}

/// # Safety
///
/// See `struct vfio_dirty_ops`: `state` was created, and nobody uses it any more.
#[no_mangle]
unsafe extern "C" fn iommufd_dirty_vfio_rs_destroy(state: *mut c_void) {
    // SAFETY: By the safety requirements.
    drop(unsafe { <KBox<DeviceState> as ForeignOwnable>::from_foreign(state) });
}

check_signatures!(
    iommufd_dirty_vfio_rs_create,
    iommufd_dirty_vfio_rs_feature,
    iommufd_dirty_vfio_rs_destroy,
);
