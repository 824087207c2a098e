// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A dirty log of devices for a VMM whose migration has the steps of Cloud Hypervisor's: start the
//! log, pause, ask for what is dirty, stop the log. For a guest without a virtual IOMMU, and for
//! one address space of a guest that has one.

use iommufd_dirty_ioctls::{
    Binding, Bitmaps, Context, LastRound, PageSize, Policy, Range, Result, Session, StartOptions,
    UntrackedPolicy,
};
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

const PAGE: u64 = 4096;

/// A bit for each page of the guest's physical memory, from address 0 on. Others may set bits in
/// it, too: KVM's log, and what the VMM itself writes.
pub struct GuestBits(Vec<AtomicU64>);

impl GuestBits {
    /// Covers the memory up to its end.
    pub fn new(end: u64) -> Self {
        let words = end.div_ceil(PAGE * 64);
        Self((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    /// Takes the bits out, as address and length of each run of dirty pages.
    pub fn take(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (word, first) in self.0.iter().zip((0..).step_by(64)) {
            let bits = word.swap(0, Ordering::SeqCst);
            for page in (0..64).filter(|n| (bits >> n) & 1 != 0) {
                let gpa = (first + page) * PAGE;
                match runs.last_mut() {
                    Some((start, length)) if *start + *length == gpa => *length += PAGE,
                    _ => runs.push((gpa, PAGE)),
                }
            }
        }
        runs
    }

    /// For a range where it is not known what was written.
    fn set_all(&self, gpa: u64, length: u64) {
        for page in gpa / PAGE..(gpa + length).div_ceil(PAGE) {
            if let Some(word) = self.0.get((page / 64) as usize) {
                word.fetch_or(1 << (page % 64), Ordering::SeqCst);
            }
        }
    }
}

/// Where the migration is.
enum Tracking {
    Off,
    On(Session),
    Paused(LastRound),
}

/// The devices of one I/O address space. What they reach is `mapped`: I/O address to length and
/// address of the guest's memory. Without a virtual IOMMU the addresses are the same.
pub struct DeviceLog {
    context: Context,
    tracking: Tracking,
    mapped: BTreeMap<u64, (u64, u64)>,
}

impl DeviceLog {
    /// Call this when the first device is there.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            tracking: Tracking::Off,
            mapped: BTreeMap::new(),
        }
    }

    /// A device is plugged in, also while the log is on. It is in the iommufd, and attached.
    pub fn add_device(&self, device: BorrowedFd<'_>, cookie: u64) -> Result<()> {
        if self.context.device_has_tracker(device)? {
            // Nothing was written yet: the guest does not know it.
            let binding = Binding::new(Policy::Fail).cookie(cookie).assume_clean();
            self.context.bind_device(device, &binding)?;
        } else {
            // Pre-copy does not converge with it. A VMM may prefer to refuse to migrate.
            self.context
                .bind_untracked(UntrackedPolicy::AllDirty, cookie)?;
        }
        Ok(())
    }

    /// Memory is mapped for the devices. Call this before it is, and before the guest knows.
    pub fn map(&mut self, iova: u64, length: u64, gpa: u64) -> Result<()> {
        self.context
            .add_clean_ranges(&[Range::new(iova, length)?])?;
        self.mapped.insert(iova, (length, gpa));
        Ok(())
    }

    /// Memory is unmapped: `unmap` does that, and the guest knows when this returns. The device
    /// must be done with it.
    pub fn unmap(&mut self, iova: u64, bits: &GuestBits, unmap: impl FnOnce()) -> Result<()> {
        let Some((length, gpa)) = self.mapped.remove(&iova) else {
            return Ok(());
        };
        let range = Range::new(iova, length)?;
        // Now, while it is known which page of the guest's this is.
        let read = Bitmaps::new(PageSize::KIB_4)
            .with_offset(range, &bits.0, gpa / PAGE)
            .and_then(|mut request| self.read(&mut request));
        if read.is_err() {
            bits.set_all(gpa, length);
        }
        unmap();
        self.context.remove_ranges(&[range])
    }

    /// Cloud Hypervisor's `start_dirty_log()`.
    pub fn start(&mut self) -> Result<()> {
        let session = self.context.start(&StartOptions::new(PageSize::KIB_4))?;
        self.tracking = Tracking::On(session);
        Ok(())
    }

    /// The devices are stopped, by `pause()`: the next request is the last.
    pub fn paused(&mut self) {
        self.tracking = match std::mem::replace(&mut self.tracking, Tracking::Off) {
            Tracking::On(session) => Tracking::Paused(session.devices_stopped()),
            other => other,
        };
    }

    /// `dirty_log()`: one call of the kernel for all devices and all memory. If it fails, what was
    /// found is among the bits, and the next call finds the rest.
    pub fn collect(&self, bits: &GuestBits) -> Result<()> {
        let mut request = Bitmaps::new(PageSize::KIB_4);
        for (iova, (length, gpa)) in &self.mapped {
            let range = Range::new(*iova, *length)?;
            request = request.with_offset(range, &bits.0, gpa / PAGE)?;
        }
        self.read(&mut request)
    }

    fn read(&self, request: &mut Bitmaps<'_>) -> Result<()> {
        match &self.tracking {
            Tracking::Off => (),
            Tracking::On(session) => drop(session.read(request)?),
            Tracking::Paused(last) => drop(last.read(request)?),
        }
        Ok(())
    }

    /// `stop_dirty_log()`, whether the migration succeeded or not.
    pub fn stop(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.tracking, Tracking::Off) {
            Tracking::Off => Ok(()),
            Tracking::On(session) => session.stop(),
            Tracking::Paused(last) => last.stop(),
        }
    }
}

fn main() -> Result<()> {
    let bits = GuestBits::new(1 << 30);
    let mut log = DeviceLog::new(Context::open()?);
    log.map(0, 1 << 30, 0)?;
    log.start()?;
    log.collect(&bits)?;
    println!("{} runs of dirty pages", bits.take().len());
    log.paused();
    log.collect(&bits)?;
    log.stop()
}
