// SPDX-License-Identifier: GPL-2.0

//! What interrupts tell a reader: that something came, or that nothing will.
//!
//! C headers: `include/linux/mlx5/{eq,device}.h`, `include/linux/completion.h`.

use super::{
    bindings,
    core_dev::CoreDev, //
};
use kernel::{
    container_of,
    error::to_result,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    },
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
    types::Opaque, //
};

/// Who is told that a tracker may be in trouble while nobody reads it.
pub(crate) trait Watcher: Send + Sync {
    /// Have a look at it. From interrupts, with locks held.
    fn trouble(self: Arc<Self>);
}

/// What one reader waits for. Everybody else may use it from any context, also from interrupts with
/// locks held.
#[pin_data]
pub(crate) struct Signal {
    #[pin]
    woken: Opaque<kernel::bindings::completion>,
    /// Something came since a reader looked: `woken` counts, and is to count to 1 only.
    told: Atomic<bool>,
    /// The tracker's state may be another one.
    changed: Atomic<bool>,
    /// 0, or the negative errno that ends everything.
    error: Atomic<i32>,
    watcher: Arc<dyn Watcher>,
}

// SAFETY: A completion may be used from any context, and is never moved.
unsafe impl Send for Signal {}
// SAFETY: As above.
unsafe impl Sync for Signal {}

