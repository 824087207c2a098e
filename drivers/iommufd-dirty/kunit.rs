// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of what needs the kernel: its memory, its workqueues, registration.

use kernel::prelude::*;

#[kunit_tests(iommufd_dirty)]
mod tests {
    use super::*;
    use crate::{
        abi::worker::{
            side_by_side,
            Worker, //
        },
        logic::{
            extents::Extents,
            range::{
                Range,
                ALL, //
            },
            range_set::RangeSet, //
        },
        patience::{
            Allowance,
            Patience, //
        },
        sink::{
            Sink,
            Target, //
        }, //
    };
    use kernel::{
        sync::atomic::{
            Atomic,
            Relaxed, //
        },
        time::{
            delay::fsleep,
            Delta, //
        }, //
    };

    const PAGE: u64 = 4096;

    fn pages(first: u64, count: u64) -> Range {
        Range::inclusive(first * PAGE, (first + count) * PAGE - 1).unwrap_or(ALL)
    }

    /// Sum of all bytes that are dirty in `extents` within `range`.
    fn bytes_in(extents: &Extents, range: Range) -> u64 {
        let mut sum = 0;
        extents.for_each_in(range, |dirty| sum += dirty.length());
        sum
    }

    #[test]
    fn residual_over_reports_at_its_limit() {
        let mut residual = Extents::new();
        residual.set_limit(64 << 10);
        for at in 0..100_000 {
            residual.insert(pages(2 * at, 1));
        }
        assert!(residual.bytes() <= 64 << 10);
        assert!(residual.overreported() > 0);
        for at in 0..100_000 {
            assert_eq!(bytes_in(&residual, pages(2 * at, 1)), PAGE);
        }
        residual.remove(ALL);
        assert_eq!(residual.bytes(), 0);
    }

    /// Records what a tracker of 16-page blocks finds when pages 4 to 7 are read: what goes to the
    /// residual, to what is harvested, and to the scratch.
    fn record(into: Target<'_>, clears: bool) -> Result<[Extents; 3]> {
        let mut tracked = RangeSet::new();
        tracked.add(pages(0, 10))?;
        let mut residual = Extents::new();
        let mut harvested = Extents::new();
        let mut scratch = Extents::new();
        let caller = kernel::current!();
        let patience = Patience::new(caller, Allowance::new());
        let mut sink = Sink::new(
            into,
            &patience,
            &tracked,
            clears.then_some(&mut residual),
            &mut harvested,
            &mut scratch,
        );
        sink.record(0, 8 * PAGE);
        sink.record(8 * PAGE, 8 * PAGE);
        sink.record(0, 0);
        assert_eq!(sink.counts.extents, 2);
        assert_eq!(sink.counts.bytes, 4 * PAGE);
        assert_eq!(sink.counts.unsure, 0);
        sink.record_unsure(5 * PAGE, 4 * PAGE);
        let unsure = sink.counts.unsure;
        if let Target::Scratch(_) = into {
            assert_eq!(unsure, 3 * PAGE);
        } else {
            // It is known where it is held.
            assert_eq!(unsure, 0);
            assert!(residual.is_unsure_in(pages(8, 1)));
        }
        Ok([residual, harvested, scratch])
    }

    #[test]
    fn sink_keeps_what_lies_outside_of_the_request() -> Result {
        let part = pages(4, 4);
        // Pages 10 to 15 are not tracked.
        let [residual, harvested, scratch] = record(Target::Harvest(part), true)?;
        assert_eq!(bytes_in(&residual, ALL), 6 * PAGE);
        assert_eq!(bytes_in(&residual, part), 0);
        assert_eq!(bytes_in(&harvested, ALL), 4 * PAGE);
        assert!(scratch.is_empty());

        let [residual, harvested, _] = record(Target::Residual(part), true)?;
        assert_eq!(bytes_in(&residual, ALL), 10 * PAGE);
        assert!(harvested.is_empty());

        let [residual, _, scratch] = record(Target::Scratch(part), false)?;
        assert!(residual.is_empty());
        assert_eq!(bytes_in(&scratch, ALL), 4 * PAGE);
        Ok(())
    }

