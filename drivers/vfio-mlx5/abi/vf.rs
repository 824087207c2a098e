// SPDX-License-Identifier: GPL-2.0

//! What VFIO's side of the driver, `abi/glue.c`, asks of a VF.
//!
//! The VF is `void *` there, from probe to remove. VFIO sees to it that probe, open, close and
//! remove come in turn, and that nothing else comes but while it is open.

use super::{
    bindings,
    bitmap::Bitmap,
    core_dev::CoreDev,
    pf::{
        Notifier,
        Pf,
        VfEvents, //
    },
    provider::{
        DirtyRange,
        Registration, //
    },
    signatures::check_signatures, //
};
use crate::vf::Vf;
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    bindings::pci_dev,
    error::from_result,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*,
    sync::Arc,
    types::ForeignOwnable,
    workqueue::Work, //
};

/// What the driver has of a VF.
type Probed = Pin<KBox<Notifier<Arc<Vf>>>>;

impl VfEvents for Arc<Vf> {
    fn disabled(&self) {
        (**self).disabled();
    }

    fn enabled(&self, pf: CoreDev) {
        (**self).enabled(pf);
    }
}

/// Where the DMA of a VF is, while it is open.
///
/// # Invariants
///
/// The VFIO device is valid for as long as the value.
#[derive(Clone)]
pub(crate) struct Place(NonNull<bindings::vfio_device>);

// SAFETY: What is asked of the device may be asked by any task.
unsafe impl Send for Place {}
// SAFETY: As above.
unsafe impl Sync for Place {}

impl Place {
    /// `EXDEV` if the VF is in another I/O address space than when its tracker was bound, or in
    /// none.
    pub(crate) fn check(&self) -> Result {
        // SAFETY: By the type invariants.
        if unsafe { bindings::vfio_mlx5_has_moved(self.0.as_ptr()) } {
            return Err(EXDEV);
        }
        Ok(())
    }

    /// Was it opted for that `VFIO_PRECOPY_INFO_REINIT` may be reported?
    pub(crate) fn wants_reinit(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { bindings::vfio_mlx5_wants_reinit(self.0.as_ptr()) }
    }
}

/// # Safety
///
/// `vf` must come from [`vfio_mlx5_rs_probe`], and not be removed for `'a`.
pub(super) unsafe fn borrow<'a>(vf: *mut c_void) -> &'a Arc<Vf> {
    // SAFETY: By the safety requirements.
    let probed: Pin<&'a _> = unsafe { <Probed as ForeignOwnable>::borrow(vf) };
    probed.get_ref().told()
}

/// # Safety
///
/// `pdev` is in the driver's probe.
#[no_mangle]
unsafe extern "C" fn vfio_mlx5_rs_probe(pdev: *mut pci_dev) -> *mut c_void {
    let probe = || {
        // SAFETY: By the safety requirements.
        let pf = unsafe { Pf::of_vf(pdev) }?;
        // SAFETY: By the safety requirements `pdev` is valid.
        let (vf_id, name) = unsafe {
            (
                bindings::vfio_mlx5_vf_id(pdev),
                CStr::from_char_ptr(bindings::vfio_mlx5_name(pdev).cast()),
            )
        };
        // The PF is the function 0.
        let function = u16::try_from(vf_id)?.checked_add(1).ok_or(EINVAL)?;
        let vf = Vf::new(pf.core_dev(), function, name)?;
        // SAFETY: The result is dropped in remove, or here.
        let probed = unsafe { Notifier::new(&pf, vf_id, vf) };
        KBox::try_pin_init(probed, GFP_KERNEL)
    };
    match probe() {
        Ok(probed) => probed.into_foreign(),
        Err(e) => Error::to_ptr(e),
    }
}

/// # Safety
///
/// `vf` was probed, is not open, and not used any more.
#[no_mangle]
unsafe extern "C" fn vfio_mlx5_rs_remove(vf: *mut c_void) {
    // SAFETY: By the safety requirements.
    let probed = unsafe { <Probed as ForeignOwnable>::from_foreign(vf) };
    let vf = probed.told().clone();
    drop(probed);
    // Its streams may stay open, and must not use the PF any more.
    vf.migration.detach();
    // They are in the module, which may go next. Nothing queues them again: there are no trackers,
    // and nothing is to be saved. SAFETY: The work item is initialised, and stays for as long as
    // `vf`.
    unsafe { kernel::bindings::flush_work(Work::raw_get(vf.work())) };
    // SAFETY: As above.
    unsafe { kernel::bindings::flush_work(Work::raw_get(vf.migration.work())) };
}

