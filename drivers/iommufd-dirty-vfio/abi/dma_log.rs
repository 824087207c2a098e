// SPDX-License-Identifier: GPL-2.0

//! VFIO's DMA logging of devices whose drivers have none: what `abi/glue.c` leaves to Rust.
//!
//! C header: `include/linux/vfio.h`, with `patches/` applied. VFIO sees to it that starts and stops
//! of a device come one at a time, and not beside its reports.

use super::{
    bindings,
    bitmap::Bitmap,
    signatures::check_signatures,
    DeviceState, //
};
use crate::{
    logic::{
        range::Range,
        range_set::RangeSet, //
    },
    mem::{
        TryVec,
        Vec, //
    }, //
};
use kernel::{
    error::from_result,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*,
    types::ForeignOwnable, //
};

/// # Safety
///
/// `state` was created, and is not destroyed for `'a`.
unsafe fn borrow<'a>(state: *mut c_void) -> &'a DeviceState {
    // SAFETY: By the safety requirements.
    unsafe { <KBox<DeviceState> as ForeignOwnable>::borrow(state) }
}

/// # Safety
///
/// See `struct vfio_dirty_ops`: `state` was created, and is not destroyed meanwhile.
#[no_mangle]
unsafe extern "C" fn iommufd_dirty_vfio_rs_has_log(state: *mut c_void) -> bool {
    // SAFETY: By the safety requirements.
    unsafe { borrow(state) }.logging.is_possible()
}

/// # Safety
///
/// See `struct vfio_log_ops`: `state` was created, and is not destroyed meanwhile; `root` is a tree
/// of `nr` ranges, and `page_size` is valid.
#[no_mangle]
unsafe extern "C" fn iommufd_dirty_vfio_rs_log_start(
    state: *mut c_void,
    root: *mut kernel::bindings::rb_root_cached,
    nr: u32,
    page_size: *mut u64,
) -> c_int {
    from_result(|| {
        let mut raw = KVec::from_elem(
            bindings::iommufd_dirty_range::default(),
            nr as usize,
            GFP_KERNEL_ACCOUNT,
        )?;
        // SAFETY: By the safety requirements; there is room for `nr` ranges.
        unsafe { bindings::iommufd_dirty_vfio_ranges(root, raw.as_mut_ptr(), nr) };
        let mut list = Vec::new();
        list.try_reserve_for(raw.len())?;
        for range in raw.iter() {
            // VFIO lets through one without a length.
            list.try_push(Range::new(range.iova, range.length).map_err(|_| EINVAL)?)?;
        }
        // SAFETY: By the safety requirements.
        let (state, page_size) = unsafe { (borrow(state), &mut *page_size) };
        *page_size = state.logging.start(RangeSet::of(list)?, *page_size)?;
        Ok(0)
    })
}

/// # Safety
///
/// See `struct vfio_log_ops`: `state` was created, and is not destroyed meanwhile.
#[no_mangle]
unsafe extern "C" fn iommufd_dirty_vfio_rs_log_stop(state: *mut c_void) -> c_int {
    // SAFETY: By the safety requirements.
    let state = unsafe { borrow(state) };
    from_result(|| state.logging.stop().map(|()| 0))
}

/// # Safety
///
/// See `struct vfio_log_ops`: `state` was created, and is not destroyed meanwhile; `bitmap` is
/// valid until the function returns, and used by nobody else.
#[no_mangle]
unsafe extern "C" fn iommufd_dirty_vfio_rs_log_report(
    state: *mut c_void,
    iova: c_ulong,
    length: c_ulong,
    bitmap: *mut bindings::iova_bitmap,
) -> c_int {
    // SAFETY: By the safety requirements.
    let (state, mut bitmap) = unsafe { (borrow(state), Bitmap::new(bitmap)) };
    from_result(|| {
        let wanted = Range::new(iova as u64, length as u64).map_err(|_| EINVAL)?;
        state.logging.report(wanted, &mut bitmap).map(|()| 0)
    })
}

check_signatures!(
    iommufd_dirty_vfio_rs_has_log,
    iommufd_dirty_vfio_rs_log_start,
    iommufd_dirty_vfio_rs_log_stop,
    iommufd_dirty_vfio_rs_log_report,
);
