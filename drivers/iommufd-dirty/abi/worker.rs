// SPDX-License-Identifier: GPL-2.0

//! Doing the same to several things side by side.
//!
//! A read that waits for hardware takes milliseconds; N of them one after the other take N times
//! that. A [`Worker`] is a work item that is made once, so that a read allocates nothing.
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

/// Does one more thing at the same time.
#[pin_data]
#[repr(C)]
pub(crate) struct Worker {
    #[pin]
    work: Opaque<bindings::work_struct>,
    job: UnsafeCell<Job>,
}

/// What a worker is to do.
struct Job {
    run: unsafe fn(*mut (), *mut (), *const ()),
    item: *mut (),
    result: *mut (),
    param: *const (),
}

// SAFETY: A worker is used through `&mut` only, by `side_by_side`, which waits until the kernel's
// thread that uses it too is through with it.
unsafe impl Send for Worker {}

impl Worker {
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
                            c"iommufd-dirty worker".as_char_ptr(),
                            static_lock_class!().as_ptr(),
                        )
                    }
                }),
                job: UnsafeCell::new(Job {
                    run: |_, _, _| (),
                    item: ptr::null_mut(),
                    result: ptr::null_mut(),
                    param: ptr::null(),
                }),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// # Safety
    ///
    /// For the workqueue: `work` is that of a worker that `side_by_side` has queued.
    unsafe extern "C" fn work(work: *mut bindings::work_struct) {
        // SAFETY: The work item is that of a worker that waits for this function in
        // `side_by_side`.
        let job = unsafe {
            &*(*container_of!(Opaque::cast_from(work), Self, work))
                .job
                .get()
        };
        // SAFETY: `side_by_side` set all of it to what belongs together and keeps it valid until
        // this function has returned.
        unsafe { (job.run)(job.item, job.result, job.param) }
    }
}

/// The items without a worker, while the others are being done.
///
/// # Invariants
///
/// `items` and `results` point to `count` each. Of those without a worker nobody else has a
/// reference for `'a`.
pub(crate) struct Rest<'a, T, R> {
    items: *mut T,
    results: *mut R,
    count: usize,
    workers: &'a [Option<Pin<KBox<Worker>>>],
}

impl<T, R> Rest<'_, T, R> {
    /// Item `at` and its result; `None` if it has a worker, or if there is none.
    pub(crate) fn get(&mut self, at: usize) -> Option<(&mut T, &mut R)> {
        if at >= self.count || self.workers.get(at).is_some_and(Option::is_some) {
            return None;
        }
        // SAFETY: By the type invariants both are within the arrays and nobody else's; `&mut self`
        // makes these the only references.
        Some(unsafe { (&mut *self.items.add(at), &mut *self.results.add(at)) })
    }

    /// Items, those with a worker included.
    pub(crate) fn count(&self) -> usize {
        self.count
    }
}

/// Calls `f` for each of `items` that has a worker, side by side, and in this task `meanwhile` with
/// the others. Returns when all are done, with what `meanwhile` returned; what `f` returned is in
/// `results`.
///
/// `results` has as many elements as `items`. `workers` has the worker of each item; what is beyond
/// its end has none. `wanted` says whether an item is to be done at all. A single item with a
/// worker is done in this task if `alone`: if `meanwhile` has nothing to do.
#[allow(clippy::too_many_arguments)]
pub(crate) fn side_by_side<T: Send, R: Send, P: Sync, M>(
    items: &mut [T],
    results: &mut [R],
    workers: &mut [Option<Pin<KBox<Worker>>>],
    param: &P,
    wanted: fn(&T, &P) -> bool,
    f: fn(&mut T, &P) -> R,
    alone: bool,
    meanwhile: impl FnOnce(&mut Rest<'_, T, R>) -> M,
) -> M {
    struct Both<'a, T, R, P> {
        f: fn(&mut T, &P) -> R,
        param: &'a P,
    }
    /// # Safety
    ///
    /// `item` and `result` must be valid and not used by anybody else, `both` must be valid.
    unsafe fn run<T, R, P>(item: *mut (), result: *mut (), both: *const ()) {
        // SAFETY: By the safety requirements.
        let both = unsafe { &*both.cast::<Both<'_, T, R, P>>() };
        // SAFETY: By the safety requirements.
        let (item, result) = unsafe { (&mut *item.cast::<T>(), &mut *result.cast::<R>()) };
        *result = (both.f)(item, both.param);
    }

    let both = Both { f, param };
    let waiting = items
        .iter()
        .zip(workers.iter())
        .filter(|(item, worker)| worker.is_some() && wanted(item, param))
        .count();
    let several = waiting > usize::from(alone);
    let count = items.len().min(results.len());
    // From here on items and results are reached through these pointers only: a reference to a
    // whole slice would be one to what the workers use, too.
    let (items, results) = (items.as_mut_ptr(), results.as_mut_ptr());

    for (at, worker) in workers.iter().enumerate().take(count) {
        let Some(worker) = worker else { continue };
        // SAFETY: `at` is within both slices, and each element is reached once here, before it is
        // given to a worker.
        let (item, result) = unsafe { (items.add(at), results.add(at)) };
        // SAFETY: As above.
        if !wanted(unsafe { &*item }, param) {
            continue;
        }
        if !several {
            // SAFETY: As above, and no worker is given anything.
            unsafe { *result = f(&mut *item, param) };
            continue;
        }
        // SAFETY: The worker's work is not queued: the last `side_by_side` waited for it, and
        // `workers` is borrowed mutably. So nobody else uses `job`.
        unsafe {
            *worker.job.get() = Job {
                run: run::<T, R, P>,
                item: item.cast(),
                result: result.cast(),
                param: ptr::from_ref(&both).cast(),
            }
        };
        queue(worker);
    }
    // INVARIANT: Workers were given items with a worker only, and this function has the rest.
    let done = meanwhile(&mut Rest {
        items,
        results,
        count,
        workers,
    });
    if several {
        for worker in workers.iter().flatten() {
            // SAFETY: The work item is initialised. This returns at once if it was not queued, else
            // when it has left `Worker::work`.
            unsafe { bindings::flush_work(worker.work.get()) };
        }
    }
    done
}

/// The workqueue of all workers: reads that wait do not hold up others of the system.
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
        // SAFETY: It was made by `new`; no worker is left that could be queued.
        unsafe { bindings::destroy_workqueue(QUEUE.0.load(Acquire)) };
    }
}

/// Queues the worker's work, whose job is set and waited for by the caller.
fn queue(worker: &Worker) {
    // SAFETY: The work item is initialised and pinned. `side_by_side` waits for it, whatever
    // happens in between (nothing returns early or unwinds): the item and the parameter outlive the
    // worker's use of them, and that task does not touch the item meanwhile. `T: Send`, `R: Send`
    // and `P: Sync` allow the use from another task. The queue is there while there are workers.
    unsafe {
        bindings::queue_work_on(
            bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
            QUEUE.0.load(Acquire),
            worker.work.get(),
        )
    };
}
