// SPDX-License-Identifier: GPL-2.0

//! The software tracker: what the kernel writes for an emulated device.
//!
//! Two sources make a page dirty. What `vfio_dma_rw()` wrote is marked in a [`Tree`] and is dirty
//! once. What the driver has pinned for writing it can write at any time, unseen: that is dirty in
//! each read, iommufd knows it and is asked, and when it is unpinned it is marked before. So a read
//! asks iommufd first and then takes the marks: what is unpinned in between is found twice, never
//! missed.
//!
//! Marks come from many tasks at once, some with iommufd's locks held. They take one lock, of
//! [`Session::tracked`], inside of which nothing is called. The mutex around the session is taken
//! by the ops only, outside of all others.

use crate::{
    abi::{
        bitmap_bytes::{
            BitmapBytes,
            Reported, //
        },
        device::Device,
        memcg::Memcg,
        provider::{
            Coverage,
            Description,
            DirtyRange,
            Kind,
            Operations,
            ReadFlags,
            Sink,
            Started, //
        },
        record::Record,
        slot,
        space::Space,
        watch::{
            Watch,
            Written, //
        },
        Registered, //
    },
    tracked::Tracked,
    tree::{
        Room,
        Then,
        Tree, //
    }, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    new_mutex,
    new_spinlock,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SpinLock, //
    }, //
};

/// log2 of the bytes of a page, of which each has a bit.
const SHIFT: u32 = 12;

/// The same in bytes.
pub(crate) const PAGE: u64 = 1 << SHIFT;

/// What is known of an emulated device, for its tracker or for a log: one at a time.
#[pin_data]
pub(crate) struct Software {
    device: Device,
    space: Arc<Space>,
    bytes: Arc<BitmapBytes>,
    #[pin]
    session: Mutex<Option<Pin<KBox<Watch<Session>>>>>,
}

/// From start to stop.
#[pin_data]
struct Session {
    /// The I/O address space whose pages these are.
    space: u64,
    tree: Tree,
    memory: Memory,
    /// What is written elsewhere is dropped.
    #[pin]
    tracked: SpinLock<Tracked>,
}

/// The memory of a tree.
struct Memory {
    /// Of whoever opened the context: marks are made by other tasks.
    memcg: Memcg,
    limit: u64,
    used: Atomic<u64>,
    bytes: Arc<BitmapBytes>,
}

/// The tracker of `device`, which is emulated.
pub(crate) fn register(device: &Device, space: &Arc<Space>) -> Result<KBox<dyn Registered>> {
    let bytes = BitmapBytes::new()?;
    let software = Software::new(device, space, bytes.clone())?;
    let what = Description {
        name: CString::try_from(device.name())?,
        kind: Kind::Software,
        waits: false,
        pgsizes: 1 << SHIFT,
        max_ranges: 0,
        min_span: 0,
        max_span: 0,
        // What is unmapped while it is pinned is unpinned before, and marked.
        unmap_drops: false,
        // Known when it is bound.
        space: 0,
    };
    let registered = Reported::register(what, Ops(software), bytes)?;
    Ok(KBox::new(registered, GFP_KERNEL_ACCOUNT)?)
}

/// The first and the last page that has a byte of the `length` bytes from `iova` on, which are not
/// none. What would wrap is cut.
fn pages(iova: u64, length: u64) -> (u64, u64) {
    let last = iova.saturating_add(length.saturating_sub(1));
    (iova >> SHIFT, last >> SHIFT)
}

