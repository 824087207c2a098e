// SPDX-License-Identifier: GPL-2.0

//! Calling the ops of a tracker that a driver has registered, for as long as it is.
//!
//! C header: `include/linux/iommufd_dirty.h`.

use super::bindings::{
    self,
    iommufd_dirty_range as DirtyRange,
    iommufd_dirty_tracker,
    iommufd_dirty_tracker_ops, //
};
use crate::{
    logic::{
        granule::{
            Limits,
            MIN_PAGE_SIZE, //
        },
        range::Range, //
    },
    properties::Properties,
    sink::Sink, //
};
use core::ptr;
use kernel::{
    error::to_result,
    new_condvar,
    new_mutex,
    prelude::*,
    sync::{
        CondVar,
        Mutex, //
    }, //
};

/// Granules that a tracker may have: so much less than the address space that growing a range by
/// one cannot make it the whole.
const GRANULES: u64 = (1 << 60) - MIN_PAGE_SIZE;

/// The C side of a tracker that a driver has registered.
///
/// Calls are under way between [`Provider::enter`] and the drop of its result. [`Provider::close`]
/// lets no further one begin, and waits for those.
///
/// # Invariants
///
/// While `gate.open` or `gate.calls > 0`, `raw` is valid and so are its ops.
#[pin_data]
pub(crate) struct Provider {
    raw: *mut iommufd_dirty_tracker,
    #[pin]
    gate: Mutex<Gate>,
    #[pin]
    idle: CondVar,
}

struct Gate {
    open: bool,
    /// Calls under way.
    calls: u32,
    /// `start` succeeded and `stop` was not called since.
    started: bool,
}

// SAFETY: Ops may be called from any task.
unsafe impl Send for Provider {}
// SAFETY: What is mutable is behind `gate`.
unsafe impl Sync for Provider {}

impl Provider {
    /// Checks a tracker that its owner wants to register, and says what it is.
    ///
    /// # Safety
    ///
    /// `raw` must be valid, and its ops and its name as well, until [`Provider::close`] of the
    /// result has returned.
    pub(super) unsafe fn new(
        raw: *mut iommufd_dirty_tracker,
    ) -> Result<(Properties, impl PinInit<Self>)> {
        // SAFETY: By the safety requirements.
        let t = unsafe { &*raw };
        // SAFETY: By the safety requirements it is null or valid.
        let ops = unsafe { t.ops.as_ref() }.ok_or(EINVAL)?;
        if ops.start.is_none() || ops.stop.is_none() || ops.read_and_clear.is_none() {
            return Err(EINVAL);
        }
        let kinds =
            bindings::IOMMUFD_DIRTY_KIND_IOMMU_DOMAIN..=bindings::IOMMUFD_DIRTY_KIND_SOFTWARE;
        if !kinds.contains(&t.kind) || t.pgsizes == 0 || t.pgsizes & !GRANULES != 0 {
            return Err(EINVAL);
        }
        if t.name.is_null() || (t.max_span != 0 && t.max_span < t.min_span) {
            return Err(EINVAL);
        }
        // SAFETY: By the safety requirements it is a NUL-terminated string.
        let name = unsafe { CStr::from_char_ptr(t.name.cast()) }.to_bytes();
        let mut properties = Properties {
            name: Properties::padded(name),
            kind: t.kind,
            caps: 0,
            limits: Limits {
                pgsizes: t.pgsizes,
                max_ranges: usize::try_from(t.max_ranges).map_err(|_| EINVAL)?,
                min_span: t.min_span,
                max_span: t.max_span,
            },
        };
        let caps = [
            (ops.peek.is_some(), bindings::IOMMUFD_DIRTY_CAP_PEEK),
            (
                ops.update_ranges.is_some(),
                bindings::IOMMUFD_DIRTY_CAP_UPDATE_RANGES,
            ),
            (t.waits, bindings::IOMMUFD_DIRTY_CAP_WAITS),
            (t.unmap_drops, bindings::IOMMUFD_DIRTY_CAP_UNMAP_DROPS),
        ];
        for (has, cap) in caps {
            if has {
                properties.caps |= cap;
            }
        }
        // INVARIANT: The gate is open, and `raw` valid until `close`.
        let init = pin_init!(Self {
            raw,
            gate <- new_mutex!(Gate {
                open: true,
                calls: 0,
                started: false,
            }, "iommufd_dirty::Provider::gate"),
            idle <- new_condvar!("iommufd_dirty::Provider::idle"),
        });
        Ok((properties, init))
    }

