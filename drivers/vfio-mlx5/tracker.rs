// SPDX-License-Identifier: GPL-2.0

//! The firmware's page tracker of a VF.
//!
//! The PF has it: an object of the firmware that remembers where the VF wrote, and that sends what
//! it remembers as messages from one queue pair of the PF to another, when it is asked to. The
//! addresses are in the messages, and each message says whether another one follows.
//!
//! One task at a time reads a tracker (`&mut`). Events come in interrupts and reach the reader
//! through its [`Signal`] only: nothing here takes a lock that an interrupt would, and a read holds
//! none at all while it waits. Each wait ends: `mlx5_core` gives up a command by itself, and a
//! message that is not there after [`report_timeout`] is not waited for any longer.
//!
//! What a report has made clean and what did not arrive is gone. So an error in the midst of one
//! ends the tracker: [`PageTracker::is_lost`], and whoever has it has to take everything for dirty.
//!
//! [`report_timeout`]: crate::report_timeout_ms

use crate::{
    abi::{
        core_dev::{
            CoreDev,
            Pd,
            Uar, //
        },
        cq::Cq,
        events::{
            jiffies,
            Events, //
        },
        killed, //
    },
    cmd::object,
    cqe::{
        self,
        Ring,
        CQE_LEN, //
    },
    limits::{
        plan,
        Misfit, //
    },
    qp::{
        Buffers,
        Qp, //
    },
    range::Range,
    report::{
        address,
        Broken,
        Reading,
        Runs,
        State, //
    }, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*,
    sync::Arc,
    time::{
        Instant,
        Monotonic, //
    }, //
};

pub(crate) use crate::abi::events::{
    Signal,
    Watcher, //
};
pub(crate) use crate::limits::Limits;

/// The buffers take at least so many bytes: while one is read the next ones fill.
const LOG_BUFFERS: u8 = 21;
/// And there are at least so many of them: the firmware takes no smaller queue.
const LOG_MIN_RECEIVES: u8 = 2;

/// What the page tracker of a device can take; `None` if it has none.
pub(crate) fn limits(dev: &CoreDev) -> Option<Limits> {
    Limits::of(dev.general_cap(), dev.virtualization_cap())
}

/// How many buffers there are for messages of 2^`log_msg` bytes.
fn receives(log_msg: u8) -> Option<Ring> {
    Ring::new(LOG_BUFFERS.saturating_sub(log_msg).max(LOG_MIN_RECEIVES))
}

/// Bytes of memory that one tracker takes of a device with these limits.
pub(crate) fn memory(limits: &Limits) -> u64 {
    let log = |ring: Ring| u32::from(ring.log_size()) + u32::from(limits.log_max_msg);
    receives(limits.log_max_msg)
        .and_then(|ring| 1_u64.checked_shl(log(ring)))
        .unwrap_or(u64::MAX)
}

impl From<Misfit> for Error {
    fn from(misfit: Misfit) -> Self {
        match misfit {
            Misfit::Nothing | Misfit::Granule => EINVAL,
            Misfit::TooSmall | Misfit::TooLarge => EDOM,
        }
    }
}

/// Where a read puts what it finds.
pub(crate) trait Dirty {
    /// The `length` bytes from `iova` on are dirty.
    fn record(&mut self, iova: u64, length: u64);

    /// Must a read of several ranges end between two of them?
    fn interrupted(&self) -> bool;
}

/// Only what kills the task ends this read.
impl<F: FnMut(u64, u64)> Dirty for F {
    fn record(&mut self, iova: u64, length: u64) {
        self(iova, length);
    }

    fn interrupted(&self) -> bool {
        killed()
    }
}

/// The tracker object itself.
struct Object {
    dev: CoreDev,
    id: object::Id,
}

impl Drop for Object {
    fn drop(&mut self) {
        // What it writes to is not its own: if it stays, the firmware will not destroy its queue
        // pair either.
        self.dev.destroy(&object::Destroy(self.id), "page tracker");
    }
}

