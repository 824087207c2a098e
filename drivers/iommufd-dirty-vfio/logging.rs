// SPDX-License-Identifier: GPL-2.0

//! VFIO's DMA logging of a device whose driver has none, if the operator wants it.
//!
//! A program that knows VFIO's log only, as QEMU does, uses it if every device has one. Here each
//! device gets one that has any source of dirty pages: the HWPT that it is attached to, or the
//! writes of the kernel. What the log promises is what VFIO's uAPI says, and more: a report that
//! fails leaves dirty what it did not set in the bitmap.
//!
//! A device that is moved while it is logged may have written elsewhere what this source knows
//! nothing of: its reports fail from then on.

use crate::{
    abi::{
        bitmap::Bitmap,
        bitmap_bytes::BitmapBytes,
        device::Device,
        hwpt::Way,
        space::Space, //
    },
    logic::{
        granule::valid_page_size,
        range::Range,
        range_set::RangeSet, //
    },
    software::Software,
    source::{
        Origin,
        Source, //
    }, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// The log of an open device, started or not. VFIO sees to it that starts and stops come one at a
/// time, and not beside reports.
#[pin_data(PinnedDrop)]
pub(crate) struct Logging {
    device: Device,
    space: Arc<Space>,
    /// Nothing is called while it is locked.
    #[pin]
    log: Mutex<Option<Arc<Log>>>,
}

/// From start to stop.
struct Log {
    source: Arc<Source>,
    id: u32,
    /// The way of the device's DMA when the log began; `None` of an emulated device.
    way: Option<Way>,
}

impl Log {
    fn new(
        source: &Arc<Source>,
        ranges: RangeSet,
        device: CString,
        way: Option<Way>,
    ) -> Result<Arc<Self>> {
        let id = source.add(ranges, device)?;
        let log = Self {
            source: source.clone(),
            id,
            way,
        };
        Ok(Arc::new(log, GFP_KERNEL_ACCOUNT).inspect_err(|_| source.remove(id))?)
    }
}

impl Logging {
    pub(crate) fn new(device: &Device, space: &Arc<Space>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                device: device.clone(),
                space: space.clone(),
                log <- new_mutex!(None, "iommufd_dirty_vfio::Logging::log"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    fn log(&self) -> Option<Arc<Log>> {
        self.log.lock().clone()
    }

    /// Is there a log, or could one be started where the device is now?
    pub(crate) fn is_possible(&self) -> bool {
        if self.log().is_some() {
            return true;
        }
        if self.device.is_emulated() {
            return self.device.space() != 0;
        }
        self.device.hwpt().is_ok()
    }

    /// Starts to log `ranges`. Returns the bytes that each bit stands for.
    ///
    /// Errors: `EINVAL` for a page size that cannot be, or if it is started; `EBUSY` if a context
    /// or userspace tracks with the same source; `EXDEV` if the device is not attached;
    /// `EOPNOTSUPP` if what it is attached to has no dirty tracking; `ENOMEM`; those of the IOMMU's
    /// driver.
    pub(crate) fn start(&self, ranges: RangeSet, page_size: u64) -> Result<u64> {
        if !valid_page_size(page_size) || self.log().is_some() {
            return Err(EINVAL);
        }
        let name = CString::try_from(self.device.name())?;
        let (origin, way) = if self.device.is_emulated() {
            (self.software(&ranges)?, None)
        } else {
            let (hwpt, way) = self.device.hwpt()?;
            (Origin::Hwpt(hwpt), Some(way))
        };
        let source = Source::enter(origin)?;
        let granule = source.granule();
        let log = Log::new(&source, ranges, name, way).inspect_err(|_| {
            let _ = source.leave();
        })?;
        *self.log.lock() = Some(log);
        Ok(granule)
    }

    /// Begins to watch what the kernel writes for the device.
    fn software(&self, ranges: &RangeSet) -> Result<Origin> {
        let space = self.device.space();
        if space == 0 {
            return Err(EXDEV);
        }
        let software = Software::new(&self.device, &self.space, BitmapBytes::new()?)?;
        let list = ranges.as_slice().iter();
        software.begin(space, list.map(|r| (r.first(), r.length())))?;
        Ok(Origin::Software(software))
    }

    /// Ends it, if it was started, whatever it returns: an error of the IOMMU's driver.
    pub(crate) fn stop(&self) -> Result {
        let log = self.log.lock().take();
        let Some(log) = log else {
            return Ok(());
        };
        log.source.remove(log.id);
        log.source.leave()
    }

    /// Reports what is dirty of `wanted`, and makes it clean.
    ///
    /// Errors: `EINVAL` if it is not started; `EXDEV` if the device was moved meanwhile, and
    /// nothing was changed then; those of [`Source::report`].
    pub(crate) fn report(&self, wanted: Range, bitmap: &mut Bitmap<'_>) -> Result {
        let log = self.log().ok_or(EINVAL)?;
        // Before the source is read. What is written after a move that comes later is written
        // beside this report, and the next one fails.
        if log
            .way
            .as_ref()
            .is_some_and(|way| self.device.way() != *way)
        {
            return Err(EXDEV);
        }
        log.source.report(log.id, wanted, bitmap)
    }
}

#[pinned_drop]
impl PinnedDrop for Logging {
    fn drop(self: Pin<&mut Self>) {
        // The device is closed.
        let _ = self.stop();
    }
}
