// SPDX-License-Identifier: GPL-2.0

//! Sources of dirty pages for VFIO's DMA logging, which logs may share.
//!
//! Two devices behind one HWPT have one source: its dirty bits. It is switched on for the first log
//! and off after the last one. What is read of it for one log is given to all of them, see
//! [`Logs`]. An emulated device has a source of its own.
//!
//! Locks: iommufd's are taken inside of [`SOURCES`] and of [`Source::logs`], those of user memory
//! inside of the latter. Nobody waits for one of the two inside of the other, and what a source
//! records takes neither.

use crate::{
    abi::{
        bitmap::Bitmap,
        hwpt::Hwpt,
        record::Record, //
    },
    logic::{
        range::Range,
        range_set::RangeSet, //
    },
    owed::{
        Logs,
        Reader, //
    },
    software::{
        Software,
        PAGE, //
    },
    tree::Then, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    fmt,
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        global_lock,
        Arc,
        Mutex, //
    }, //
};

/// Bytes of memory for what a log is owed, and has not reported.
const MAX_OWED: usize = 16 << 20;

global_lock! {
    // SAFETY: `init` is called in the module's init, before anybody can start a log.
    unsafe(uninit) static SOURCES: Mutex<KVec<Shared>> = KVec::new();
}

/// Once, when the module is loaded.
pub(crate) fn init() {
    // SAFETY: The module's init calls this, once.
    unsafe { SOURCES.init() }
}

/// A source that is on.
struct Shared {
    source: Arc<Source>,
    /// Logs that have it, or are about to.
    users: usize,
}

/// What knows which pages are dirty.
pub(crate) enum Origin {
    Hwpt(Hwpt),
    Software(Arc<Software>),
}

#[pin_data]
pub(crate) struct Source {
    origin: Origin,
    #[pin]
    logs: Mutex<Logs<About>>,
}

/// What the list says about a log.
struct About {
    device: CString,
    reports: u64,
}

impl Origin {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Hwpt(one), Self::Hwpt(other)) => one.is(other),
            // It was begun for one log.
            _ => false,
        }
    }

    fn start(&self) -> Result {
        match self {
            Self::Hwpt(hwpt) => hwpt.start(),
            Self::Software(_) => Ok(()),
        }
    }

    fn stop(&self) -> Result {
        match self {
            Self::Hwpt(hwpt) => hwpt.stop(),
            Self::Software(software) => {
                software.end();
                Ok(())
            }
        }
    }

    fn granule(&self) -> u64 {
        match self {
            Self::Hwpt(hwpt) => hwpt.granule(),
            Self::Software(_) => PAGE,
        }
    }

    /// After an error what was not recorded is still dirty.
    fn read(&self, range: Range, to: &mut impl Record) -> Result {
        let (iova, length) = (range.first(), range.length());
        match self {
            Self::Hwpt(hwpt) => hwpt.read(iova, length, to),
            Self::Software(software) => software.read(iova, length, Then::Clear, to),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Hwpt(_) => "iommu-domain",
            Self::Software(_) => "software",
        }
    }
}

/// Gives what is found dirty to the logs.
struct Giver<'a, 'b> {
    logs: &'a mut Logs<About>,
    /// Who reports now, and where to.
    reader: Option<(Reader, &'a mut Bitmap<'b>)>,
}

impl Giver<'_, '_> {
    fn give(&mut self, iova: u64, length: u64, sure: bool) {
        let Some(more) = length.checked_sub(1) else {
            return;
        };
        let Some(dirty) = Range::inclusive(iova, iova.saturating_add(more)) else {
            return;
        };
        let logs = &mut *self.logs;
        match &mut self.reader {
            Some((reader, bitmap)) => {
                logs.give(dirty, sure, Some(*reader), |now| bitmap.set(now).is_ok());
            }
            None => logs.give(dirty, sure, None, |_| false),
        }
    }
}

impl Record for Giver<'_, '_> {
    fn record(&mut self, iova: u64, length: u64) {
        self.give(iova, length, true);
    }

    fn record_unsure(&mut self, iova: u64, length: u64) {
        self.give(iova, length, false);
    }
}

impl Source {
    /// The source that `origin` is. It is on until [`Self::leave`] is called as often as this.
    ///
    /// Errors: `EBUSY` if somebody else has its dirty bits; `ENOMEM`; those of the IOMMU's driver.
    pub(crate) fn enter(origin: Origin) -> Result<Arc<Self>> {
        let mut sources = SOURCES.lock();
        if let Some(shared) = sources.iter_mut().find(|s| s.source.origin.is(&origin)) {
            shared.users = shared.users.saturating_add(1);
            return Ok(shared.source.clone());
        }
        Self::switch_on(origin, &mut sources).inspect_err(|_| free_if_empty(&mut sources))
    }

