// SPDX-License-Identifier: GPL-2.0

//! Seeing the writes that the kernel makes for a device.
//!
//! C header: `include/linux/vfio.h`, with `patches/` applied.

use super::{
    bindings,
    device::Device,
    record::{
        opaque,
        record,
        Record, //
    }, //
};
use kernel::{
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// What sees them.
pub(crate) trait Written: Send + Sync {
    /// The `length` bytes from `iova` on were written, or are about to be unpinned. From many tasks
    /// at once, with iommufd's locks held; may sleep.
    fn written(&self, iova: u64, length: u64);
}

/// While it lives `observer` sees the writes. Dropping it waits for calls under way.
///
/// # Invariants
///
/// `raw` is the watch of `device` from the end of [`Watch::new`] until drop.
#[pin_data(PinnedDrop)]
pub(crate) struct Watch<T: Written> {
    #[pin]
    raw: Opaque<bindings::vfio_dirty_watch>,
    device: Device,
    #[pin]
    observer: T,
}

// SAFETY: VFIO locks by itself, and `T` is `Send`.
unsafe impl<T: Written> Send for Watch<T> {}
// SAFETY: As above, and `T` is `Sync`.
unsafe impl<T: Written> Sync for Watch<T> {}

impl<T: Written> Watch<T> {
    /// Errors: `EOPNOTSUPP` if the kernel makes no writes for it, `EBUSY` if it is watched.
    pub(crate) fn new(device: &Device, observer: impl PinInit<T>) -> impl PinInit<Self, Error> {
        let device = device.clone();
        let watch = device.as_raw();
        try_pin_init!(&this in Self {
            raw <- Opaque::new(bindings::vfio_dirty_watch {
                written: Some(Self::written),
            }),
            device,
            observer <- observer,
            _: {
                // SAFETY: The device is open. All fields of `this` are initialised, it is pinned,
                // and stays until `drop` has ended the watch: when this fails there is none.
                to_result(unsafe {
                    bindings::vfio_device_dirty_watch(
                        watch,
                        Opaque::cast_into(&raw const (*this.as_ptr()).raw),
                    )
                })?
            },
        })
    }

    pub(crate) fn observer(&self) -> &T {
        &self.observer
    }

    /// # Safety
    ///
    /// For VFIO, with the `raw` of a live `Watch<T>`.
    unsafe extern "C" fn written(
        watch: *mut bindings::vfio_dirty_watch,
        iova: usize,
        length: usize,
    ) {
        // SAFETY: By the safety requirements it is in a `Watch<T>` that is alive.
        let observer =
            unsafe { &(*kernel::container_of!(Opaque::cast_from(watch), Self, raw)).observer };
        observer.written(iova as u64, length as u64);
    }
}

#[pinned_drop]
impl<T: Written> PinnedDrop for Watch<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants it is the watch, of a device that is open.
        unsafe { bindings::vfio_device_dirty_unwatch(self.device.as_raw()) }
    }
}

impl Device {
    /// Records what it has pinned for writing of the `length` bytes from `iova` on. Only while it
    /// is watched.
    pub(crate) fn for_pinned<R: Record>(&self, iova: u64, length: u64, to: &mut R) -> Result {
        let iova = usize::try_from(iova).map_err(|_| EOVERFLOW)?;
        let length = usize::try_from(length).map_err(|_| EOVERFLOW)?;
        // SAFETY: The device is open; `record` is given the `R` that it expects, which is lent
        // until the function returns.
        to_result(unsafe {
            bindings::vfio_device_dirty_pinned(
                self.as_raw(),
                iova,
                length,
                Some(record::<R>),
                opaque(to),
            )
        })
    }
}
