// SPDX-License-Identifier: GPL-2.0

//! A tracker, as its owner and the context that it is bound to share it.

use crate::{
    abi::trace,
    properties::Properties,
    source::Source,
    waker::Binding, //
};
use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLockIrq, //
    }, //
};

/// Lives until its owner has unregistered it and no context has it any more.
#[pin_data]
pub(crate) struct Tracker {
    pub(crate) properties: Properties,
    pub(crate) source: Source,
    /// Its owner may call [`Tracker::lose`] from any context: taken with interrupts off. Only the
    /// lock of a wait queue is taken inside of it.
    #[pin]
    binding: SpinLockIrq<Option<Binding>>,
    /// Negative errno with which it was lost; 0 while it is not.
    lost: Atomic<i32>,
    /// Started: only then it can be lost.
    tracking: Atomic<bool>,
}

impl Tracker {
    pub(crate) fn new(properties: Properties, source: Source) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                properties,
                source,
                binding <- new_spinlock_irq!(None, "iommufd_dirty::Tracker::binding"),
                lost: Atomic::new(0),
                tracking: Atomic::new(false),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Puts it into a context. `EBUSY` if it is in one.
    pub(crate) fn bind(&self, binding: Binding) -> Result {
        let mut slot = self.binding.lock();
        if slot.is_some() {
            drop(slot);
            // Not under the lock: the last reference to a waker sleeps when it goes.
            drop(binding);
            return Err(EBUSY);
        }
        *slot = Some(binding);
        Ok(())
    }

    /// Takes it out of its context.
    pub(crate) fn unbind(&self) {
        self.acknowledge();
        let binding = self.binding.lock().take();
        drop(binding);
    }

    /// Userspace was told of its trouble, if there is any.
    pub(crate) fn acknowledge(&self) {
        if let Some(binding) = &mut *self.binding.lock() {
            binding.acknowledge();
        }
    }

    /// Ids of the context that it is bound to, and of itself there.
    pub(crate) fn bound_to(&self) -> Option<(u32, u32)> {
        let slot = self.binding.lock();
        slot.as_ref().map(|b| (b.who.context, b.who.tracker))
    }

    /// Calls between this and [`Tracker::set_stopped`] can lose it. Earlier trouble is history.
    pub(crate) fn set_started(&self) {
        self.acknowledge();
        self.lost.store(0, Relaxed);
        self.tracking.store(true, Relaxed);
    }

    pub(crate) fn set_stopped(&self) {
        self.tracking.store(false, Relaxed);
    }

    pub(crate) fn is_started(&self) -> bool {
        self.tracking.load(Relaxed)
    }

    /// The error with which it was lost.
    pub(crate) fn lost(&self) -> Option<Error> {
        match self.lost.load(Relaxed) {
            0 => None,
            errno => Some(Error::from_errno(errno)),
        }
    }

    /// Its owner reports that dirty pages were lost. From any context.
    pub(crate) fn lose(&self, error: Error) {
        if !self.is_started() {
            return;
        }
        let _ = self.lost.cmpxchg(0, error.to_errno(), Relaxed);
        let mut slot = self.binding.lock();
        if let Some(binding) = &mut *slot {
            trace::lost(binding.who, error);
            binding.wake();
        }
    }

    /// Its owner unregisters it: its ops are not called any more when this returns.
    pub(crate) fn close(&self) {
        self.source.close();
        let mut slot = self.binding.lock();
        if let Some(binding) = &mut *slot {
            trace::lost(binding.who, ESHUTDOWN);
            binding.wake();
        }
    }
}
