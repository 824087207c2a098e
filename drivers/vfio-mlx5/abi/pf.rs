// SPDX-License-Identifier: GPL-2.0

//! The PF of a VF, and being told when it takes its VF away.
//!
//! C headers: `include/linux/mlx5/driver.h`, `drivers/net/ethernet/mellanox/mlx5/core/sriov.c`.

use super::{
    bindings::{
        self,
        mlx5_ifc_cmd_hca_cap_2_bits as cmd_hca_cap_2,
        mlx5_ifc_cmd_hca_cap_bits as cmd_hca_cap, //
    },
    core_dev::CoreDev, //
};
use crate::ifc::{
    self,
    field, //
};
use core::ptr::NonNull;
use kernel::{
    bindings::{
        notifier_block,
        pci_dev, //
    },
    error::to_result,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};

/// A PF that is up, and stays so: its interface lock is held.
///
/// Only for what takes a moment, as a reset of the device waits for it.
///
/// # Invariants
///
/// The device is what `mlx5_vf_get_core_dev()` returned, and was not put back.
pub(super) struct Pf {
    device: NonNull<bindings::mlx5_core_dev>,
    _task: NotThreadSafe,
}

impl Pf {
    /// That of `pdev`. `ENODEV` if mlx5_core does not drive it, if it is down, or if `pdev` is not
    /// a VF.
    ///
    /// # Safety
    ///
    /// The driver of `pdev` must be in its probe.
    pub(super) unsafe fn of_vf(pdev: *mut pci_dev) -> Result<Self> {
        // SAFETY: By the safety requirements `pdev` is valid, and a driver is attached to it.
        let device = unsafe { bindings::mlx5_vf_get_core_dev(pdev) };
        // INVARIANT: Just returned.
        Ok(Self {
            device: NonNull::new(device).ok_or(ENODEV)?,
            _task: NotThreadSafe,
        })
    }

    /// Until [`VfEvents::disabled`], or until the VF has no driver any more.
    pub(super) fn core_dev(&self) -> CoreDev {
        // SAFETY: By the type invariants it is up. What follows is up to who asks: a PF tells
        // before it goes down, and lets go of its device only after all of its VFs have lost their
        // drivers.
        unsafe { CoreDev::new(self.device) }
    }
}

impl Drop for Pf {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::mlx5_vf_put_core_dev(self.device.as_ptr()) }
    }
}

impl CoreDev {
    /// Is it the PF that the device's own processors see, not the host's?
    pub(crate) fn is_embedded(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { bindings::vfio_mlx5_is_embedded(self.as_raw()) }
    }

    /// Can it migrate VFs at all, as far as VFIO needs it?
    pub(crate) fn can_migrate(&self) -> bool {
        let has = |cap, field| ifc::get(cap, field).unwrap_or_default() != 0;
        let (general, general_2) = (self.general_cap(), self.general_2_cap());
        has(general, field!(cmd_hca_cap, migration))
            && has(general_2, field!(cmd_hca_cap_2, migration_multi_load))
            && has(general_2, field!(cmd_hca_cap_2, migration_tracking_state))
    }

    /// Does it save a VF's state in chunks?
    pub(crate) fn saves_chunks(&self) -> bool {
        let chunks = field!(cmd_hca_cap_2, migration_in_chunks);
        ifc::get(self.general_2_cap(), chunks) == Some(1)
    }

    /// Does it say how far a migration is?
    pub(crate) fn has_migration_state(&self) -> bool {
        ifc::get(self.general_2_cap(), field!(cmd_hca_cap_2, migration_state)) == Some(1)
    }

    /// Was the function of it that has this number made such that it can be migrated?
    pub(crate) fn is_migratable(&self, function: u16) -> Result<bool> {
        let mut reply = KVec::zeroed(bindings::VFIO_MLX5_QUERY_CAP_LEN as usize, GFP_KERNEL)?;
        // SAFETY: By the type invariants; the reply has the length that the function expects.
        to_result(unsafe {
            bindings::mlx5_vport_get_other_func_cap(
                self.as_raw(),
                function,
                <KVec<u8>>::as_mut_ptr(&mut reply).cast(),
                // CAST: The field has 16 bits.
                bindings::MLX5_CAP_GENERAL_2 as u16,
            )
        })?;
        let cap = reply.get(bindings::VFIO_MLX5_QUERY_CAP_AT as usize..);
        let migratable = ifc::get(cap.unwrap_or_default(), field!(cmd_hca_cap_2, migratable));
        Ok(migratable == Some(1))
    }

