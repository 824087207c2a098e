// SPDX-License-Identifier: GPL-2.0

//! `struct vfio_migration_ops` of a VF: what `abi/glue.c` leaves to Rust.
//!
//! C header: `include/linux/vfio.h`.

use super::{
    bindings::{
        self,
        vfio_device_mig_state as MigState, //
    },
    signatures::check_signatures,
    vf::borrow, //
};
use core::ptr;
use kernel::{
    bindings::file,
    error::{
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    sync::aref::ARef, //
};

/// # Safety
///
/// `vf` is open; `device` is its VFIO device.
#[no_mangle]
unsafe extern "C" fn vfio_mlx5_rs_set_state(
    vf: *mut c_void,
    device: *mut bindings::vfio_device,
    state: MigState,
) -> *mut file {
    // SAFETY: By the safety requirements.
    let vf = unsafe { borrow(vf) };
    let file = vf.migration.set_state(state, |from, to| {
        let mut next = from;
        // SAFETY: By the safety requirements; `from` is a state of it, and `next` is valid.
        to_result(unsafe { bindings::vfio_mig_get_next_state(device, from, to, &mut next) })?;
        Ok(next)
    });
    match file {
        Ok(Some(file)) => ARef::into_raw(file).as_ptr().cast(),
        Ok(None) => ptr::null_mut(),
        Err(e) => e.to_ptr(),
    }
}

/// # Safety
///
/// `vf` is open.
#[no_mangle]
unsafe extern "C" fn vfio_mlx5_rs_get_state(vf: *mut c_void) -> MigState {
    // SAFETY: By the safety requirements.
    unsafe { borrow(vf) }.migration.state()
}

/// # Safety
///
/// `vf` is open; `size` is valid.
#[no_mangle]
unsafe extern "C" fn vfio_mlx5_rs_data_size(vf: *mut c_void, size: *mut c_ulong) -> c_int {
    // SAFETY: By the safety requirements.
    let (vf, size) = unsafe { (borrow(vf), &mut *size) };
    from_result(|| {
        *size = c_ulong::try_from(vf.migration.size()?)?;
        Ok(0)
    })
}

/// # Safety
///
/// `vf` was probed.
#[no_mangle]
unsafe extern "C" fn vfio_mlx5_rs_reset(vf: *mut c_void) {
    // SAFETY: By the safety requirements.
    unsafe { borrow(vf) }.migration.reset();
}

check_signatures!(
    vfio_mlx5_rs_set_state,
    vfio_mlx5_rs_get_state,
    vfio_mlx5_rs_data_size,
    vfio_mlx5_rs_reset,
);
