// SPDX-License-Identifier: GPL-2.0

//! Sources of dirty pages for VFIO's DMA logging, which logs may share.
//!
//! Two devices behind one HWPT have one source: its dirty bits. It is switched on for the first log
//! and off after the last one. What is read of it for one log is given to all of them, see
//! [`Logs`]. An emulated device has a source of its own.
//!
//! Locks: [`Source::is_on`] is taken before that of the list of sources. iommufd's are taken inside
//! of `is_on` and of [`Source::logs`], those of user memory inside of the latter. iommufd's may be
//! held for as long as a user likes, who has it write a bitmap to memory that does not come. So no
//! lock that users of different HWPTs share is held meanwhile, and what a source records takes
//! none.

use crate::{
    abi::{
        bitmap::Bitmap,
        hwpt::Hwpt,
        record::Record,
        sources, //
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
        Arc,
        Mutex, //
    }, //
};

/// Bytes of memory for what a log is owed, and has not reported.
const MAX_OWED: usize = 16 << 20;

/// What knows which pages are dirty.
pub(crate) enum Origin {
    Hwpt(Hwpt),
    Software(Arc<Software>),
}

#[pin_data]
pub(crate) struct Source {
    origin: Origin,
    /// Held while it is switched on or off.
    #[pin]
    is_on: Mutex<bool>,
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
    /// Off.
    pub(crate) fn new(origin: Origin) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                origin,
                is_on <- new_mutex!(false, "iommufd_dirty_vfio::Source::is_on"),
                logs <- new_mutex!(Logs::new(), "iommufd_dirty_vfio::Source::logs"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Is it what `origin` is?
    pub(crate) fn is(&self, origin: &Origin) -> bool {
        self.origin.is(origin)
    }

    /// The source that `origin` is. It is on until [`Self::leave`] is called as often as this.
    ///
    /// Errors: `EBUSY` if somebody else has its dirty bits; `ENOMEM`; those of the IOMMU's driver.
    pub(crate) fn enter(origin: Origin) -> Result<Arc<Self>> {
        let source = sources::get(origin)?;
        let mut is_on = source.is_on.lock();
        if !*is_on {
            if let Err(e) = source.origin.start() {
                let _ = source.let_go(&mut is_on);
                return Err(e);
            }
            *is_on = true;
        }
        drop(is_on);
        Ok(source)
    }

    /// Switches it off if nobody has it any more.
    pub(crate) fn leave(self: &Arc<Self>) -> Result {
        self.let_go(&mut self.is_on.lock())
    }

    fn let_go(self: &Arc<Self>, is_on: &mut bool) -> Result {
        if !sources::put(self) {
            return Ok(());
        }
        let stopped = match core::mem::take(is_on) {
            true => self.origin.stop(),
            false => Ok(()),
        };
        // Whoever has found it meanwhile waits for `is_on`, and switches it on again.
        sources::forget(self);
        stopped
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

    /// Reports to `bitmap` what is dirty of `wanted` for log `id`. If that fails it is not lost,
    /// but for what was set in the bitmap.
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

/// `iommufd-dirty-vfio/logs` in debugfs: every log that is started, a line each. Does not wait for
/// a report under way: `busy` is all that is said of its source then.
pub(crate) fn list(_: &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "dma_log {}", u32::from(crate::dma_log_is_on()))?;
    writeln!(f, "device source tracked reports owed overreported memory")?;
    let listed = sources::try_for_each(|source| {
        let Some(logs) = source.logs.try_lock() else {
            return writeln!(f, "busy {}", source.origin.name());
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
        Ok(())
    });
    match listed {
        Some(result) => result,
        None => writeln!(f, "busy"),
    }
}
