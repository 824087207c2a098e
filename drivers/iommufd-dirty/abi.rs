// SPDX-License-Identifier: GPL-2.0

//! Where the module meets C: all its `unsafe` is below this directory.
//!
//! Each file wraps one thing of the kernel and says in its head what makes it sound; what it offers
//! to the rest of the module is safe.

pub(crate) mod chardev;
mod exports;
pub(crate) mod gfp;
#[cfg(CONFIG_IOMMUFD_DIRTY_HWPT)]
pub(crate) mod hwpt;
pub(crate) mod memcg;
pub(crate) mod ops;
pub(crate) mod pinned_pages;
pub(crate) mod registry;
mod signatures;
pub(crate) mod trace;
pub(crate) mod uapi;
pub(crate) mod worker;

#[cfg(CONFIG_KUNIT = "y")]
pub(crate) use exports::tracker_of;

use kernel::task::Task;

/// Was the current task sent a signal that ends it?
pub(crate) fn killed() -> bool {
    is_killed(kernel::current!())
}

/// Was `task` sent a signal that ends it?
pub(crate) fn is_killed(task: &Task) -> bool {
    // SAFETY: A reference to a task is one to a valid task.
    unsafe { bindings::iommufd_dirty_killed(task.as_ptr()) }
}

// What drivers have: the tests register as a driver does.
#[cfg(CONFIG_KUNIT = "y")]
#[allow(unreachable_pub)]
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
        file,
        file_operations,
        mem_cgroup,
        module,
        task_struct,
        workqueue_struct, //
    };
    use pin_init::MaybeZeroable;
    include!(env!("IOMMUFD_DIRTY_BINDINGS"));

    // By these names `memcg.rs` has them in each module.
    pub(crate) use {
        iommufd_dirty_memcg_enter as memcg_enter,
        iommufd_dirty_memcg_get as memcg_get,
        iommufd_dirty_memcg_leave as memcg_leave,
        iommufd_dirty_memcg_put as memcg_put, //
    };
}
