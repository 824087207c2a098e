// SPDX-License-Identifier: GPL-2.0

//! Reading one tracker of a context.

use crate::{
    abi::{
        bindings::*,
        trace, //
    },
    logic::{
        extents::Extents,
        range::Range, //
    },
    member::Member,
    outcome::Outcome,
    scan::Scan,
    sink::{
        Sink,
        Target, //
    }, //
};
use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// The longest piece that a tracker is asked for at once, so that a length in bytes is a `u64` also
/// when it is grown to granules.
pub(crate) const MAX_PIECE: u64 = 1 << 62;

impl Member {
    /// All that is asked for, at once.
    pub(crate) fn read_hull(&mut self, scan: &Scan<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(hull) = scan.into.hull() else {
            return outcome;
        };
        let mut left = scan.tracked.hull_within(hull);
        while let Some(range) = left {
            let last = range.first().saturating_add(MAX_PIECE - 1);
            let piece = Range::inclusive(range.first(), last.min(range.last()));
            let Some(piece) = piece else { break };
            // What lies between two ranges is no hole of the request.
            outcome.add(&self.read(piece, scan, scan.flags & !IOMMUFD_DIRTY_OP_STRICT));
            if outcome.interrupted || outcome.error.is_some() {
                break;
            }
            left = range.minus(piece).1;
        }
        outcome
    }

    /// Reads `piece`. What it found is where the scan wants it or, after an error, in the tracker,
    /// there, or in the residual.
    pub(crate) fn read(&mut self, piece: Range, scan: &Scan<'_>, flags: u32) -> Outcome {
        let mut outcome = Outcome::default();
        let result = match self.trouble() {
            Some(error) => Err(error),
            // A loss that was reported while it was read is one of this read: there may be no next.
            None => self
                .read_tracker(piece, scan, flags, &mut outcome)
                .and_then(|hole| self.lost().map_or(Ok(hole), Err)),
        };
        match result {
            Ok(false) => (),
            // What lies between two ranges is no hole of the request.
            Ok(true) if self.waits() && !scan.tracked.covers(&piece) => (),
            Ok(true) => outcome.status |= IOMMUFD_DIRTY_STATUS_HOLE,
            Err(EINTR) => outcome.interrupted = true,
            Err(ENXIO) if flags & IOMMUFD_DIRTY_OP_STRICT != 0 && self.trouble().is_none() => {
                outcome.status |= IOMMUFD_DIRTY_STATUS_HOLE;
                outcome.refused = true;
            }
            Err(e) => outcome.error = Some(errno_of(e)),
        }
        outcome
    }

    /// `true` if a part of `piece` is not mapped. What was recorded is counted in `outcome`, also
    /// if this fails.
    fn read_tracker(
        &mut self,
        piece: Range,
        scan: &Scan<'_>,
        flags: u32,
        outcome: &mut Outcome,
    ) -> Result<bool> {
        if !self.running {
            // Nothing to track.
            return Ok(false);
        }
        let Some(tracker) = self.tracker().cloned() else {
            return Err(EIO);
        };
        let peek = scan.keep && self.peeks();
        // A tracker that cannot be peeked at is read into the residual, which can.
        let into = if scan.keep && !peek {
            Target::Residual(piece)
        } else {
            scan.into
        };
        let _charge = scan.memcg.charge();
        let begin = Instant::<Monotonic>::now();
        let mut sink = Sink::new(
            into,
            &scan.patience,
            scan.tracked,
            (!peek).then_some(&mut self.residual),
            &mut self.harvested,
            &mut self.scratch,
        );
        let range = piece.aligned_out(self.granule);
        let result = tracker.source.read(range, flags, peek, &mut sink);
        sink.flush();
        let counts = sink.counts;
        outcome.fresh = counts.fresh;
        // Of what goes elsewhere it is counted how much is delivered.
        if matches!(into, Target::Bitmap(..)) {
            outcome.bytes = counts.bytes;
        }
        if counts.unsure != 0 {
            self.unsure = self.unsure.saturating_add(counts.unsure);
            outcome.status |= IOMMUFD_DIRTY_STATUS_OVERREPORTED;
        }
        let ns = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(0);
        let done = result.map(|_| ());
        self.stats.count(ns, counts.extents, done);
        trace::read(self.who, piece, counts.extents, ns, done);
        result
    }

    /// Its policy is ALL_DIRTY, and it cannot track: all that is asked for is dirty.
    pub(crate) fn mark(&mut self, scan: &Scan<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        let mut at = 0;
        while let Some(part) = scan.into.part(at) {
            for dirty in scan.tracked.within(part) {
                match scan.into {
                    Target::Bitmap(pages, batch) => {
                        let bits = batch.slots().get(at).and_then(|slot| slot.bits(dirty));
                        outcome.delivered(dirty, bits.map_or(0, |bits| pages.set(bits)));
                    }
                    Target::Residual(_) => self.residual.insert(dirty),
                    Target::Harvest(_) => self.harvested.insert(dirty),
                    Target::Scratch(_) => self.scratch.insert(dirty),
                }
            }
            at = at.saturating_add(1);
        }
        outcome
    }

    /// What it holds undelivered goes where the scan wants it.
    pub(crate) fn deliver(&mut self, scan: &Scan<'_>) -> Outcome {
        let mut outcome = deliver(&mut self.residual, scan);
        outcome.add(&deliver(&mut self.harvested, scan));
        outcome
    }
}

/// What `held` has of what is asked for goes where the scan wants it.
pub(crate) fn deliver(held: &mut Extents, scan: &Scan<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut at = 0;
    while let Some(part) = scan.into.part(at).filter(|_| !held.is_empty()) {
        if held.is_unsure_in(part) {
            outcome.status |= IOMMUFD_DIRTY_STATUS_OVERREPORTED;
        }
        if let Target::Bitmap(pages, batch) = scan.into {
            let slot = batch.slots().get(at);
            let set = |dirty: Range| {
                let bits = slot.and_then(|slot| slot.bits(dirty));
                outcome.delivered(dirty, bits.map_or(0, |bits| pages.set(bits)));
            };
            if scan.keep {
                held.for_each_in(part, set);
            } else {
                held.take(part, set);
            }
        }
        // Whoever had it put into a residual takes it from there.
        at = at.saturating_add(1);
    }
    outcome
}

/// What userspace gets for an error of a tracker: what means something to it, else `EIO`.
pub(crate) fn errno_of(error: Error) -> Error {
    if [ESHUTDOWN, EXDEV, ENOMEM].contains(&error) {
        error
    } else {
        EIO
    }
}
