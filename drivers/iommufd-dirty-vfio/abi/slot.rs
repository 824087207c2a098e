// SPDX-License-Identifier: GPL-2.0

//! A place for an allocation that is made when it is first needed, by whoever comes first.

use super::gfp;
use core::{
    marker::PhantomData,
    ptr, //
};
use kernel::{
    alloc::flags::{
        GFP_KERNEL_ACCOUNT,
        __GFP_NOWARN, //
    },
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full, //
    }, //
};

/// # Invariants
///
/// The pointer is null, or owns a `KBox<T>` that stays until the slot is dropped.
pub(crate) struct Slot<T>(Atomic<*mut T>, PhantomData<KBox<T>>);

impl<T> Slot<T> {
    /// An empty one.
    pub(crate) const fn new() -> Self {
        // INVARIANT: It is null.
        Self(Atomic::new(ptr::null_mut()), PhantomData)
    }

    /// What is in it.
    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: By the type invariants it is null or valid for as long as `self`. Whoever put it
        // there had initialised it before, which the `Acquire` makes visible.
        unsafe { self.0.load(Acquire).as_ref() }
    }
}

impl<T: Send + Sync> Slot<T> {
    /// Puts `new` into it if it is empty. Returns what is in it then, and `new` if that is not it.
    pub(crate) fn install(&self, new: KBox<T>) -> (&T, Option<KBox<T>>) {
        let new = KBox::into_raw(new);
        // INVARIANT: If it was null the slot owns `new` from now on.
        match self.0.cmpxchg(ptr::null_mut(), new, Full) {
            // SAFETY: It is owned by the slot now, and stays for as long as `self`.
            Ok(_) => (unsafe { &*new }, None),
            // SAFETY: By the type invariants the old pointer, which is not null, is valid for as
            // long as `self`; `new` comes from `into_raw`, and nobody else has it.
            Err(old) => unsafe { (&*old, Some(KBox::from_raw(new))) },
        }
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        let owned = *self.0.get_mut();
        if !owned.is_null() {
            // SAFETY: By the type invariants it is ours, and nobody has a reference any more.
            drop(unsafe { KBox::from_raw(owned) });
        }
    }
}

/// Allocates without waking the out-of-memory killer, and charged.
pub(crate) fn allocate<T>(value: T) -> Option<KBox<T>> {
    KBox::new(value, GFP_KERNEL_ACCOUNT | gfp::NORETRY | __GFP_NOWARN).ok()
}