/// # Safety
///
/// `vf` was probed; `device` is its VFIO device.
#[no_mangle]
unsafe extern "C" fn vfio_mlx5_rs_open(
    vf: *mut c_void,
    device: *mut bindings::vfio_device,
) -> c_int {
    // SAFETY: By the safety requirements.
    let vf = unsafe { borrow(vf) };
    from_result(|| {
        // INVARIANT: What the VF has of it is gone when it is closed, and the device is not before.
        let place = Place(NonNull::new(device).ok_or(EINVAL)?);
        vf.open(place).map(|()| 0)
    })
}

/// # Safety
///
/// `vf` was probed and opened.
#[no_mangle]
unsafe extern "C" fn vfio_mlx5_rs_close(vf: *mut c_void) {
    // SAFETY: By the safety requirements.
    unsafe { borrow(vf) }.close();
}

/// # Safety
///
/// `vf` was probed.
#[no_mangle]
unsafe extern "C" fn vfio_mlx5_rs_tracks(vf: *mut c_void) -> bool {
    // SAFETY: By the safety requirements.
    unsafe { borrow(vf) }.limits().is_ok()
}

/// # Safety
///
/// `vf` is open. The result is valid until it is closed.
#[no_mangle]
unsafe extern "C" fn vfio_mlx5_rs_tracker(vf: *mut c_void) -> *mut bindings::iommufd_dirty_tracker {
    // SAFETY: By the safety requirements.
    let tracker = unsafe { borrow(vf) }.with_registration(Registration::as_raw);
    tracker.unwrap_or(ptr::null_mut())
}

/// # Safety
///
/// `vf` is open.
#[no_mangle]
unsafe extern "C" fn vfio_mlx5_rs_logs(vf: *mut c_void) -> bool {
    // SAFETY: By the safety requirements.
    unsafe { borrow(vf) }.logs()
}

/// # Safety
///
/// `vf` is open; `root` has `nr` nodes of an interval tree, and `page_size` is valid.
#[no_mangle]
unsafe extern "C" fn vfio_mlx5_rs_log_start(
    vf: *mut c_void,
    root: *mut kernel::bindings::rb_root_cached,
    nr: u32,
    page_size: *mut u64,
) -> c_int {
    from_result(|| {
        let mut ranges = KVec::from_elem(DirtyRange::default(), nr as usize, GFP_KERNEL)?;
        // SAFETY: By the safety requirements; there is room for `nr` ranges.
        let found = unsafe { bindings::vfio_mlx5_ranges(root, ranges.as_mut_ptr(), nr) };
        ranges.truncate(found as usize);
        // SAFETY: By the safety requirements.
        let (vf, page_size) = unsafe { (borrow(vf), &mut *page_size) };
        *page_size = vf.log_start(*page_size, &ranges)?;
        Ok(0)
    })
}

/// # Safety
///
/// `vf` is open.
#[no_mangle]
unsafe extern "C" fn vfio_mlx5_rs_log_stop(vf: *mut c_void) -> c_int {
    // SAFETY: By the safety requirements.
    let vf = unsafe { borrow(vf) };
    from_result(|| vf.log_stop().map(|()| 0))
}

/// # Safety
///
/// `vf` is open; `bitmap` is valid until the function returns.
#[no_mangle]
unsafe extern "C" fn vfio_mlx5_rs_log_read(
    vf: *mut c_void,
    iova: c_ulong,
    length: c_ulong,
    bitmap: *mut bindings::iova_bitmap,
) -> c_int {
    // SAFETY: By the safety requirements.
    let (vf, mut bitmap) = unsafe { (borrow(vf), Bitmap::new(bitmap)) };
    from_result(|| {
        vf.log_read(iova as u64, length as u64, &mut bitmap)
            .map(|()| 0)
    })
}

check_signatures!(
    vfio_mlx5_rs_probe,
    vfio_mlx5_rs_remove,
    vfio_mlx5_rs_open,
    vfio_mlx5_rs_close,
    vfio_mlx5_rs_tracks,
    vfio_mlx5_rs_tracker,
    vfio_mlx5_rs_logs,
    vfio_mlx5_rs_log_start,
    vfio_mlx5_rs_log_stop,
    vfio_mlx5_rs_log_read,
);