    #[test]
    fn workers_wait_at_the_same_time() -> Result {
        /// Calls, calls under way, and the most of these.
        type Counts = (Atomic<u32>, Atomic<u32>, Atomic<u32>);

        let mut workers = KVec::new();
        for at in 0..5 {
            let worker = if at == 2 { None } else { Some(Worker::new()?) };
            workers.push(worker, GFP_KERNEL)?;
        }
        let mut items = [0u32; 6];
        let mut results = [0u32; 6];
        let counts: Counts = (Atomic::new(0), Atomic::new(0), Atomic::new(0));
        side_by_side(
            &mut items,
            &mut results,
            &mut workers,
            &counts,
            |_, _| true,
            |item, (calls, under_way, most): &Counts| {
                let now = under_way.fetch_add(1, Relaxed) + 1;
                if now > most.load(Relaxed) {
                    most.store(now, Relaxed);
                }
                fsleep(Delta::from_millis(100));
                under_way.fetch_sub(1, Relaxed);
                *item += 1;
                calls.fetch_add(1, Relaxed);
                7
            },
            false,
            |rest| {
                for at in 0..rest.count() {
                    if let Some((item, result)) = rest.get(at) {
                        *item += 1;
                        *result = 8;
                    }
                }
            },
        );
        // Two of the six have no worker.
        assert_eq!(counts.0.load(Relaxed), 4);
        assert_eq!(items, [1; 6]);
        assert_eq!(results, [7, 7, 8, 7, 7, 8]);
        assert!(counts.2.load(Relaxed) >= 2);
        assert!(counts.2.load(Relaxed) <= 4);
        Ok(())
    }

    #[test]
    fn items_that_are_not_wanted_are_left_alone() -> Result {
        let mut workers = KVec::new();
        for _ in 0..4 {
            workers.push(Some(Worker::new()?), GFP_KERNEL)?;
        }
        for mask in 0..16u32 {
            let mut items = [0, 1, 2, 3];
            let mut results = [9; 4];
            side_by_side(
                &mut items,
                &mut results,
                &mut workers,
                &mask,
                |at, mask| mask & (1 << at) != 0,
                |at, _| *at,
                true,
                |_| (),
            );
            for (at, result) in results.into_iter().enumerate() {
                let wanted = mask & (1 << at) != 0;
                assert_eq!(result, if wanted { at as u32 } else { 9 });
            }
        }
        Ok(())
    }
}

#[kunit_tests(iommufd_dirty_registration)]
mod registration {
    use super::*;
    use crate::abi::{
        bindings::IOMMUFD_DIRTY_KIND_DEVICE,
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
        tracker_of,
        worker::{
            side_by_side,
            Worker, //
        }, //
    };
    use kernel::{
        str::CString,
        sync::{
            atomic::{
                Atomic,
                Relaxed, //
            },
            new_mutex,
            Arc,
            Mutex, //
        },
        time::{
            delay::fsleep,
            Delta, //
        }, //
    };

    /// What the ops have seen.
    struct Seen {
        stops: Atomic<u32>,
        in_query: Atomic<u32>,
        queried: Atomic<u32>,
    }

    fn nothing_seen() -> Result<Arc<Seen>> {
        let seen = Seen {
            stops: Atomic::new(0),
            in_query: Atomic::new(0),
            queried: Atomic::new(0),
        };
        Ok(Arc::new(seen, GFP_KERNEL)?)
    }

    struct Fake(Arc<Seen>);

    #[vtable]
    impl Operations for Fake {
        fn query(&self, _granule: u64, _ranges: &[DirtyRange]) -> Result<u64> {
            self.0.in_query.fetch_add(1, Relaxed);
            fsleep(Delta::from_millis(50));
            self.0.queried.fetch_add(1, Relaxed);
            Ok(7)
        }