/// A tracker that tracks.
///
/// The members are dropped in their order: what uses something goes before what it uses.
pub(crate) struct PageTracker {
    object: Object,
    _events: Events,
    /// What the firmware sends with.
    _sender: Qp,
    receiver: Qp,
    buffers: Buffers,
    cq: Cq,
    _pd: Pd,
    uar: Uar,
    signal: Arc<Signal>,
    granule: u64,
    /// What is tracked: ascending, whole granules.
    ranges: KVec<Range>,
}

impl PageTracker {
    /// Begins to track what the VF with the number `vhca_id` writes to `ranges`, from a clean
    /// state.
    ///
    /// They may be any number in any order; see [`plan`] for what is tracked then. Everything or
    /// nothing: after an error there is no tracker and none of its resources.
    ///
    /// `watcher` is told of events.
    ///
    /// Errors: `ENOSPC` if the device has no tracker to spare, or no more of what it takes, `EDOM`
    /// if the ranges are too large or too small for it, `EINVAL` if `granule` is none of its own or
    /// if there are no ranges, `ENODEV` if it has no trackers; those of `mlx5_core`.
    pub(crate) fn start(
        dev: &CoreDev,
        vhca_id: u16,
        granule: u64,
        ranges: &[Range],
        watcher: Arc<dyn Watcher>,
    ) -> Result<Self> {
        let limits = limits(dev).ok_or(ENODEV)?;
        let mut list = KVec::with_capacity(ranges.len(), GFP_KERNEL_ACCOUNT)?;
        list.extend_from_slice(ranges, GFP_KERNEL_ACCOUNT)?;
        let plan = plan(&limits, granule, list.as_mut_slice())?;
        list.truncate(plan.count);

        let log_msg = limits.log_max_msg;
        let ring = receives(log_msg).ok_or(EOPNOTSUPP)?;
        let signal = Signal::new(watcher)?;
        let uar = Uar::new(dev)?;
        let pd = Pd::new(dev)?;
        let cq = Cq::new(dev, &uar, ring, &signal)?;
        let buffers = Buffers::new(dev, &pd, ring, log_msg)?;
        let mut receiver = Qp::receiving(dev, &pd, &uar, &cq, ring)?;
        let mut sender = Qp::sending(dev, &pd, &uar)?;
        receiver.connect(sender.number(), &buffers)?;
        sender.connect(receiver.number(), &buffers)?;

        // Before the object: it may have failed before its number is known here.
        let qpns = [receiver.number().0, sender.number().0];
        let events = Events::new(dev, &signal, qpns)?;
        let create = object::Create {
            vhca_id,
            log_page_size: plan.log_page_size,
            log_msg_size: log_msg,
            log_addr_space_size: plan.log_addr_space_size,
            reporting_qpn: sender.number().0,
            ranges: &list,
        };
        let id = dev.exec(&create)?;
        events.object(id.0);
        Ok(Self {
            object: Object {
                dev: dev.clone(),
                id,
            },
            _events: events,
            _sender: sender,
            receiver,
            buffers,
            cq,
            _pd: pd,
            uar,
            signal,
            granule,
            ranges: list,
        })
    }

    /// By it a reader is told to give up: when the device, the PF or the session goes away.
    pub(crate) fn signal(&self) -> Arc<Signal> {
        self.signal.clone()
    }

