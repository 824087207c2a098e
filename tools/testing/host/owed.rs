// SPDX-License-Identifier: GPL-2.0

//! Tests of `owed.rs` of `iommufd-dirty-vfio`: logs that share a source, against one set of bytes for
//! each log.

use crate::common::{
    base,
    cases,
    shift,
    short,
    Model, //
};
use iommufd_dirty_logic::{
    logic::{
        range::Range,
        range_set::RangeSet, //
    },
    mem::{
        fail,
        Fail, //
    },
    owed::{
        Logs,
        Reader, //
    }, //
};
use proptest::{
    collection::vec,
    prelude::*, //
};

/// Bytes in the model.
const SIZE: usize = 600;

/// Bytes of an entry of the source, which is dirty as a whole.
const ENTRY: u64 = 4;

const PLENTY: usize = 1 << 20;

#[derive(Debug, Clone)]
enum Step {
    /// A log of these ranges begins.
    Start(Vec<Range>),
    /// That of the logs that there are which has this number, modulo how many there are, ends.
    Stop(usize),
    /// A device writes.
    Write(Range),
    /// A log reports, and what is in the last range cannot be set.
    Report(usize, Range, Option<Range>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ranges = vec(short(SIZE), 1..4);
    let refused = proptest::option::weighted(0.3, short(SIZE));
    let step = prop_oneof![
        2 => ranges.prop_map(Step::Start),
        1 => (0..8_usize).prop_map(Step::Stop),
        8 => short(SIZE).prop_map(Step::Write),
        6 => (0..8_usize, short(SIZE), refused).prop_map(|(n, r, no)| Step::Report(n, r, no)),
    ];
    vec(step, 1..60)
}

/// What a log has to report.
struct Due {
    id: u32,
    tracked: Model,
    /// Not reported at all.
    must: Model,
    /// Not reported in a report that succeeded.
    may: Model,
}

struct World {
    base: u64,
    /// What the source has dirty: nothing in it is lost but by a read.
    source: Model,
    logs: Logs<()>,
    dues: Vec<Due>,
    limit: usize,
}

impl World {
    fn new(base: u64, limit: usize) -> Self {
        Self {
            base,
            source: Model::new(base, SIZE),
            logs: Logs::new(),
            dues: Vec::new(),
            limit,
        }
    }

    /// As the source does it: `f` is called with each entry that has a part in `range`, once.
    fn read(&mut self, range: Range, mut f: impl FnMut(&mut Logs<()>, Range)) {
        for run in self.source.runs(entries(range, self.base)) {
            self.source.set(run, false);
            f(&mut self.logs, run);
        }
    }

    fn start(&mut self, ranges: &[Range]) {
        let ranges = ranges.iter().map(|r| shift(*r, self.base)).collect();
        let tracked = RangeSet::of(ranges).unwrap();
        for range in tracked.as_slice() {
            self.read(*range, |logs, dirty| {
                logs.give(dirty, true, None, |_| panic!("nobody reports"));
            });
        }
        let model = Model::of(self.base, SIZE, tracked.as_slice().iter().copied());
        let id = self.logs.add(tracked, self.limit, ()).unwrap();
        self.dues.push(Due {
            id,
            tracked: model,
            must: Model::new(self.base, SIZE),
            may: Model::new(self.base, SIZE),
        });
    }

    fn stop(&mut self, n: usize) {
        let due = self.dues.remove(n);
        self.logs.remove(due.id);
    }

    fn write(&mut self, range: Range) {
        let dirty = entries(shift(range, self.base), self.base);
        self.source.set(dirty, true);
        for due in self.dues.iter_mut() {
            for part in due.tracked.runs(dirty) {
                due.must.set(part, true);
                due.may.set(part, true);
            }
        }
    }

    /// Returns what was set, and whether the report succeeded.
    fn report(&mut self, n: usize, range: Range, refused: Option<Range>) -> (Model, bool) {
        let wanted = shift(range, self.base);
        let refused = refused.map(|r| shift(r, self.base));
        let id = self.dues[n].id;
        let mut set = Model::new(self.base, SIZE);
        let mut next = Some(wanted.first());
        while let Some(part) = next.and_then(|from| self.logs.next_part(id, wanted, from)) {
            let reader = Reader { id, wanted: part };
            let mut take = |now: Range| {
                assert!(part.contains(&now), "{now:?} is not in {part:?}");
                let taken = refused.is_none_or(|no| no.intersect(now).is_none());
                if taken {
                    set.set(now, true);
                }
                taken
            };
            self.read(part, |logs, dirty| {
                logs.give(dirty, true, Some(reader), &mut take)
            });
            let paid = self
                .logs
                .pay(id, part, |now| if take(now) { Ok(()) } else { Err(()) });
            if paid.is_err() {
                return (set, false);
            }
            next = part.last().checked_add(1);
        }
        (set, true)
    }

