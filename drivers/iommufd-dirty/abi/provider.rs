// SPDX-License-Identifier: GPL-2.0

//! How a driver in Rust becomes a dirty tracker: a safe face to the C ABI.
//!
//! C header: `include/linux/iommufd_dirty.h`.
//!
//! Each module that registers trackers compiles this file as a module of its own, beside a sibling
//! module `bindings` that has bindgen's output of the C header: what crosses from one kernel module
//! to the other is the C ABI only.
//!
//! A provider implements [`Operations`] and keeps a [`Registration`]. It stays simple: alignment,
//! windows into user memory, what does not belong to a request, policy and lifetimes are the
//! core's.

// No module needs all of it.
#![allow(dead_code)]

use super::bindings;
use core::{
    ffi::c_int,
    marker::PhantomData, //
};
use kernel::{
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    module::this_module,
    prelude::*,
    str::CString,
    types::Opaque, //
};

pub use super::bindings::iommufd_dirty_range as DirtyRange;

/// What kind of source a tracker is: `enum iommufd_dirty_kind` without `UNTRACKED`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// The dirty bits of an IOMMU page table.
    IommuDomain = bindings::IOMMUFD_DIRTY_KIND_IOMMU_DOMAIN,
    /// A device's own log.
    Device = bindings::IOMMUFD_DIRTY_KIND_DEVICE,
    /// The kernel saw or made the writes.
    Software = bindings::IOMMUFD_DIRTY_KIND_SOFTWARE,
}

/// What a tracker is and can do, constant while it is registered but for `space`.
///
/// The fields are those of `struct iommufd_dirty_tracker`, in its units.
pub struct Description {
    /// For userspace; cut to `IOMMUFD_DIRTY_NAME_LEN - 1` bytes.
    pub name: CString,
    /// What it is.
    pub kind: Kind,
    /// A read waits for hardware.
    pub waits: bool,
    /// What is dirty in a range is gone when the range is unmapped.
    pub unmap_drops: bool,
    /// Bitmap of granules: bit n is 2^n bytes.
    pub pgsizes: u64,
    /// Ranges that it can take; 0 is no limit.
    pub max_ranges: u32,
    /// Bytes that its ranges must cover in all, at least.
    pub min_span: u64,
    /// Bytes that its ranges may cover in all; 0 is no limit.
    pub max_span: u64,
    /// Identifies the I/O address space; 0 is one that cannot be told. Never the same for two. See
    /// [`Registration::set_space`].
    pub space: u64,
}

/// How a read is to be done.
#[derive(Clone, Copy)]
pub struct ReadFlags(u32);

impl ReadFlags {
    /// The device is quiesced: neither re-arm nor flush.
    pub fn is_final(self) -> bool {
        self.0 & bindings::IOMMUFD_DIRTY_OP_FINAL != 0
    }

    /// If a part of the range is not mapped, return `ENXIO` before anything is cleared.
    pub fn is_strict(self) -> bool {
        self.0 & bindings::IOMMUFD_DIRTY_OP_STRICT != 0
    }
}

/// What a read found out about the range beside its dirt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// All of it is mapped.
    Whole,
    /// A part of it is not mapped.
    Hole,
}

/// Where a tracker puts what it found dirty: `struct iommufd_dirty_sink`.
///
/// # Invariants
///
/// `raw` is the sink of the op that is being called, and `tracker` its tracker. Both are valid for
/// `'a`, and the tracker is registered.
pub struct Sink<'a> {
    raw: *mut bindings::iommufd_dirty_sink,
    tracker: *mut bindings::iommufd_dirty_tracker,
    _lent: PhantomData<&'a mut ()>,
}

