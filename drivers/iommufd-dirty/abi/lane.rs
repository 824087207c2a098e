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
    sync::atomic::{
        Acquire,
        Atomic,
        Release, //
    },
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

/// The items without a lane, while the others are being done.
///
/// # Invariants
///
/// `base` points to `count` items. Of those without a lane nobody else has a reference for `'a`.
pub(crate) struct Rest<'a, T> {
    base: *mut T,
    count: usize,
    lanes: &'a [Option<Pin<KBox<Lane>>>],
}

impl<T> Rest<'_, T> {
    /// Item `at`; `None` if it has a lane, or if there is none.
    pub(crate) fn get(&mut self, at: usize) -> Option<&mut T> {
        let has_lane = self.lanes.get(at).is_some_and(Option::is_some);
        // SAFETY: By the type invariants it is within the items and nobody else's; `&mut self` makes
        // this the only reference.
        (at < self.count && !has_lane).then(|| unsafe { &mut *self.base.add(at) })
    }

    /// Items, those with a lane included.
    pub(crate) fn count(&self) -> usize {
        self.count
    }
}

/// Calls `f` for each of `items` that has a lane, side by side, and in this task `meanwhile` with
/// the others. Returns when all are done, with what that returned.
///
/// `lanes` has the lane of each item; what is beyond its end has none. `wanted` tells whether an
/// item is to be done at all. A single item with a lane is done in this task if `alone`: if
/// `meanwhile` has nothing to do.
pub(crate) fn side_by_side<T: Send, P: Sync, R>(
    items: &mut [T],
    lanes: &mut [Option<Pin<KBox<Lane>>>],
    param: &P,
    wanted: fn(&T, &P) -> bool,
    f: fn(&mut T, &P),
    alone: bool,
    meanwhile: impl FnOnce(&mut Rest<'_, T>) -> R,
) -> R {
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
    let waiting = items
        .iter()
        .zip(lanes.iter())
        .filter(|(item, lane)| lane.is_some() && wanted(item, param))
        .count();
    let several = waiting > usize::from(alone);
    let count = items.len();
    // From here on items are reached through this pointer only: a reference to the whole slice
    // would be one to what the workers use, too.
    let base = items.as_mut_ptr();

    for (at, lane) in lanes.iter().enumerate().take(count) {
        let Some(lane) = lane else { continue };
        // SAFETY: `at` is within the slice, and each element is reached once here, before it is
        // given to a worker.
        let item = unsafe { base.add(at) };
        // SAFETY: As above.
        if !wanted(unsafe { &*item }, param) {
            continue;
        }
        if !several {
            // SAFETY: As above, and no worker is given anything.
            f(unsafe { &mut *item }, param);
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
        queue(lane);
    }
    // INVARIANT: Workers were given items with a lane only, and this function has the rest.
    let result = meanwhile(&mut Rest { base, count, lanes });
    if several {
        for lane in lanes.iter().flatten() {
            // SAFETY: The work item is initialised. This returns at once if it was not queued, else
            // when the worker has left `Lane::work`.
            unsafe { bindings::flush_work(lane.work.get()) };
        }
    }
    result
}

/// The workqueue of all lanes: reads that wait do not hold up others of the system.
///
/// # Invariants
///
/// It is null, or a workqueue.
struct Queue(Atomic<*mut bindings::workqueue_struct>);

static QUEUE: Queue = Queue(Atomic::new(ptr::null_mut()));

/// Exists while there are contexts.
pub(crate) struct Workqueue(());

impl Workqueue {
    /// Once, when the module is loaded. `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: May be called at any time.
        let queue = unsafe { super::bindings::iommufd_dirty_alloc_workqueue() };
        if queue.is_null() {
            return Err(ENOMEM);
        }
        QUEUE.0.store(queue, Release);
        Ok(Self(()))
    }
}

impl Drop for Workqueue {
    fn drop(&mut self) {
        // SAFETY: It was made by `new`; no lane is left that could be queued.
        unsafe { bindings::destroy_workqueue(QUEUE.0.load(Acquire)) };
    }
}

/// Queues the lane's work, whose job is set and waited for by the caller.
fn queue(lane: &Lane) {
    // SAFETY: The work item is initialised and pinned. `side_by_side` waits for it, whatever happens
    // in between (nothing returns early or unwinds): the item and the parameter outlive the
    // worker's use of them, and that task does not touch the item meanwhile. `T: Send` and `P: Sync`
    // allow the use from another task. The queue is there while there are lanes.
    unsafe {
        bindings::queue_work_on(
            bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
            QUEUE.0.load(Acquire),
            lane.work.get(),
        )
    };
}