        fn start(&self, _granule: u64, _ranges: &[DirtyRange]) -> Result<Started> {
            Ok(Started::Tracking)
        }

        fn stop(&self) -> Result {
            self.0.stops.fetch_add(1, Relaxed);
            Ok(())
        }

        fn read_and_clear(
            &self,
            _iova: u64,
            _length: u64,
            _flags: ReadFlags,
            _sink: &mut Sink<'_>,
        ) -> Result<Coverage> {
            Ok(Coverage::Whole)
        }
    }

    fn register(pgsizes: u64, seen: &Arc<Seen>) -> Result<Pin<KBox<Registration<Fake>>>> {
        let what = Description {
            name: CString::try_from_fmt(fmt!("kunit"))?,
            kind: Kind::Device,
            waits: false,
            unmap_drops: false,
            pgsizes,
            max_ranges: 0,
            min_span: 0,
            max_span: 0,
            space: 0,
        };
        KBox::try_pin_init(Registration::new(what, Fake(seen.clone())), GFP_KERNEL)
    }

    #[test]
    fn granules_are_checked() -> Result {
        let seen = nothing_seen()?;
        for bad in [0, 1, 2048, 4096 | 512, 1 << 60, 1 << 63] {
            assert!(register(bad, &seen).is_err());
        }
        for good in [4096, 1 << 59, 4096 | (1 << 21)] {
            let tracker = register(good, &seen)?;
            assert_eq!(tracker_of(&tracker).properties.limits.pgsizes, good);
            assert_eq!(
                tracker_of(&tracker).properties.kind,
                IOMMUFD_DIRTY_KIND_DEVICE
            );
        }
        Ok(())
    }

    #[test]
    fn unregister_stops_and_shuts_down() -> Result {
        let seen = nothing_seen()?;
        let registration = register(4096, &seen)?;
        let tracker = tracker_of(&registration);
        tracker.source.start(4096, &[])?;
        drop(registration);
        assert_eq!(seen.stops.load(Relaxed), 1);
        assert!(tracker.source.is_gone());
        assert_eq!(tracker.source.query(4096, &[]), Err(ESHUTDOWN));
        // It is stopped already.
        assert_eq!(tracker.source.stop(), Ok(()));
        assert_eq!(seen.stops.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn unregister_waits_for_calls() -> Result {
        let seen = nothing_seen()?;
        let registration = register(4096, &seen)?;
        let tracker = tracker_of(&registration);
        let slot = Arc::pin_init(new_mutex!(Some(registration)), GFP_KERNEL)?;
        let mut workers = KVec::new();
        for _ in 0..2 {
            workers.push(Some(Worker::new()?), GFP_KERNEL)?;
        }
        let param = (tracker, slot, seen);
        type Param = (
            Arc<crate::tracker::Tracker>,
            Arc<Mutex<Option<Pin<KBox<Registration<Fake>>>>>>,
            Arc<Seen>,
        );
        let mut items = [0, 1];
        // What each has seen at its end.
        let mut ends = [Ok(0), Ok(0)];
        side_by_side(
            &mut items,
            &mut ends,
            &mut workers,
            &param,
            |_, _| true,
            |who, (tracker, slot, seen): &Param| {
                if *who == 0 {
                    return tracker.source.query(4096, &[]);
                }
                for _ in 0..1000 {
                    if seen.in_query.load(Relaxed) != 0 {
                        break;
                    }
                    fsleep(Delta::from_millis(1));
                }
                let registration = slot.lock().take();
                drop(registration);
                Ok(u64::from(seen.queried.load(Relaxed)))
            },
            true,
            |_| (),
        );
        assert_eq!(ends[0], Ok(7));
        // The call was through when unregister returned.
        assert_eq!(ends[1], Ok(1));
        Ok(())
    }
}
