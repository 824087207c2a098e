// SPDX-License-Identifier: GPL-2.0

//! Charging memory to the memory cgroup of whoever opened the context.
//!
//! C headers: `include/linux/memcontrol.h`, `include/linux/sched/mm.h`.

use super::bindings;
use core::marker::PhantomData;
use kernel::types::NotThreadSafe;

/// A reference to a memory cgroup.
///
/// # Invariants
///
/// The pointer is null (no memory cgroups) or owns a reference.
pub(crate) struct Memcg(*mut kernel::bindings::mem_cgroup);

// SAFETY: References to a memory cgroup may be used and put by any task.
unsafe impl Send for Memcg {}
// SAFETY: As above; no method changes it.
unsafe impl Sync for Memcg {}

impl Memcg {
    /// That of the current task.
    pub(crate) fn current() -> Self {
        // INVARIANT: The function returns a reference that is ours, or null.
        // SAFETY: It may be called from any task.
        Self(unsafe { bindings::memcg_get() })
    }

    /// While the result lives, accounted allocations of the current task are charged to `self`.
    pub(crate) fn charge(&self) -> Charge<'_> {
        Charge {
            // SAFETY: By the type invariants the pointer is null or valid, and the lifetime of the
            // result keeps it so until the previous one is put back.
            old: unsafe { bindings::memcg_enter(self.0) },
            _memcg: PhantomData,
            _task: NotThreadSafe,
        }
    }
}

impl Drop for Memcg {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the reference is ours; null is ignored.
        unsafe { bindings::memcg_put(self.0) }
    }
}

/// See [`Memcg::charge`]. Such scopes nest, and belong to the task that made them.
pub(crate) struct Charge<'a> {
    old: *mut kernel::bindings::mem_cgroup,
    _memcg: PhantomData<&'a Memcg>,
    _task: NotThreadSafe,
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        // SAFETY: `old` was in force in this task before, and its holder keeps it alive until its
        // own scope ends, which is after this one.
        unsafe { bindings::memcg_leave(self.old) }
    }
}
