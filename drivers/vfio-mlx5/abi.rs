// SPDX-License-Identifier: GPL-2.0

//! Where the module meets C: all its `unsafe` is here and below this directory.

use kernel::{
    error::to_result,
    prelude::*, //
};

pub(crate) mod core_dev;
pub(crate) mod cq;
pub(crate) mod dma;
pub(crate) mod event;
pub(crate) mod events;
mod migration;
pub(crate) mod pages;
pub(crate) mod pf;
pub(crate) mod pieces;
pub(crate) mod stream;
pub(crate) mod vf;

#[path = "../iommufd-dirty-vfio/abi/bitmap.rs"]
pub(crate) mod bitmap;

#[path = "../iommufd-dirty/abi/gfp.rs"]
pub(crate) mod gfp;

#[path = "../iommufd-dirty/abi/signatures.rs"]
mod signatures;

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
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks
)]
pub(crate) mod bindings {
    use kernel::bindings::{
        completion,
        dma_addr_t,
        file,
        file_operations,
        list_head,
        module,
        notifier_block,
        pci_dev,
        poll_table_struct,
        rb_root_cached,
        refcount_t, //
    };
    use pin_init::MaybeZeroable;

    /// bindgen would make the unions in it, opaque or not.
    #[repr(C)]
    pub struct mlx5_core_dev([u8; 0]);

    // These are only pointed to.
    pub enum mlx5_dma_pool_page {}
    pub enum mlx5_eq_comp {}
    pub enum mlx5_eqe {}
    pub enum mlx5_ib_user_db_page {}
    pub enum mlx5_rsc_debug {}
    pub enum mlx5_uars_page {}

    include!(env!("VFIO_MLX5_BINDINGS"));

    // By this name `bitmap.rs` has it in each module.
    pub(crate) use vfio_mlx5_bitmap_set as bitmap_set;
}

/// Is the current task about to be killed?
pub(crate) fn killed() -> bool {
    // SAFETY: May be called from any task.
    unsafe { bindings::vfio_mlx5_killed() }
}

/// The PCI driver, registered for as long as the value lives.
pub(crate) struct Driver(());

impl Driver {
    pub(crate) fn register() -> Result<Self> {
        // SAFETY: Dropping the value unregisters it, before the module goes away.
        to_result(unsafe { bindings::vfio_mlx5_register() })?;
        Ok(Self(()))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: It is registered.
        unsafe { bindings::vfio_mlx5_unregister() }
    }
}
