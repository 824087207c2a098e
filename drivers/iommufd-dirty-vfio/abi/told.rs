// SPDX-License-Identifier: GPL-2.0

//! How much memory a tracker's bitmaps take, told to the core as it changes.

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

/// Whom to tell: what tells a tracker's memory is made before the tracker is registered.
#[pin_data]
pub(crate) struct Told {
    #[pin]
    tracker: SpinLock<Pointer>,
}

/// # Invariants
///
/// It is null or a registered tracker.
struct Pointer(*mut iommufd_dirty_tracker);

// SAFETY: A tracker may be used from any task.
unsafe impl Send for Pointer {}

impl Told {
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                // INVARIANT: It is null.
                tracker <- new_spinlock!(Pointer(ptr::null_mut()), "iommufd_dirty_vfio::Told"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// The bitmaps take `bytes`.
    pub(crate) fn tell(&self, bytes: u64) {
        let locked = self.tracker.lock();
        let tracker = locked.0;
        if !tracker.is_null() {
            // SAFETY: By the type invariants it is valid, and stays so while the lock is held. All
            // sides access the field as a whole and volatile.
            unsafe { (&raw mut (*tracker).bitmap_bytes).write_volatile(bytes) }
        }
    }
}

/// A registered tracker whose memory is told.
pub(crate) struct Telling<T: Operations> {
    told: Arc<Told>,
    registration: Pin<KBox<Registration<T>>>,
}

impl<T: Operations> Telling<T> {
    /// See [`Registration::new`]. `told` tells its memory from now on.
    pub(crate) fn register(what: Description, ops: T, told: Arc<Told>) -> Result<Self> {
        let registration = KBox::try_pin_init(Registration::new(what, ops), GFP_KERNEL_ACCOUNT)?;
        // INVARIANT: It is registered, and `drop` takes it out before it is not.
        told.tracker.lock().0 = registration.as_raw();
        Ok(Self { told, registration })
    }
}

impl<T: Operations> Registered for Telling<T> {
    fn as_raw(&self) -> *mut iommufd_dirty_tracker {
        self.registration.as_raw()
    }

    fn set_space(&self, space: u64) {
        self.registration.set_space(space);
    }
}

impl<T: Operations> Drop for Telling<T> {
    fn drop(&mut self) {
        self.told.tracker.lock().0 = ptr::null_mut();
    }
}
