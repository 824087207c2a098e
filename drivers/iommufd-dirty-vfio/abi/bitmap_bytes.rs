// SPDX-License-Identifier: GPL-2.0

//! How much memory a tracker's bitmaps take, reported to the core as it changes.

use super::{
    bindings::iommufd_dirty_tracker,
    provider::{
        Description,
        Operations,
        Registration, //
    },
    Registered, //
};
use core::ptr;
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        SpinLock, //
    }, //
};

/// Reports it. It is made before the tracker is registered, and reports to nobody until then.
#[pin_data]
pub(crate) struct BitmapBytes {
    #[pin]
    tracker: SpinLock<Pointer>,
}

/// # Invariants
///
/// It is null or a registered tracker.
struct Pointer(*mut iommufd_dirty_tracker);

// SAFETY: A tracker may be used from any task.
unsafe impl Send for Pointer {}

impl BitmapBytes {
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                // INVARIANT: It is null.
                tracker <- new_spinlock!(Pointer(ptr::null_mut()), "iommufd_dirty_vfio::bytes"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// The bitmaps take `bytes`.
    pub(crate) fn set(&self, bytes: u64) {
        let locked = self.tracker.lock();
        let tracker = locked.0;
        if !tracker.is_null() {
            // SAFETY: By the type invariants it is valid, and stays so while the lock is held. All
            // sides access the field as a whole and volatile.
            unsafe { (&raw mut (*tracker).bitmap_bytes).write_volatile(bytes) }
        }
    }
}

/// A registered tracker whose memory is reported.
pub(crate) struct Reported<T: Operations> {
    bytes: Arc<BitmapBytes>,
    registration: Pin<KBox<Registration<T>>>,
}

impl<T: Operations> Reported<T> {
    /// See [`Registration::new`]. `bytes` reports its memory from now on.
    pub(crate) fn register(what: Description, ops: T, bytes: Arc<BitmapBytes>) -> Result<Self> {
        let registration = KBox::try_pin_init(Registration::new(what, ops), GFP_KERNEL_ACCOUNT)?;
        // INVARIANT: It is registered, and `drop` takes it out before it is not.
        bytes.tracker.lock().0 = registration.as_raw();
        Ok(Self {
            bytes,
            registration,
        })
    }
}

impl<T: Operations> Registered for Reported<T> {
    fn as_raw(&self) -> *mut iommufd_dirty_tracker {
        self.registration.as_raw()
    }

    fn set_space(&self, space: u64) {
        self.registration.set_space(space);
    }
}

impl<T: Operations> Drop for Reported<T> {
    fn drop(&mut self) {
        self.bytes.tracker.lock().0 = ptr::null_mut();
    }
}