impl Software {
    /// Not watched yet. `bytes` reports how much memory it takes.
    pub(crate) fn new(
        device: &Device,
        space: &Arc<Space>,
        bytes: Arc<BitmapBytes>,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                device: device.clone(),
                space: space.clone(),
                bytes,
                session <- new_mutex!(None, "iommufd_dirty_vfio::Software::session"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Begins to watch what is written of the pages that `ranges` have a byte of, which are in I/O
    /// address space `space`.
    ///
    /// Errors: `EOPNOTSUPP`, `EBUSY` if it is watched already, `ENOMEM`.
    pub(crate) fn begin(&self, space: u64, ranges: impl Iterator<Item = (u64, u64)>) -> Result {
        let mut session = self.session.lock();
        let tracked = Tracked::new(ranges.map(|(iova, length)| pages(iova, length)))?;
        let memory = Memory {
            memcg: Memcg::current(),
            limit: crate::software_max(),
            used: Atomic::new(0),
            bytes: self.bytes.clone(),
        };
        let new = pin_init!(Session {
            space,
            tree: Tree::new(),
            memory,
            tracked <- new_spinlock!(tracked, "iommufd_dirty_vfio::Session::tracked"),
        });
        *session = Some(KBox::try_pin_init(
            Watch::new(&self.device, new),
            GFP_KERNEL_ACCOUNT,
        )?);
        Ok(())
    }

    /// Ends it, and forgets what is dirty.
    pub(crate) fn end(&self) {
        let session = self.session.lock().take();
        // Waits for marks under way.
        drop(session);
        self.bytes.set(0);
    }

    /// Records what is dirty in the `length` bytes from `iova` on, in whole pages.
    ///
    /// Errors: `EXDEV` if the device is in another I/O address space now.
    pub(crate) fn read(&self, iova: u64, length: u64, then: Then, to: &mut impl Record) -> Result {
        let session = self.session.lock();
        let session = session.as_ref().ok_or(ENODATA)?.observer();
        // If it was detached all that it had pinned is marked.
        self.space.is_still(session.space)?;
        // First: see above.
        self.device.for_pinned(iova, length, to)?;
        let (first, last) = pages(iova, length);
        session.tree.read(first, last, then, |run| {
            let pages = run.last.saturating_sub(run.first).saturating_add(1);
            let (iova, length) = (run.first << SHIFT, pages.saturating_mul(1 << SHIFT));
            if run.sure {
                to.record(iova, length);
            } else {
                to.record_unsure(iova, length);
            }
        });
        Ok(())
    }
}

/// What is registered.
struct Ops(Arc<Software>);

#[vtable]
impl Operations for Ops {
    fn query(&self, _granule: u64, _ranges: &[DirtyRange]) -> Result<u64> {
        // It takes memory as pages are written.
        Ok(0)
    }

    /// Errors: `EXDEV` if the device is not in the I/O address space any more in which it was
    /// bound, `EOPNOTSUPP`, `EBUSY`, `ENOMEM`.
    fn start(&self, _granule: u64, ranges: &[DirtyRange]) -> Result<Started> {
        let space = self.0.space.starts_in()?;
        self.0
            .begin(space, ranges.iter().map(|r| (r.iova, r.length)))?;
        Ok(Started::Tracking)
    }

    fn stop(&self) -> Result {
        self.0.end();
        Ok(())
    }

    fn read_and_clear(
        &self,
        iova: u64,
        length: u64,
        _flags: ReadFlags,
        sink: &mut Sink<'_>,
    ) -> Result<Coverage> {
        self.0.read(iova, length, Then::Clear, sink)?;
        Ok(Coverage::Whole)
    }

    fn peek(
        &self,
        iova: u64,
        length: u64,
        _flags: ReadFlags,
        sink: &mut Sink<'_>,
    ) -> Result<Coverage> {
        self.0.read(iova, length, Then::Keep, sink)?;
        Ok(Coverage::Whole)
    }

    fn update_ranges(&self, ranges: &[DirtyRange]) -> Result {
        let session = self.0.session.lock();
        let session = session.as_ref().ok_or(ENODATA)?.observer();
        let new = Tracked::new(ranges.iter().map(|r| pages(r.iova, r.length)))?;
        let old = core::mem::replace(&mut *session.tracked.lock(), new);
        session.forget(&old);
        Ok(())
    }
}

impl Session {
    /// Makes what is tracked of the pages `first..=last` dirty.
    fn mark(&self, first: u64, last: u64) {
        let mut next = Some(first);
        while let Some(from) = next {
            let part = self.tracked.lock().first_in(from, last);
            if let Some((first, last)) = part {
                self.tree.mark(first, last, &self.memory);
            }
            next = part.and_then(|part| part.1.checked_add(1));
        }
    }

    /// Drops what is dirty of the pages that were tracked and are not any more.
    fn forget(&self, old: &Tracked) {
        for (first, last) in old.iter() {
            let mut next = Some(first);
            while let Some(from) = next {
                let stays = self.tracked.lock().first_in(from, last);
                let end = stays.map_or(Some(last), |stays| stays.0.checked_sub(1));
                if let Some(end) = end.filter(|end| from <= *end) {
                    self.tree.forget(from, end);
                }
                next = stays.and_then(|stays| stays.1.checked_add(1));
            }
        }
    }
}

impl Written for Session {
    fn written(&self, iova: u64, length: u64) {
        if length != 0 {
            let (first, last) = pages(iova, length);
            self.mark(first, last);
        }
    }
}

impl Room for Memory {
    fn allocate<T>(&self, value: T) -> Option<KBox<T>> {
        let size = size_of::<T>() as u64;
        let used = self.used.fetch_add(size, Relaxed).saturating_add(size);
        let _charge = self.memcg.charge();
        let new = if used <= self.limit {
            slot::allocate(value)
        } else {
            None
        };
        if new.is_none() {
            self.used.fetch_sub(size, Relaxed);
        }
        self.bytes.set(self.used.load(Relaxed));
        new
    }

    fn give_back<T>(&self, unused: KBox<T>) {
        drop(unused);
        self.used.fetch_sub(size_of::<T>() as u64, Relaxed);
        self.bytes.set(self.used.load(Relaxed));
    }
}