    fn switch_on(origin: Origin, sources: &mut KVec<Shared>) -> Result<Arc<Self>> {
        sources.reserve(1, GFP_KERNEL_ACCOUNT)?;
        let source = Arc::pin_init(
            pin_init!(Self {
                origin,
                logs <- new_mutex!(Logs::new(), "iommufd_dirty_vfio::Source::logs"),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        source.origin.start()?;
        // There is room.
        let _ = sources.push_within_capacity(Shared {
            source: source.clone(),
            users: 1,
        });
        Ok(source)
    }

    /// Switches it off if nobody has it any more.
    pub(crate) fn leave(self: &Arc<Self>) -> Result {
        let mut sources = SOURCES.lock();
        let at = sources.iter().position(|s| Arc::ptr_eq(&s.source, self));
        let Some(shared) = at.and_then(|at| sources.get_mut(at)) else {
            return Ok(());
        };
        shared.users = shared.users.saturating_sub(1);
        if shared.users > 0 {
            return Ok(());
        }
        // Under the lock: who comes next must not find it on. The caller has a reference.
        let _ = at.map(|at| sources.remove(at));
        free_if_empty(&mut sources);
        self.origin.stop()
    }

    /// Bytes per bit.
    pub(crate) fn granule(&self) -> u64 {
        self.origin.granule()
    }

    /// Adds a log of `ranges`, which is owed nothing yet. Returns its id.
    ///
    /// Errors: `ENOMEM`, and those of the read of what was written before, which is the others'.
    pub(crate) fn add(&self, ranges: RangeSet, device: CString) -> Result<u32> {
        let mut logs = self.logs.lock();
        if !logs.is_empty() {
            for range in ranges.as_slice() {
                let mut giver = Giver {
                    logs: &mut logs,
                    reader: None,
                };
                self.origin.read(*range, &mut giver)?;
            }
        }
        let about = About { device, reports: 0 };
        Ok(logs.add(ranges, MAX_OWED, about)?)
    }

    /// Log `id` ends.
    pub(crate) fn remove(&self, id: u32) {
        self.logs.lock().remove(id);
    }

    /// Reports to `bitmap` what is dirty of `wanted` for log `id`. If that fails it is not lost, but
    /// for what was set in the bitmap.
    ///
    /// Errors: `EFAULT` if the bitmap cannot be written to; `ENOMEM`; those of the source.
    pub(crate) fn report(&self, id: u32, wanted: Range, bitmap: &mut Bitmap<'_>) -> Result {
        let mut logs = self.logs.lock();
        let mut next = Some(wanted.first());
        while let Some(part) = next.and_then(|from| logs.next_part(id, wanted, from)) {
            let reader = Reader { id, wanted: part };
            let mut giver = Giver {
                logs: &mut logs,
                reader: Some((reader, &mut *bitmap)),
            };
            self.origin.read(part, &mut giver)?;
            logs.pay(id, part, |dirty| bitmap.set(dirty))?;
            next = part.last().checked_add(1);
        }
        if let Some(log) = logs.get_mut(id) {
            log.with.reports = log.with.reports.saturating_add(1);
        }
        Ok(())
    }
}

/// Nothing frees a static when the module goes.
fn free_if_empty(sources: &mut KVec<Shared>) {
    if sources.is_empty() {
        *sources = KVec::new();
    }
}

/// `iommufd-dirty-vfio/logs` in debugfs: every log that is started, a line each. Does not wait for a
/// report under way: `busy` is all that is said of its source then.
pub(crate) fn list(_: &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "dma_log {}", u32::from(crate::dma_log_is_on()))?;
    writeln!(f, "device source tracked reports owed overreported memory")?;
    let Some(sources) = SOURCES.try_lock() else {
        return writeln!(f, "busy");
    };
    for source in sources.iter().map(|shared| &shared.source) {
        let Some(logs) = source.logs.try_lock() else {
            writeln!(f, "busy {}", source.origin.name())?;
            continue;
        };
        for log in logs.iter() {
            writeln!(
                f,
                "{} {} {} {} {} {} {}",
                log.with.device.to_str().unwrap_or("?"),
                source.origin.name(),
                log.tracked().span(),
                log.with.reports,
                log.owed().dirty_bytes(),
                log.owed().overreported(),
                log.owed().bytes(),
            )?;
        }
    }
    Ok(())
}
