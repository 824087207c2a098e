// SPDX-License-Identifier: GPL-2.0

//! Where the module meets C: all its `unsafe` is here and below this directory.

use kernel::{
    error::to_result,
    prelude::*, //
};

#[allow(unreachable_pub)]
#[path = "../iommufd-dirty/provider.rs"]
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
        module,
        pci_dev, //
    };
    use pin_init::MaybeZeroable;

    /// bindgen would make the unions in it, opaque or not.
    #[repr(C)]
    pub struct mlx5_core_dev([u8; 0]);

    include!(env!("VFIO_MLX5_BINDINGS"));
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