    /// Dirt may be gone: nothing can be read any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.signal.check().is_err()
    }

    /// Records in `into` what is dirty among the `length` bytes from `iova` on, and makes it clean.
    /// The granules are read that these bytes touch, as far as they are tracked, and whatever the
    /// firmware reports is recorded. Allocates nothing.
    ///
    /// After an error all that arrived was recorded. If [`PageTracker::is_lost`] is true then, more
    /// may have become clean; else the rest is dirty still. `EINTR` if `into` says so.
    pub(crate) fn read(&mut self, iova: u64, length: u64, into: &mut dyn Dirty) -> Result {
        let asked = Range::new(iova, length).map_err(|_| EINVAL)?;
        let asked = asked.aligned_out(self.granule);
        let mut reported = false;
        let mut at = 0;
        while let Some(range) = self.ranges.get(at).copied() {
            if let Some(part) = range.intersect(asked) {
                if reported && into.interrupted() {
                    return Err(EINTR);
                }
                self.report(part, &mut |iova, length| into.record(iova, length))?;
                reported = true;
            }
            at = at.checked_add(1).ok_or(EIO)?;
        }
        Ok(())
    }

    /// One report, of a part of a range that is tracked.
    fn report(&mut self, part: Range, record: &mut dyn FnMut(u64, u64)) -> Result {
        self.look()?;
        let report = object::Report {
            id: self.object.id,
            range: part,
        };
        self.object.dev.exec(&report).map_err(|failure| {
            if failure.is_refusal() {
                // Nothing has become clean, if it goes on to track. It is lost if not.
                let _ = self.query();
            } else if !failure.is_unsent() {
                self.signal.fail(EIO);
            }
            Error::from(failure)
        })?;

        let mut reading = Reading::new(part, self.granule, self.buffers.len());
        let mut runs = Runs::new(self.granule);
        let result = self.receive(&mut reading, &mut runs, record);
        runs.end(record);
        if let Err(e) = result {
            // The rest of it would be taken for the next report.
            self.signal.fail(e);
        }
        result
    }

    /// The messages of a report, until the last.
    fn receive(
        &mut self,
        reading: &mut Reading,
        runs: &mut Runs,
        record: &mut dyn FnMut(u64, u64),
    ) -> Result {
        loop {
            let entry = self.next()?;
            let receive = cqe::decode(&entry).map_err(|failed| {
                pr_err!("A page tracker's completion queue tells of {failed:?}\n");
                EIO
            })?;
            let (next, slot) = self.receiver.slots(receive.wqe_counter).ok_or(EIO)?;
            let message = reading.message(&receive, slot, next).map_err(|broken| {
                if broken != Broken::Failed {
                    pr_err!("A page tracker's report is broken ({broken:?}): {receive:?}\n");
                }
                EIO
            })?;
            self.buffers.entries(slot, message.entries, |entry| {
                runs.add(address(entry), record)
            });
            self.cq.release();
            self.receiver.post();
            if message.last {
                return Ok(());
            }
            kernel::task::might_sleep();
        }
    }

    /// The next entry of the completion queue, waited for if it is not there.
    fn next(&mut self) -> Result<[u8; CQE_LEN]> {
        let begin = Instant::<Monotonic>::now();
        let timeout = i64::from(crate::report_timeout_ms());
        loop {
            if let Some(entry) = self.cq.poll() {
                return Ok(entry);
            }
            self.cq.arm(&self.uar);
            if let Some(entry) = self.cq.poll() {
                return Ok(entry);
            }
            self.look()?;
            // Also if it is woken again and again for nothing, it ends.
            let left = timeout.saturating_sub(begin.elapsed().as_millis());
            match u32::try_from(left) {
                Ok(left @ 1..) => self.signal.wait(jiffies(left)),
                // The interrupt may have got lost, what it was for has not.
                _ => return self.cq.poll().ok_or(ETIMEDOUT),
            }
        }
    }

    /// Is the tracker well, for all that is known? What its events say is looked into.
    pub(crate) fn look(&self) -> Result {
        self.signal.check()?;
        if !self.signal.take_changed() {
            return Ok(());
        }
        self.query()
    }

    /// Asks the firmware whether the tracker is well.
    fn query(&self) -> Result {
        // That it reports no more does not end a report: its messages may still be on their way.
        match self.object.dev.exec(&object::Query(self.object.id)) {
            Ok(State::Tracking | State::Reporting) => Ok(()),
            Ok(State::Error | State::Unknown) => {
                self.signal.fail(EIO);
                Err(EIO)
            }
            Err(failure) => {
                let error = Error::from(failure);
                self.signal.fail(error);
                Err(error)
            }
        }
    }
}