    /// By which the firmware knows the function of it that has this number.
    pub(crate) fn vhca_id(&self, function: u16) -> Result<u16> {
        let mut id = 0;
        // SAFETY: By the type invariants; the pointer is valid.
        to_result(unsafe { bindings::mlx5_vport_get_vhca_id(self.as_raw(), function, &mut id) })?;
        Ok(id)
    }
}

/// What a PF tells of one of its VFs. In process context, with the interface lock of the PF held.
pub(crate) trait VfEvents: Send + Sync {
    /// Right before the PF disables the VF or goes down: what was made with the PF has to be gone
    /// when this returns, and is not used again.
    fn disabled(&self);

    /// `pf` is up, and the VF can be used again.
    fn enabled(&self, pf: CoreDev);
}

/// While it lives `told` is told. Dropping it waits for calls under way.
///
/// # Invariants
///
/// `block` is in the chain of the VF `vf_id` of `device` from the end of [`Notifier::new`] until
/// drop, and `device` stays until then.
#[pin_data(PinnedDrop)]
pub(super) struct Notifier<T: VfEvents> {
    #[pin]
    block: Opaque<notifier_block>,
    device: NonNull<bindings::mlx5_core_dev>,
    vf_id: c_int,
    told: T,
}

// SAFETY: The chain has a lock of its own, and `T` is `Send`.
unsafe impl<T: VfEvents> Send for Notifier<T> {}
// SAFETY: As above, and `T` is `Sync`.
unsafe impl<T: VfEvents> Sync for Notifier<T> {}

impl<T: VfEvents> Notifier<T> {
    /// # Safety
    ///
    /// The VF `vf_id` of `pf` must have a driver until the result is dropped.
    pub(super) unsafe fn new(pf: &Pf, vf_id: c_int, told: T) -> impl PinInit<Self, Error> {
        let device = pf.device;
        // INVARIANT: By the safety requirements `device` stays, see `Pf::core_dev`.
        try_pin_init!(&this in Self {
            block <- Opaque::new(notifier_block {
                notifier_call: Some(Self::notified),
                ..pin_init::zeroed()
            }),
            device,
            vf_id,
            told,
            _: {
                // SAFETY: The PF is up. All fields of `this` are initialised, it is pinned, and
                // stays until `drop` has taken it out: when this fails it is not in.
                to_result(unsafe {
                    bindings::mlx5_sriov_blocking_notifier_register(
                        device.as_ptr(),
                        *vf_id,
                        Opaque::cast_into(&raw const (*this.as_ptr()).block),
                    )
                })?
            },
        })
    }

    pub(super) fn told(&self) -> &T {
        &self.told
    }

    /// # Safety
    ///
    /// For the chain, with the `block` of a live `Notifier<T>`.
    unsafe extern "C" fn notified(
        block: *mut notifier_block,
        event: c_ulong,
        _data: *mut c_void,
    ) -> c_int {
        // SAFETY: By the safety requirements it is in a `Notifier<T>` that is alive.
        let this = unsafe { &*kernel::container_of!(Opaque::cast_from(block), Self, block) };
        match u32::try_from(event) {
            Ok(bindings::MLX5_PF_NOTIFY_DISABLE_VF) => this.told.disabled(),
            Ok(bindings::MLX5_PF_NOTIFY_ENABLE_VF) => {
                // SAFETY: The PF is up again; see `Pf::core_dev`.
                this.told.enabled(unsafe { CoreDev::new(this.device) });
            }
            _ => (),
        }
        0
    }
}

#[pinned_drop]
impl<T: VfEvents> PinnedDrop for Notifier<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants it is in the chain, of a device that is still there.
        unsafe {
            bindings::mlx5_sriov_blocking_notifier_unregister(
                self.device.as_ptr(),
                self.vf_id,
                self.block.get(),
            )
        }
    }
}