impl Sink<'_> {
    /// # Safety
    ///
    /// `raw` must be the sink of the op that is being called on `tracker`, and nobody else use it
    /// until the result is dropped, which is before the op returns.
    unsafe fn new(
        raw: *mut bindings::iommufd_dirty_sink,
        tracker: *mut bindings::iommufd_dirty_tracker,
    ) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            raw,
            tracker,
            _lent: PhantomData,
        }
    }

    /// Records the `length` bytes from `iova` on as dirty. Cannot fail; may sleep.
    pub fn record(&mut self, iova: u64, length: u64) {
        // SAFETY: By the type invariants the sink is valid, and `&mut self` makes this the only
        // use of it.
        unsafe { bindings::iommufd_dirty_sink_record(self.raw, iova, length) }
    }

    /// As `record`, of bytes of which it is not known whether they were written, for want of memory
    /// or else. That a granule is coarser than a write is no reason.
    pub fn record_unsure(&mut self, iova: u64, length: u64) {
        // SAFETY: As in `record`.
        unsafe { bindings::iommufd_dirty_sink_record_unsure(self.raw, iova, length) }
    }

    /// Must the op end, with `EINTR`, because of a signal to the task that made the system call?
    /// For an op that waits for its hardware more than once, between two waits.
    pub fn interrupted(&self) -> bool {
        // SAFETY: By the type invariants the sink is valid; it is only read.
        unsafe { bindings::iommufd_dirty_sink_interrupted(self.raw) }
    }

    /// Tells that dirt was or may be lost, as [`Registration::lost`] does.
    pub fn lost(&self, error: Error) {
        // SAFETY: By the type invariants the tracker is registered.
        unsafe { bindings::iommufd_dirty_tracker_lost(self.tracker, error.to_errno()) }
    }

    /// For a C function that records by itself.
    pub fn as_raw(&mut self) -> *mut bindings::iommufd_dirty_sink {
        self.raw
    }
}

/// What came of a start.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It tracks.
    Tracking,
    /// It does not: the finest granule that it can do now is this coarser one, in bytes. Start it
    /// again with that.
    Coarser(u64),
}

/// What a tracker does: `struct iommufd_dirty_tracker_ops`, where each op is described.
///
/// All are called in process context and may sleep, one at a time for each tracker, but not
/// necessarily in the task that made the system call.
#[vtable]
pub trait Operations: Send + Sync + 'static {
    /// Would `start` succeed? Returns the bytes of kernel memory that tracking would take.
    fn query(&self, granule: u64, ranges: &[DirtyRange]) -> Result<u64>;

    /// Begins to track `ranges` with `granule` bytes per bit, from a clean state.
    fn start(&self, granule: u64, ranges: &[DirtyRange]) -> Result<Started>;

    /// Ends tracking and forgets what is dirty.
    fn stop(&self) -> Result;

    /// Records what is dirty in the `length` bytes from `iova` on, and makes it clean. On error all
    /// that was cleared has been recorded.
    fn read_and_clear(
        &self,
        iova: u64,
        length: u64,
        flags: ReadFlags,
        sink: &mut Sink<'_>,
    ) -> Result<Coverage>;

    /// As `read_and_clear`, and leaves everything dirty.
    fn peek(
        &self,
        _iova: u64,
        _length: u64,
        _flags: ReadFlags,
        _sink: &mut Sink<'_>,
    ) -> Result<Coverage> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The ranges are now `ranges`; keeps what is dirty in those that stay. `ENOSPC`: no slot is
    /// free for them beside the old ones.
    fn update_ranges(&self, _ranges: &[DirtyRange]) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// A registered tracker. Dropping it waits for calls under way and unregisters.
///
/// # Invariants
///
/// `raw` is registered from the end of [`Registration::new`] until drop.
#[pin_data(PinnedDrop)]
pub struct Registration<T: Operations> {
    #[pin]
    raw: Opaque<bindings::iommufd_dirty_tracker>,
    _name: CString,
    ops: T,
}

// SAFETY: The C tracker may be used from any task, and `T` is `Send`.
unsafe impl<T: Operations> Send for Registration<T> {}
// SAFETY: All that takes `&self` goes through functions of the core that may be called from any
// number of tasks at once, and `T` is `Sync`.
unsafe impl<T: Operations> Sync for Registration<T> {}