    /// Errors: `ESHUTDOWN` once the tracker is unregistered.
    fn enter(&self) -> Result<Call<'_>> {
        let mut gate = self.gate.lock();
        if !gate.open {
            return Err(ESHUTDOWN);
        }
        gate.calls = gate.calls.checked_add(1).ok_or(EBUSY)?;
        // SAFETY: By the type invariants, because the gate is open.
        let ops = unsafe { (*self.raw).ops };
        Ok(Call {
            provider: self,
            ops,
        })
    }

    /// Lets no further call begin, waits for those under way, stops the tracker if it is started.
    /// Not from one of the tracker's own ops.
    pub(crate) fn close(&self) {
        let mut gate = self.gate.lock();
        gate.open = false;
        while gate.calls > 0 {
            self.idle.wait(&mut gate);
        }
        let started = core::mem::take(&mut gate.started);
        drop(gate);
        if started {
            // SAFETY: Whoever calls this keeps `raw` valid until it returns, and no other call is
            // under way.
            if let Some(stop) = unsafe { (*(*self.raw).ops).stop } {
                // SAFETY: As above.
                unsafe { stop(self.raw) };
            }
        }
    }

    /// The owner has unregistered it.
    pub(crate) fn is_closed(&self) -> bool {
        !self.gate.lock().open
    }

    /// Keeps the module that has the ops loaded.
    pub(crate) fn hold_owner(&self) -> Result<Owner> {
        let call = self.enter()?;
        // SAFETY: The call keeps the ops valid.
        let module = unsafe { (*call.ops).owner };
        // SAFETY: The ops' owner is a module that is loaded, or null.
        if !unsafe { kernel::bindings::try_module_get(module) } {
            return Err(ESHUTDOWN);
        }
        // INVARIANT: The reference is ours.
        Ok(Owner(module))
    }

    /// Would `start` succeed? The bytes of memory it would take.
    pub(crate) fn query(&self, granule: u64, ranges: &[DirtyRange]) -> Result<u64> {
        let call = self.enter()?;
        let mut memory = 0;
        // SAFETY: The call keeps the tracker and its ops valid; `ranges` has that many elements.
        unsafe {
            let Some(query) = (*call.ops).query else {
                return Ok(0);
            };
            to_result(query(
                self.raw,
                granule,
                ranges.as_ptr(),
                nr(ranges)?,
                &mut memory,
            ))?;
        }
        Ok(memory)
    }

    /// `Some` if it is not started, because it cannot do better than this coarser granule.
    ///
    /// Errors: those of the op; `EIO` if what it wants makes no sense.
    pub(crate) fn start(&self, granule: u64, ranges: &[DirtyRange]) -> Result<Option<u64>> {
        let call = self.enter()?;
        // SAFETY: The call keeps the tracker and its ops valid; `ranges` has that many elements.
        let ret = unsafe {
            let start = (*call.ops).start.ok_or(EINVAL)?;
            start(self.raw, granule, ranges.as_ptr(), nr(ranges)?)
        };
        to_result(ret)?;
        if ret == 0 {
            self.gate.lock().started = true;
            return Ok(None);
        }
        // SAFETY: The call keeps the tracker valid, and the field does not change.
        let pgsizes = unsafe { (*self.raw).pgsizes };
        u32::try_from(ret)
            .ok()
            .and_then(|log| 1u64.checked_shl(log))
            .filter(|coarser| *coarser > granule && coarser & pgsizes != 0)
            .map(Some)
            .ok_or(EIO)
    }

    /// Once for each `start`; after an error it counts as stopped. A success if the owner has
    /// unregistered the tracker, which stopped it.
    pub(crate) fn stop(&self) -> Result {
        let Ok(call) = self.enter() else {
            return Ok(());
        };
        if !core::mem::take(&mut self.gate.lock().started) {
            return Ok(());
        }
        // SAFETY: The call keeps the tracker and its ops valid.
        unsafe { to_result((*call.ops).stop.ok_or(EINVAL)?(self.raw)) }
    }

    /// Reads `range`, which is aligned to the granule and not the whole address space, and clears
    /// it unless `peek`, which needs `IOMMUFD_DIRTY_CAP_PEEK`. `true` if a part of it is not
    /// mapped.
    pub(crate) fn read(
        &self,
        range: Range,
        flags: u32,
        peek: bool,
        sink: &mut Sink<'_>,
    ) -> Result<bool> {
        let call = self.enter()?;
        // SAFETY: The call keeps the tracker and its ops valid.
        let (clear, keep) = unsafe { ((*call.ops).read_and_clear, (*call.ops).peek) };
        let op = if peek { keep } else { clear }.ok_or(EINVAL)?;
        // SAFETY: As above; the sink is valid until the op returns and used by it alone.
        let ret = unsafe {
            op(
                self.raw,
                range.first(),
                range.length(),
                flags,
                ptr::from_mut(sink).cast(),
            )
        };
        to_result(ret)?;
        Ok(ret == bindings::IOMMUFD_DIRTY_OP_HOLE as c_int)
    }

    /// Needs `IOMMUFD_DIRTY_CAP_UPDATE_RANGES`.
    pub(crate) fn update_ranges(&self, ranges: &[DirtyRange]) -> Result {
        let call = self.enter()?;
        // SAFETY: The call keeps the tracker and its ops valid; `ranges` has that many elements.
        unsafe {
            let update = (*call.ops).update_ranges.ok_or(EINVAL)?;
            to_result(update(self.raw, ranges.as_ptr(), nr(ranges)?))
        }
    }

    /// The I/O address space that the tracker is in at the moment; 0 cannot be told.
    pub(crate) fn space(&self) -> u64 {
        let Ok(_call) = self.enter() else { return 0 };
        // SAFETY: The call keeps the tracker valid; the field is accessed as `READ_ONCE()` does.
        unsafe { (&raw const (*self.raw).space).read_volatile() }
    }

    /// Bytes that the tracker's bitmaps take at the moment.
    pub(crate) fn bitmap_bytes(&self) -> u64 {
        let Ok(_call) = self.enter() else { return 0 };
        // SAFETY: The call keeps the tracker valid; the field is accessed as `READ_ONCE()` does.
        unsafe { (&raw const (*self.raw).bitmap_bytes).read_volatile() }
    }
}

fn nr(ranges: &[DirtyRange]) -> Result<u32> {
    u32::try_from(ranges.len()).map_err(|_| EINVAL)
}

/// A call of an op is under way.
struct Call<'a> {
    provider: &'a Provider,
    ops: *const iommufd_dirty_tracker_ops,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut gate = self.provider.gate.lock();
        gate.calls = gate.calls.saturating_sub(1);
        if gate.calls == 0 && !gate.open {
            self.provider.idle.notify_all();
        }
    }
}

/// A reference to a module.
///
/// # Invariants
///
/// It is null or ours.
pub(crate) struct Owner(*mut kernel::bindings::module);

// SAFETY: Any task may put a module.
unsafe impl Send for Owner {}
// SAFETY: No method changes it.
unsafe impl Sync for Owner {}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; null is ignored.
        unsafe { kernel::bindings::module_put(self.0) }
    }
}
