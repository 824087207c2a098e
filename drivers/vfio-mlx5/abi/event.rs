// SPDX-License-Identifier: GPL-2.0

//! What can be waited for, with no lock held.
//!
//! Whoever waits looks at what it waits for with a lock, and takes the [`Seen`] that goes with
//! that; the wait ends at once if the event came after that.
//!
//! C header: `include/linux/wait.h`.

use super::bindings;
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    ffi::c_int,
    prelude::*, //
};

/// How often an event had come.
#[derive(Clone, Copy)]
pub(crate) struct Seen(c_int);

/// An event that comes again and again.
///
/// # Invariants
///
/// It is what `vfio_mlx5_event_new()` returned, and was not freed.
pub(crate) struct Event(NonNull<bindings::vfio_mlx5_event>);

// SAFETY: It belongs to no task.
unsafe impl Send for Event {}
// SAFETY: It has a lock of its own.
unsafe impl Sync for Event {}

impl Event {
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: May be called from any task.
        let event = unsafe { bindings::vfio_mlx5_event_new() };
        // INVARIANT: It was just returned.
        Ok(Self(NonNull::new(event).ok_or(ENOMEM)?))
    }

    pub(super) fn as_raw(&self) -> *mut bindings::vfio_mlx5_event {
        self.0.as_ptr()
    }

    /// For a wait.
    pub(crate) fn seen(&self) -> Seen {
        // SAFETY: By the type invariants.
        Seen(unsafe { bindings::vfio_mlx5_event_count(self.as_raw()) })
    }

    /// It has come.
    pub(crate) fn notify(&self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::vfio_mlx5_event_notify(self.as_raw()) }
    }

    /// Waits for what is sure to come.
    pub(crate) fn wait(&self, seen: Seen) {
        // SAFETY: By the type invariants.
        unsafe { bindings::vfio_mlx5_event_wait(self.as_raw(), seen.0) }
    }

    /// `EINTR` if the task is to be killed.
    pub(crate) fn wait_killable(&self, seen: Seen) -> Result {
        // SAFETY: By the type invariants.
        let result = unsafe { bindings::vfio_mlx5_event_wait_killable(self.as_raw(), seen.0) };
        to_result(result).map_err(|_| EINTR)
    }

    /// `ERESTARTSYS` if there is a signal.
    pub(crate) fn wait_interruptible(&self, seen: Seen) -> Result {
        // SAFETY: By the type invariants.
        to_result(unsafe { bindings::vfio_mlx5_event_wait_interruptible(self.as_raw(), seen.0) })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, and nobody waits for it: nobody has it any more.
        unsafe { bindings::vfio_mlx5_event_free(self.as_raw()) }
    }
}