impl<T: Operations> Registration<T> {
    /// Registers a tracker that is `what` and does `ops`.
    ///
    /// Errors: `EINVAL` if the description makes no sense, `ENOMEM`.
    pub fn new(what: Description, ops: T) -> impl PinInit<Self, Error> {
        let raw = bindings::iommufd_dirty_tracker {
            ops: &VTable::<T>::VTABLE,
            // A `CString` keeps its bytes on the heap, so this stays valid when it moves.
            name: what.name.as_char_ptr().cast(),
            kind: what.kind as u32,
            waits: what.waits,
            unmap_drops: what.unmap_drops,
            pgsizes: what.pgsizes,
            max_ranges: what.max_ranges,
            min_span: what.min_span,
            max_span: what.max_span,
            space: what.space,
            ..pin_init::zeroed()
        };
        try_pin_init!(&this in Self {
            raw <- Opaque::new(raw),
            _name: what.name,
            ops,
            _: {
                // SAFETY: All fields of `this` are initialised, it is pinned, and stays until
                // `drop` has unregistered it: when this fails nothing was registered.
                to_result(unsafe {
                    bindings::iommufd_dirty_tracker_register(Opaque::cast_into(
                        &raw const (*this.as_ptr()).raw,
                    ))
                })?
            },
        })
    }

    /// The provider.
    pub fn ops(&self) -> &T {
        &self.ops
    }

    /// For a C function or the core; registered for as long as `self` lives.
    pub fn as_raw(&self) -> *mut bindings::iommufd_dirty_tracker {
        self.raw.get()
    }

    /// Puts the tracker into the context that `context_fd` is: `iommufd_dirty_bind()`. Returns its
    /// id there.
    pub fn bind(&self, context_fd: i32, flags: u32, policy: u32, cookie: u64) -> Result<u32> {
        let raw = self.raw.get();
        // SAFETY: By the type invariants the tracker is registered.
        let id = unsafe { bindings::iommufd_dirty_bind(raw, context_fd, flags, policy, cookie) };
        to_result(id)?;
        u32::try_from(id).map_err(|_| EINVAL)
    }

    /// Tells that dirt was or may be lost: `iommufd_dirty_tracker_lost()`. From any context.
    pub fn lost(&self, error: Error) {
        // SAFETY: By the type invariants the tracker is registered.
        unsafe { bindings::iommufd_dirty_tracker_lost(self.raw.get(), error.to_errno()) }
    }

    /// The tracker is in another I/O address space than its description said. It counts from the
    /// next time that it is bound.
    pub fn set_space(&self, space: u64) {
        // SAFETY: The field is valid for as long as `self`; all sides access it as a whole and
        // volatile, as `WRITE_ONCE()` does.
        unsafe { (&raw mut (*self.raw.get()).space).write_volatile(space) }
    }

    /// Tells how many bytes of kernel memory the tracker's bitmaps take at the moment.
    pub fn set_bitmap_bytes(&self, bytes: u64) {
        // SAFETY: The field is valid for as long as `self`; all sides access it as a whole and
        // volatile, as `WRITE_ONCE()` does.
        unsafe { (&raw mut (*self.raw.get()).bitmap_bytes).write_volatile(bytes) }
    }
}

#[pinned_drop]
impl<T: Operations> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants the tracker is registered, and nobody else unregisters it.
        unsafe { bindings::iommufd_dirty_tracker_unregister(self.raw.get()) }
    }
}

/// The C ops of a provider.
struct VTable<T: Operations>(PhantomData<T>);

impl<T: Operations> VTable<T> {
    /// # Safety
    ///
    /// `tracker` must be the `raw` of a live `Registration<T>`.
    unsafe fn ops<'a>(tracker: *mut bindings::iommufd_dirty_tracker) -> &'a T {
        // SAFETY: By the safety requirements it is in a `Registration<T>` that is alive.
        unsafe { &(*kernel::container_of!(Opaque::cast_from(tracker), Registration<T>, raw)).ops }
    }

    /// # Safety
    ///
    /// `ranges` must point to `nr` ranges that stay as they are for `'a`, or `nr` be 0.
    unsafe fn slice<'a>(ranges: *const DirtyRange, nr: u32) -> &'a [DirtyRange] {
        if nr == 0 {
            return &[];
        }
        // SAFETY: By the safety requirements.
        unsafe { core::slice::from_raw_parts(ranges, nr as usize) }
    }

    fn coverage(result: Result<Coverage>) -> c_int {
        from_result(|| {
            Ok(match result? {
                Coverage::Whole => 0,
                Coverage::Hole => bindings::IOMMUFD_DIRTY_OP_HOLE as c_int,
            })
        })
    }