    /// A report, compared with what is due. With `exact` nothing more may be set.
    fn check_report(&mut self, n: usize, range: Range, refused: Option<Range>, exact: bool) {
        let wanted = shift(range, self.base);
        let (set, done) = self.report(n, range, refused);
        let due = &mut self.dues[n];
        for run in set.runs(wanted) {
            if exact {
                assert_eq!(
                    due.may.count(run),
                    run.length() as usize,
                    "{run:?} was not due"
                );
            }
            assert_eq!(due.tracked.count(run), run.length() as usize, "{run:?}");
        }
        assert!(set.is_subset(&due.tracked));
        if done {
            for run in due.must.runs(wanted) {
                assert_eq!(set.count(run), run.length() as usize, "{run:?} is lost");
            }
            due.may.set(wanted, false);
        }
        for run in set.runs(wanted) {
            due.must.set(run, false);
        }
        if done {
            due.must.set(wanted, false);
        }
    }

    fn step(&mut self, step: &Step, exact: bool) {
        let nr = self.dues.len();
        match step {
            Step::Start(ranges) => self.start(ranges),
            Step::Stop(n) if nr > 0 => self.stop(n % nr),
            Step::Write(range) => self.write(*range),
            Step::Report(n, range, refused) if nr > 0 => {
                self.check_report(n % nr, *range, *refused, exact);
            }
            _ => (),
        }
    }

    /// Each log reports all, and nothing is due then.
    fn finish(&mut self, exact: bool) {
        let all = Range::inclusive(0, SIZE as u64 - 1).unwrap();
        for n in 0..self.dues.len() {
            self.check_report(n, all, None, exact);
        }
        for n in 0..self.dues.len() {
            let (set, done) = self.report(n, all, None);
            assert!(done);
            assert_eq!(set.count(set.all()), 0, "reported twice");
        }
        // What a log does not track takes no memory.
        assert!(self.logs.iter().all(|log| log.owed().is_empty()));
    }
}

/// `range` grown to whole entries, which are counted from `base`.
fn entries(range: Range, base: u64) -> Range {
    let first = (range.first() - base) / ENTRY * ENTRY;
    let last = (range.last() - base) / ENTRY * ENTRY + (ENTRY - 1);
    shift(Range::inclusive(first, last).unwrap(), base)
}

proptest! {
    #![proptest_config(cases(512))]

    /// Each log reports what was written since it began, of what it tracks: exactly that, and once.
    #[test]
    fn owed_each_log_gets_all_and_no_more(base in base(SIZE), steps in steps()) {
        let mut world = World::new(base, PLENTY);
        for step in &steps {
            world.step(step, true);
        }
        world.finish(true);
    }

    /// With memory for little, or none at times, too much may be reported. Nothing is lost.
    #[test]
    fn owed_is_not_lost_without_memory(
        base in base(SIZE),
        limit in 0..2000_usize,
        nth in 0..40_usize,
        steps in steps(),
    ) {
        let mut world = World::new(base, limit);
        for step in &steps {
            if !matches!(step, Step::Start(_)) {
                fail(Fail::From(nth));
            }
            world.step(step, false);
            fail(Fail::Never);
        }
        let all = Range::inclusive(0, SIZE as u64 - 1).unwrap();
        for n in 0..world.dues.len() {
            world.check_report(n, all, None, false);
        }
    }
}

/// What is not sure is counted with each log that is owed it.
#[test]
fn owed_counts_what_is_unsure() {
    let range = Range::new(0, 100).unwrap();
    let mut logs = Logs::new();
    let tracked = RangeSet::of(vec![range]).unwrap();
    let reader = logs.add(tracked.try_clone().unwrap(), PLENTY, ()).unwrap();
    logs.add(tracked, PLENTY, ()).unwrap();
    let reader = Reader {
        id: reader,
        wanted: range,
    };
    logs.give(range, false, Some(reader), |_| true);
    let unsure: Vec<u64> = logs.iter().map(|log| log.owed().overreported()).collect();
    assert_eq!(unsure, [0, 100]);
}
