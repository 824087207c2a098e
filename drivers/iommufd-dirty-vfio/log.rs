// SPDX-License-Identifier: GPL-2.0

//! The tracker of a device that logs its DMA by itself, through its driver's `vfio_log_ops`.
//!
//! What VFIO asks of a driver there is little, and the drivers differ. What is relied on here is
//! what all of them do:
//!
//! - the page size is a hint, and the driver answers with its own (mlx5 has a smallest and a
//!   largest
//!   one, mtty does not look at it): a coarser one is told to the core, and with a finer one the
//!   reads are finer than they need to be;
//! - a driver joins ranges when it has not enough slots (mlx5, pds): reads go by what it logs;
//! - what is asked for is [aligned](`whole_units`) so that a driver neither reports less than it
//!   clears
//!   (pds acknowledges pages in units of 64, mlx5 reports pages that begin before the request) nor
//!   refuses it (pds: across two ranges);
//! - a read that fails may have cleared what it did not report, as VFIO's uAPI says: the tracker is
//!   lost. So it is when the driver has stopped logging behind the core's back (pds when the device
//!   leaves STOP_COPY, mlx5 when its PF goes away): a read fails then;
//! - not all of them look whether logging is started (mtty): the core and VFIO do.

use crate::{
    abi::{
        device::Device,
        log::{
            LogRange,
            MAX_RANGES, //
        },
        provider::{
            Coverage,
            Description,
            DirtyRange,
            Kind,
            Operations,
            ReadFlags,
            Registration,
            Sink,
            Started, //
        },
        space::Space,
        Registered, //
    },
    whole_units::whole_units, //
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

/// Any power of two from 4 KiB on, as far as the core takes it: which ones a driver can do only its
/// answer tells.
const PGSIZES: u64 = (1 << 60) - 4096;

/// Makes a tracker of the log that the device's driver has.
pub(crate) fn register(device: &Device, space: &Arc<Space>) -> Result<KBox<dyn Registered>> {
    let what = Description {
        name: CString::try_from(device.name())?,
        kind: Kind::Device,
        waits: true,
        pgsizes: PGSIZES,
        max_ranges: MAX_RANGES,
        min_span: 0,
        max_span: 0,
        // What the driver logged does not go with a mapping.
        unmap_drops: false,
        // Known when it is bound.
        space: 0,
    };
    let log = Log {
        device: device.clone(),
        space: space.clone(),
        session: KBox::pin_init(
            new_mutex!(None, "iommufd_dirty_vfio::Log::session"),
            GFP_KERNEL_ACCOUNT,
        )?,
    };
    let registration = KBox::try_pin_init(Registration::new(what, log), GFP_KERNEL_ACCOUNT)?;
    Ok(KBox::new(registration, GFP_KERNEL_ACCOUNT)?)
}

struct Log {
    device: Device,
    space: Arc<Space>,
    /// `None` while not tracking. Never waited for: the core calls one op at a time.
    session: Pin<KBox<Mutex<Option<Session>>>>,
}

/// What the driver logs.
struct Session {
    /// Bytes per bit.
    page_size: u64,
    /// Ascending.
    ranges: KVec<LogRange>,
    /// The I/O address space that their addresses are of.
    space: u64,
}

#[vtable]
impl Operations for Log {
    fn query(&self, _granule: u64, _ranges: &[DirtyRange]) -> Result<u64> {
        if self.device.log_in_use() {
            return Err(EBUSY);
        }
        // How much memory it takes is the driver's secret.
        Ok(0)
    }

    fn start(&self, granule: u64, ranges: &[DirtyRange]) -> Result<Started> {
        let space = self.space.starts_in()?;
        let mut list = KVec::with_capacity(ranges.len(), GFP_KERNEL_ACCOUNT)?;
        for range in ranges {
            let range = LogRange {
                iova: range.iova,
                length: range.length,
            };
            list.push(range, GFP_KERNEL_ACCOUNT)?;
        }
        let page_size = self.device.log_start(&mut list, granule)?;
        if page_size > granule || !page_size.is_power_of_two() {
            self.device.log_stop()?;
            // The core does not take what is no power of two.
            return Ok(Started::Coarser(page_size));
        }
        *self.session.lock() = Some(Session {
            page_size,
            ranges: list,
            space,
        });
        Ok(Started::Tracking)
    }

    fn stop(&self) -> Result {
        let session = self.session.lock().take();
        drop(session);
        self.device.log_stop()
    }

    fn read_and_clear(
        &self,
        iova: u64,
        length: u64,
        _flags: ReadFlags,
        sink: &mut Sink<'_>,
    ) -> Result<Coverage> {
        let session = self.session.lock();
        let session = session.as_ref().ok_or(ENODATA)?;
        // Before the driver is asked, which clears what it tells.
        self.space.is_still(session.space)?;
        for range in session.ranges.iter() {
            let Some((from, bytes)) =
                whole_units(range.iova, range.length, session.page_size, iova, length)
            else {
                continue;
            };
            if let Err(e) = self.device.log_read(from, bytes, sink) {
                sink.lost(e);
                return Err(EIO);
            }
        }
        Ok(Coverage::Whole)
    }
}