    /// # Safety
    ///
    /// For the core, on a registered tracker of this type, with arguments as the C header says.
    unsafe extern "C" fn query(
        tracker: *mut bindings::iommufd_dirty_tracker,
        granule: u64,
        ranges: *const DirtyRange,
        nr: u32,
        memory: *mut u64,
    ) -> c_int {
        // SAFETY: The core calls ops of registered trackers only, with `nr` valid ranges.
        let (ops, ranges) = unsafe { (Self::ops(tracker), Self::slice(ranges, nr)) };
        from_result(|| {
            let bytes = ops.query(granule, ranges)?;
            // SAFETY: The core gives a pointer to write to.
            unsafe { memory.write(bytes) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the core, on a registered tracker of this type, with arguments as the C header says.
    unsafe extern "C" fn start(
        tracker: *mut bindings::iommufd_dirty_tracker,
        granule: u64,
        ranges: *const DirtyRange,
        nr: u32,
    ) -> c_int {
        // SAFETY: The core calls ops of registered trackers only, with `nr` valid ranges.
        let (ops, ranges) = unsafe { (Self::ops(tracker), Self::slice(ranges, nr)) };
        from_result(|| {
            Ok(match ops.start(granule, ranges)? {
                Started::Tracking => 0,
                Started::Coarser(granule) => {
                    let log = granule.is_power_of_two().then(|| granule.trailing_zeros());
                    // 0 would mean that it tracks.
                    log.filter(|log| *log != 0).ok_or(EIO)? as c_int
                }
            })
        })
    }

    /// # Safety
    ///
    /// For the core, on a registered tracker of this type, with arguments as the C header says.
    unsafe extern "C" fn stop(tracker: *mut bindings::iommufd_dirty_tracker) -> c_int {
        // SAFETY: The core calls ops of registered trackers only.
        let ops = unsafe { Self::ops(tracker) };
        from_result(|| ops.stop().map(|()| 0))
    }

    /// # Safety
    ///
    /// For the core, on a registered tracker of this type, with arguments as the C header says.
    unsafe extern "C" fn read_and_clear(
        tracker: *mut bindings::iommufd_dirty_tracker,
        iova: u64,
        length: u64,
        flags: u32,
        sink: *mut bindings::iommufd_dirty_sink,
    ) -> c_int {
        // SAFETY: The core calls ops of registered trackers only.
        let ops = unsafe { Self::ops(tracker) };
        // SAFETY: The core gives the sink of this call on a registered tracker, and both stay until
        // it returns.
        let mut sink = unsafe { Sink::new(sink, tracker) };
        Self::coverage(ops.read_and_clear(iova, length, ReadFlags(flags), &mut sink))
    }

    /// # Safety
    ///
    /// For the core, on a registered tracker of this type, with arguments as the C header says.
    unsafe extern "C" fn peek(
        tracker: *mut bindings::iommufd_dirty_tracker,
        iova: u64,
        length: u64,
        flags: u32,
        sink: *mut bindings::iommufd_dirty_sink,
    ) -> c_int {
        // SAFETY: The core calls ops of registered trackers only.
        let ops = unsafe { Self::ops(tracker) };
        // SAFETY: The core gives the sink of this call on a registered tracker, and both stay until
        // it returns.
        let mut sink = unsafe { Sink::new(sink, tracker) };
        Self::coverage(ops.peek(iova, length, ReadFlags(flags), &mut sink))
    }

    /// # Safety
    ///
    /// For the core, on a registered tracker of this type, with arguments as the C header says.
    unsafe extern "C" fn update_ranges(
        tracker: *mut bindings::iommufd_dirty_tracker,
        ranges: *const DirtyRange,
        nr: u32,
    ) -> c_int {
        // SAFETY: The core calls ops of registered trackers only, with `nr` valid ranges.
        let (ops, ranges) = unsafe { (Self::ops(tracker), Self::slice(ranges, nr)) };
        from_result(|| ops.update_ranges(ranges).map(|()| 0))
    }

    const VTABLE: bindings::iommufd_dirty_tracker_ops = bindings::iommufd_dirty_tracker_ops {
        owner: this_module::<T::OwnerModule>().as_ptr(),
        query: Some(Self::query),
        start: Some(Self::start),
        stop: Some(Self::stop),
        read_and_clear: Some(Self::read_and_clear),
        peek: if T::HAS_PEEK { Some(Self::peek) } else { None },
        update_ranges: if T::HAS_UPDATE_RANGES {
            Some(Self::update_ranges)
        } else {
            None
        },
    };
}
