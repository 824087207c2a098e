// SPDX-License-Identifier: GPL-2.0

//! In which I/O address space a device's tracker is.
//!
//! A device can be moved to another one while a context has its tracker. The same addresses are
//! another memory there: what it writes must not be told as dirt of the space that the context is
//! of. So each start and each read looks where the device is.

use super::device::Device;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};

/// Where the tracker of a device was bound. Spaces are numbers, and 0 is none.
#[pin_data]
pub(crate) struct Space {
    device: Device,
    /// The space of the last bind that was not refused.
    bound: Atomic<u64>,
    /// The space of the bind under way, and the task that makes it; 0 is nobody.
    tried: Atomic<u64>,
    binder: Atomic<usize>,
    #[pin]
    one_bind: Mutex<()>,
}

fn this_task() -> usize {
    kernel::current!().as_ptr() as usize
}

impl Space {
    pub(super) fn new(device: &Device) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                device: device.clone(),
                bound: Atomic::new(device.space()),
                tried: Atomic::new(0),
                binder: Atomic::new(0),
                one_bind <- new_mutex!((), "iommufd_dirty_vfio::Space::one_bind"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Lets `f` bind the tracker in the space that it is given. If that is refused the tracker may
    /// be bound elsewhere, and stays what it was.
    ///
    /// Errors: `EXDEV` if the device is in no iommufd; those of `f`.
    pub(super) fn bind(&self, f: impl FnOnce(u64) -> Result) -> Result {
        let _one = self.one_bind.lock();
        let now = self.device.space();
        if now == 0 {
            return Err(EXDEV);
        }
        self.tried.store(now, Relaxed);
        self.binder.store(this_task(), Relaxed);
        let bound = f(now);
        self.binder.store(0, Relaxed);
        if bound.is_ok() {
            self.bound.store(now, Relaxed);
        }
        bound
    }

    /// The space in which the tracker starts. `EXDEV` if the device is not where it was bound.
    pub(crate) fn starts_in(&self) -> Result<u64> {
        // In a context that tracks already a bind starts it before it is bound. Only that task asks
        // then for the space of a bind that may yet be refused.
        let bound = if self.binder.load(Relaxed) == this_task() {
            self.tried.load(Relaxed)
        } else {
            self.bound.load(Relaxed)
        };
        if bound == 0 || self.device.space() != bound {
            return Err(EXDEV);
        }
        Ok(bound)
    }

    /// Is what is known of the device dirt of the space that it started in? `EXDEV` if it is in
    /// another one. That it was detached does no harm: it writes nothing then.
    pub(crate) fn is_still(&self, started: u64) -> Result {
        if [0, started].contains(&self.device.space()) {
            Ok(())
        } else {
            Err(EXDEV)
        }
    }
}
