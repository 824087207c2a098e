// SPDX-License-Identifier: GPL-2.0

//! Doing the same to several things side by side.
//!
//! A read that waits for hardware takes milliseconds; N of them one after the other take N times
//! that. A [`Lane`] is a work item that is made once, so that a read allocates nothing.
//!
//! C header: `include/linux/workqueue.h`.

use core::{
    cell::UnsafeCell,
    ptr, //
};
use kernel::{
    bindings,
    container_of,
    prelude::*,
    static_lock_class,
    types::Opaque, //
};

/// One more thing that can be done at the same time.
#[pin_data]
#[repr(C)]
pub(crate) struct Lane {
    #[pin]
    work: Opaque<bindings::work_struct>,
    job: UnsafeCell<Job>,
}

/// What a lane is to do.
struct Job {
    run: unsafe fn(*mut (), *const ()),
    item: *mut (),
    param: *const (),
}

// SAFETY: A lane is used through `&mut` only, by `side_by_side`, which waits until the worker that
// uses it too is through with it.
unsafe impl Send for Lane {}

impl Lane {
    pub(crate) fn new() -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            pin_init!(Self {
                work <- Opaque::ffi_init(|work| {
                    // SAFETY: `work` is memory for a `work_struct` that does not move; the name and
                    // the lock class are static.
                    unsafe {
                        bindings::init_work_with_key(
                            work,
                            Some(Self::work),
                            false,
                            c"iommufd-dirty lane".as_char_ptr(),
                            static_lock_class!().as_ptr(),
                        )
                    }
                }),
                job: UnsafeCell::new(Job {
                    run: |_, _| (),
                    item: ptr::null_mut(),
                    param: ptr::null(),
                }),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// # Safety
    ///
    /// For the workqueue: `work` is that of a lane that `side_by_side` has queued.
    unsafe extern "C" fn work(work: *mut bindings::work_struct) {
        // SAFETY: The work item is that of a lane that waits for this function in
        // `side_by_side`.
        let job = unsafe {
            &*(*container_of!(Opaque::cast_from(work), Self, work))
                .job
                .get()
        };
        // SAFETY: `side_by_side` set all three to what belongs together and keeps them valid until
        // this function has returned.
        unsafe { (job.run)(job.item, job.param) }
    }
}

/// Calls `f` for each of `items`: for those with a lane side by side, for the others one after the
/// other in this task meanwhile. Returns when all are done.
///
/// `lanes` has the lane of each item; what is beyond its end has none. `wanted` tells whether an
/// item is to be done at all. A single item with a lane is done in this task.
pub(crate) fn side_by_side<T: Send, P: Sync>(
    items: &mut [T],
    lanes: &mut [Option<Pin<KBox<Lane>>>],
    param: &P,
    wanted: fn(&T, &P) -> bool,
    f: fn(&mut T, &P),
) {
    struct Both<'a, T, P> {
        f: fn(&mut T, &P),
        param: &'a P,
    }
    /// # Safety
    ///
    /// `item` must be valid and not used by anybody else, `both` must be valid.
    unsafe fn run<T, P>(item: *mut (), both: *const ()) {
        // SAFETY: By the safety requirements.
        let both = unsafe { &*both.cast::<Both<'_, T, P>>() };
        // SAFETY: By the safety requirements.
        (both.f)(unsafe { &mut *item.cast::<T>() }, both.param)
    }

    let both = Both { f, param };
    let several = items
        .iter()
        .zip(lanes.iter())
        .filter(|(item, lane)| lane.is_some() && wanted(item, param))
        .take(2)
        .count()
        > 1;
    let count = items.len();
    // From here on items are reached through this pointer only: a reference to the whole slice
    // would be one to what the workers use, too.
    let base = items.as_mut_ptr();

    if several {
        for (at, lane) in lanes.iter().enumerate().take(count) {
            let Some(lane) = lane else { continue };
            // SAFETY: `at` is within the slice, and each element is reached once here, before it is
            // given to a worker.
            let item = unsafe { base.add(at) };
            // SAFETY: As above.
            if !wanted(unsafe { &*item }, param) {
                continue;
            }
            // SAFETY: The lane's work is not queued: the last `side_by_side` waited for it, and
            // `lanes` is borrowed mutably. So nobody else uses `job`.
            unsafe {
                *lane.job.get() = Job {
                    run: run::<T, P>,
                    item: item.cast(),
                    param: ptr::from_ref(&both).cast(),
                }
            };
            // SAFETY: The work item is initialised and pinned. It is waited for below, whatever
            // happens in between (nothing returns early or unwinds): the item and `both` outlive
            // the worker's use of them, and this task does not touch the item meanwhile. `T: Send`
            // and `P: Sync` allow the use from another task.
            unsafe {
                bindings::queue_work_on(
                    bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                    bindings::system_dfl_wq,
                    lane.work.get(),
                )
            };
        }
    }
    for at in 0..count {
        if several && lanes.get(at).is_some_and(Option::is_some) {
            continue;
        }
        // SAFETY: `at` is within the slice, and what was given to a worker has a lane, and so is
        // not reached here.
        let item = unsafe { &mut *base.add(at) };
        if wanted(item, param) {
            f(item, param);
        }
    }
    if several {
        for lane in lanes.iter().flatten() {
            // SAFETY: The work item is initialised. This returns at once if it was not queued, else
            // when the worker has left `Lane::work`.
            unsafe { bindings::flush_work(lane.work.get()) };
        }
    }
}