impl Signal {
    pub(crate) fn new(watcher: Arc<dyn Watcher>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                watcher,
                woken <- Opaque::ffi_init(|woken| {
                    // SAFETY: `woken` is memory for a completion that does not move.
                    unsafe { kernel::bindings::init_completion(woken) }
                }),
                told: Atomic::new(false),
                changed: Atomic::new(false),
                error: Atomic::new(0),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Something came.
    fn wake(&self) {
        if !self.told.xchg(true, Full) {
            // SAFETY: The completion is initialised.
            unsafe { kernel::bindings::complete(self.woken.get()) }
        }
    }

    /// Nothing will come any more: a reader that waits, and every later one, gets the first error
    /// that was told.
    pub(crate) fn fail(&self, error: Error) {
        let _ = self.error.cmpxchg(0, error.to_errno(), Full);
        self.wake();
    }

    /// The error, if there is one.
    pub(crate) fn check(&self) -> Result {
        to_result(self.error.load(Relaxed))
    }

    fn change(&self) {
        self.changed.store(true, Relaxed);
        self.wake();
        self.watcher.clone().trouble();
    }

    /// An event says that nothing will come any more.
    fn broken(&self) {
        self.fail(EIO);
        self.watcher.clone().trouble();
    }

    /// May the tracker's state be another one than when this was last asked?
    pub(crate) fn take_changed(&self) -> bool {
        self.changed.xchg(false, Full)
    }

    /// Waits until something has come since this was last waited for, or for `time`. What came is
    /// to be looked for after that: also if nothing was waited for, it may have been seen already.
    pub(crate) fn wait(&self, time: Jiffies) {
        // SAFETY: The completion is initialised.
        unsafe { kernel::bindings::wait_for_completion_timeout(self.woken.get(), time) };
        // What comes from now on is told anew.
        self.told.xchg(false, Full);
    }
}

/// `ms` milliseconds for [`Signal::wait`].
pub(crate) fn jiffies(ms: u32) -> Jiffies {
    msecs_to_jiffies(ms)
}

/// Hears the events of a tracker and of its queue pairs, and tells them to its [`Signal`].
///
/// The events of all objects of the PF come here, in interrupts, with the event queue's lock held.
pub(crate) struct Events {
    dev: CoreDev,
    hears: Pin<KBox<Hears>>,
}

#[pin_data]
struct Hears {
    #[pin]
    nb: Opaque<bindings::mlx5_nb>,
    signal: Arc<Signal>,
    qpns: [u32; 2],
    /// The tracker, or [`UNKNOWN`].
    object: Atomic<u64>,
}

/// It may be the tracker of any event.
const UNKNOWN: u64 = u64::MAX;

// SAFETY: The notifier block is only used by the chain that it is in, which locks.
unsafe impl Send for Hears {}
// SAFETY: As above; the rest may be used from any context.
unsafe impl Sync for Hears {}

impl Events {
    /// From now on, also for a tracker that does not exist yet: until it is known which one it is,
    /// each change of a tracker may be one of it.
    pub(crate) fn new(dev: &CoreDev, signal: &Arc<Signal>, qpns: [u32; 2]) -> Result<Self> {
        let nb = bindings::mlx5_nb {
            nb: kernel::bindings::notifier_block {
                notifier_call: Some(Hears::notify),
                ..pin_init::zeroed()
            },
            // CAST: It has 8 bits.
            event_type: bindings::MLX5_EVENT_TYPE_NOTIFY_ANY as u8,
        };
        let hears = KBox::pin_init(
            pin_init!(Hears {
                nb <- Opaque::new(nb),
                signal: signal.clone(),
                qpns,
                object: Atomic::new(UNKNOWN),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        // SAFETY: By the type invariants of `CoreDev`; the block does not move, and `drop` takes it
        // out before it is freed.
        to_result(unsafe { bindings::mlx5_eq_notifier_register(dev.as_raw(), hears.nb.get()) })?;
        Ok(Self {
            dev: dev.clone(),
            hears,
        })
    }

    /// The tracker is this object.
    pub(crate) fn object(&self, id: u32) {
        self.hears.object.store(id.into(), Relaxed);
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // SAFETY: It is registered. What runs of it is waited for.
        unsafe {
            bindings::mlx5_eq_notifier_unregister(self.dev.as_raw(), self.hears.nb.get());
        }
    }
}

impl Hears {
    /// # Safety
    ///
    /// For the chain: `nb` is that of a `Hears`, and `eqe` an event of the kind `event`.
    unsafe extern "C" fn notify(
        nb: *mut kernel::bindings::notifier_block,
        event: c_ulong,
        eqe: *mut c_void,
    ) -> c_int {
        // SAFETY: By the safety requirements: it is the first member of the `mlx5_nb` of a `Hears`
        // that stays until it was taken out of the chain.
        let this = unsafe {
            let nb = container_of!(nb, bindings::mlx5_nb, nb);
            &*container_of!(Opaque::cast_from(nb), Self, nb)
        };
        match u32::try_from(event) {
            Ok(
                bindings::MLX5_EVENT_TYPE_WQ_CATAS_ERROR
                | bindings::MLX5_EVENT_TYPE_WQ_ACCESS_ERROR
                | bindings::MLX5_EVENT_TYPE_WQ_INVAL_REQ_ERROR,
            ) => {
                let mut qpn = 0;
                // SAFETY: By the safety requirements; the pointer is valid.
                let is_qp = unsafe { bindings::vfio_mlx5_event_qp(eqe, &mut qpn) };
                if is_qp && this.qpns.contains(&qpn) {
                    this.signal.broken();
                }
            }
            Ok(bindings::MLX5_EVENT_TYPE_OBJECT_CHANGE) => {
                let mut id = 0;
                // SAFETY: By the safety requirements; the pointer is valid.
                let is_tracker = unsafe { bindings::vfio_mlx5_event_tracker(eqe, &mut id) };
                let mine = this.object.load(Relaxed);
                if is_tracker && (mine == UNKNOWN || mine == u64::from(id)) {
                    this.signal.change();
                }
            }
            _ => (),
        }
        kernel::bindings::NOTIFY_OK as c_int
    }
}

/// A completion queue, as `mlx5_core` knows it.
#[pin_data]
pub(super) struct CoreCq {
    #[pin]
    raw: Opaque<bindings::mlx5_core_cq>,
    signal: Arc<Signal>,
}

// SAFETY: `mlx5_core` locks by itself.
unsafe impl Send for CoreCq {}
// SAFETY: As above.
unsafe impl Sync for CoreCq {}

impl CoreCq {
    /// Not created yet. The doorbell's words must be valid until it is destroyed.
    pub(super) fn new(
        signal: &Arc<Signal>,
        set_ci_db: *mut u32,
        arm_db: *mut u32,
    ) -> Result<Pin<KBox<Self>>> {
        let raw = bindings::mlx5_core_cq {
            cqe_sz: crate::cqe::CQE_LEN as c_int,
            set_ci_db: set_ci_db.cast(),
            arm_db: arm_db.cast(),
            comp: Some(Self::complete),
            event: Some(Self::event),
            ..pin_init::zeroed()
        };
        KBox::pin_init(
            pin_init!(Self {
                raw <- Opaque::new(raw),
                signal: signal.clone(),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    pub(super) fn as_raw(&self) -> *mut bindings::mlx5_core_cq {
        self.raw.get()
    }

    /// # Safety
    ///
    /// `raw` must be that of a `CoreCq` that stays for `'a`.
    unsafe fn of<'a>(raw: *mut bindings::mlx5_core_cq) -> &'a Self {
        // SAFETY: By the safety requirements.
        unsafe { &*container_of!(Opaque::cast_from(raw), Self, raw) }
    }

    /// # Safety
    ///
    /// For `mlx5_core`, in an interrupt: `cq` is that of a `CoreCq` that is not destroyed.
    unsafe extern "C" fn complete(cq: *mut bindings::mlx5_core_cq, _: *mut bindings::mlx5_eqe) {
        // SAFETY: By the safety requirements.
        unsafe { Self::of(cq) }.signal.wake();
    }

    /// # Safety
    ///
    /// For `mlx5_core`, in an interrupt: `cq` is that of a `CoreCq` that is not destroyed.
    unsafe extern "C" fn event(cq: *mut bindings::mlx5_core_cq, event: bindings::mlx5_event) {
        if event == bindings::MLX5_EVENT_TYPE_CQ_ERROR {
            // SAFETY: By the safety requirements.
            unsafe { Self::of(cq) }.signal.broken();
        }
    }
}
