// SPDX-License-Identifier: GPL-2.0

//! A hold on an iommufd HWPT and its dirty bits.
//!
//! C header: `include/linux/iommufd.h`, with `patches/` applied.

use super::bindings;
use crate::{
    logic::range::Range,
    sink::Sink, //
};
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::c_void,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        global_lock, //
    }, //
};

global_lock! {
    // SAFETY: `init` is called in the module's init, before anybody can bind.
    unsafe(uninit) static HELD: Mutex<KVec<usize>> = KVec::new();
}

/// Once, when the module is loaded.
pub(crate) fn init() {
    // SAFETY: The module's init calls this, once.
    unsafe { HELD.init() }
}

/// A paging HWPT that has dirty tracking, held once at a time.
///
/// # Invariants
///
/// Both pointers own a reference, and that to the context is put last. The HWPT is in [`HELD`].
pub(crate) struct Hwpt {
    ictx: NonNull<bindings::iommufd_ctx>,
    hwpt: NonNull<bindings::iommufd_hwpt_paging>,
    started: Atomic<bool>,
}

// SAFETY: iommufd locks by itself; its functions may be called from any task.
unsafe impl Send for Hwpt {}
// SAFETY: As above.
unsafe impl Sync for Hwpt {}

impl Hwpt {
    /// HWPT `id` of the iommufd that is open as `fd` in the current task.
    ///
    /// Errors: `EBADF`, or `EBADFD` if it is not an iommufd; `ENOENT` no such HWPT; `EXDEV` nested;
    /// `EOPNOTSUPP` no dirty tracking; `EBUSY` it is held already.
    pub(crate) fn get(fd: i32, id: u32) -> Result<Self> {
        // SAFETY: May be called with any number.
        let ictx = from_err_ptr(unsafe { bindings::iommufd_ctx_from_fd(fd) })?;
        let ictx = NonNull::new(ictx).ok_or(EBADF)?;
        Self::hold(ictx, id).inspect_err(|_| {
            // SAFETY: The reference is ours, and not used any more.
            unsafe { bindings::iommufd_ctx_put(ictx.as_ptr()) }
        })
    }

    fn hold(ictx: NonNull<bindings::iommufd_ctx>, id: u32) -> Result<Self> {
        // SAFETY: The caller has a reference to `ictx`.
        let hwpt = from_err_ptr(unsafe { bindings::iommufd_hwpt_dirty_get(ictx.as_ptr(), id) })?;
        let hwpt = NonNull::new(hwpt).ok_or(ENOENT)?;
        let mut held = HELD.lock();
        let claimed = if held.contains(&hwpt.addr().get()) {
            Err(EBUSY)
        } else {
            held.push(hwpt.addr().get(), GFP_KERNEL)
                .map_err(Error::from)
        };
        drop(held);
        // INVARIANT: Both references are ours from here on, and the HWPT is in the list.
        claimed
            .map(|()| Self {
                ictx,
                hwpt,
                started: Atomic::new(false),
            })
            .inspect_err(|_| {
                // SAFETY: The reference is ours, and not used any more.
                unsafe { bindings::iommufd_hwpt_dirty_put(ictx.as_ptr(), hwpt.as_ptr()) }
            })
    }

    /// Bitmap of the page sizes that the page table can have.
    pub(crate) fn pgsizes(&self) -> u64 {
        // SAFETY: By the type invariants.
        unsafe { bindings::iommufd_hwpt_dirty_pgsizes(self.hwpt.as_ptr()) as u64 }
    }

    /// Identifies the IOAS.
    pub(crate) fn space(&self) -> u64 {
        // SAFETY: By the type invariants.
        unsafe { bindings::iommufd_hwpt_dirty_space(self.hwpt.as_ptr()) as u64 }
    }

    /// Claims the dirty bits and switches tracking on. `EBUSY`: somebody else has.
    pub(crate) fn start(&self) -> Result {
        // SAFETY: By the type invariants.
        to_result(unsafe { bindings::iommufd_hwpt_dirty_start(self.hwpt.as_ptr()) })?;
        self.started.store(true, Relaxed);
        Ok(())
    }

    /// Switches tracking off, if it is on, and gives the dirty bits back.
    pub(crate) fn stop(&self) -> Result {
        if !self.started.xchg(false, Relaxed) {
            return Ok(());
        }
        // SAFETY: By the type invariants.
        to_result(unsafe { bindings::iommufd_hwpt_dirty_stop(self.hwpt.as_ptr()) })
    }

    /// Reads `range`, which is not the whole address space, and clears it unless `peek`. `flags`
    /// are `IOMMUFD_DIRTY_OP_*`. `true` if a part is not mapped.
    pub(crate) fn read(
        &self,
        range: Range,
        flags: u32,
        peek: bool,
        sink: &mut Sink<'_>,
    ) -> Result<bool> {
        let iova = usize::try_from(range.first()).map_err(|_| EOVERFLOW)?;
        let length = usize::try_from(range.length()).map_err(|_| EOVERFLOW)?;
        let mut how = 0;
        if flags & bindings::IOMMUFD_DIRTY_OP_FINAL != 0 {
            how |= bindings::IOMMUFD_HWPT_DIRTY_FINAL;
        }
        if flags & bindings::IOMMUFD_DIRTY_OP_STRICT != 0 {
            how |= bindings::IOMMUFD_HWPT_DIRTY_STRICT;
        }
        if peek {
            how |= bindings::IOMMUFD_HWPT_DIRTY_PEEK;
        }
        // SAFETY: By the type invariants; `record` is given the sink that it expects, which is
        // valid until the function returns, and used by it alone.
        let ret = unsafe {
            bindings::iommufd_hwpt_dirty_read(
                self.hwpt.as_ptr(),
                iova,
                length,
                how,
                Some(record),
                ptr::from_mut(sink).cast(),
            )
        };
        to_result(ret)?;
        Ok(ret > 0)
    }
}

impl Drop for Hwpt {
    fn drop(&mut self) {
        let addr = self.hwpt.addr().get();
        let mut held = HELD.lock();
        held.retain(|held| *held != addr);
        if held.is_empty() {
            // Nothing frees a static when the module goes.
            *held = KVec::new();
        }
        drop(held);
        // SAFETY: By the type invariants both references are ours, and not used any more.
        unsafe {
            bindings::iommufd_hwpt_dirty_put(self.ictx.as_ptr(), self.hwpt.as_ptr());
            bindings::iommufd_ctx_put(self.ictx.as_ptr());
        }
    }
}

/// # Safety
///
/// `sink` must be the [`Sink`] that [`Hwpt::read`] lends for the time of the call.
unsafe extern "C" fn record(sink: *mut c_void, iova: usize, length: usize) {
    // SAFETY: By the safety requirements.
    let sink = unsafe { &mut *sink.cast::<Sink<'_>>() };
    sink.record(iova as u64, length as u64);
}
