// SPDX-License-Identifier: GPL-2.0

//! Tests of `logic/extents.rs`: nothing is ever lost, and nothing is made up while there is memory.

use std::{
    alloc::{
        GlobalAlloc,
        Layout,
        System, //
    },
    cell::Cell,
    fs::read_to_string, //
};

use iommufd_dirty_logic::{
    logic::{
        extents::Extents,
        range::Range, //
    },
    mem::{
        fail,
        Fail, //
    },
};
use proptest::{
    collection::vec,
    prelude::*, //
};

use crate::common::{
    any_range,
    base,
    cases,
    shift,
    short,
    Model, //
};

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
}

/// Counts what this thread holds, to compare with what the residual says that it holds.
struct Counting;

// SAFETY: All is passed on to `System`; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.set(LIVE.get().wrapping_add(layout.size()));
        // SAFETY: The caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().wrapping_sub(layout.size()));
        // SAFETY: The caller's promises are those that `System` asks for.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Room for 4096 extents that do not touch: 16 blocks.
const SIZE: usize = 8192;

#[derive(Debug, Clone, Copy)]
enum Step {
    Insert(Range),
    Remove(Range),
    Take(Range),
    /// Single bytes, each so many after the last one: many extents, or many holes.
    InsertComb(Range, u64),
    RemoveComb(Range, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => short(SIZE).prop_map(Step::Insert),
        2 => short(SIZE).prop_map(Step::Remove),
        2 => short(SIZE).prop_map(Step::Take),
        3 => (short(SIZE), 2..20_u64).prop_map(|(range, each)| Step::InsertComb(range, each)),
        1 => (short(SIZE), 2..20_u64).prop_map(|(range, each)| Step::RemoveComb(range, each)),
        1 => (2..4_u64).prop_map(|each| Step::InsertComb(Range::new(0, 8192).unwrap(), each)),
    ];
    vec(step, 1..24)
}

/// Bytes of memory: for a few extents, or for a good part of a model full of them.
fn limits() -> impl Strategy<Value = usize> {
    prop_oneof![0..1000_usize, 0..80_000_usize]
}

/// Calls `f` with each byte of a comb.
fn comb(range: Range, each: u64, base: u64, mut f: impl FnMut(Range)) {
    for at in (range.first()..=range.last()).step_by(each as usize) {
        f(Range::new(base + at, 1).unwrap());
    }
}

/// Does a step to both; what was taken goes into `taken`.
fn step(set: &mut Extents, model: &mut Model, step: Step, taken: &mut Vec<Range>) {
    let base = model.base;
    match step {
        Step::Insert(range) => {
            set.insert(shift(range, base));
            model.set(shift(range, base), true);
        }
        Step::Remove(range) => {
            set.remove(shift(range, base));
            model.set(shift(range, base), false);
        }
        Step::Take(range) => {
            set.take(shift(range, base), |part| taken.push(part));
            model.set(shift(range, base), false);
        }
        Step::InsertComb(range, each) => comb(range, each, base, |byte| {
            set.insert(byte);
            model.set(byte, true);
        }),
        Step::RemoveComb(range, each) => comb(range, each, base, |byte| {
            set.remove(byte);
            model.set(byte, false);
        }),
    }
}

/// The extents of the set in `range`, in order.
fn listed(set: &Extents, range: Range) -> Vec<Range> {
    let mut extents = Vec::new();
    set.for_each_in(range, |extent| extents.push(extent));
    extents
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn is_exact_while_there_is_memory(base in base(SIZE), steps in steps(), probe in short(SIZE)) {
        let probe = shift(probe, base);
        let mut model = Model::new(base, SIZE);
        let mut set = Extents::new();
        for next in steps {
            let before = model.clone();
            let mut taken = Vec::new();
            step(&mut set, &mut model, next, &mut taken);
            if let Step::Take(range) = next {
                prop_assert_eq!(taken, before.runs(shift(range, base)));
            }

            // Equal to the runs: it ascends, and no two touch.
            let runs = model.runs(model.all());
            prop_assert_eq!(&listed(&set, model.all()), &runs);
            prop_assert_eq!(set.len(), runs.len());
            prop_assert_eq!(set.is_empty(), runs.is_empty());
            prop_assert_eq!(set.dirty_bytes(), model.count(model.all()) as u64);
            prop_assert_eq!(listed(&set, probe), model.runs(probe));
            prop_assert_eq!(set.first_in(probe), model.runs(probe).first().copied());
            prop_assert_eq!(set.overreported(), 0);
            if set.is_empty() {
                prop_assert_eq!(set.bytes(), 0);
            }
        }
    }

    #[test]
    fn never_loses_without_memory(
        base in base(SIZE),
        steps in steps(),
        n in 0..40_usize,
        forever in any::<bool>(),
        heals in 0..24_usize,
    ) {
        let mut model = Model::new(base, SIZE);
        let mut set = Extents::new();
        let mut failed = fail(if forever { Fail::From(n) } else { Fail::Nth(n) });
        let mut overreported = 0;
        for (at, next) in steps.into_iter().enumerate() {
            if at == heals {
                failed += fail(Fail::Never);
            }
            let before = model.clone();
            let mut taken = Vec::new();
            step(&mut set, &mut model, next, &mut taken);
            if let Step::Take(range) = next {
                let taken = Model::of(base, SIZE, taken);
                let range = shift(range, base);
                for run in before.runs(range) {
                    prop_assert_eq!(taken.count(run) as u64, run.length());
                }
                prop_assert_eq!(taken.count(taken.all()), taken.count(range));
            }

            // Built from what it lists: nothing is listed twice. It must still be in order.
            let extents = listed(&set, model.all());
            let got = Model::of(base, SIZE, extents.iter().copied());
            prop_assert_eq!(&got.runs(got.all()), &extents);
            prop_assert!(model.is_subset(&got), "lost");
            prop_assert_eq!(set.dirty_bytes(), got.count(got.all()) as u64);
            prop_assert_eq!(set.len(), extents.len());

            // Whatever was made up was counted.
            let extra = got.count(got.all()) - model.count(model.all());
            prop_assert!(extra as u64 <= set.overreported());
            prop_assert!(overreported <= set.overreported());
            overreported = set.overreported();
        }
        failed += fail(Fail::Never);
        prop_assert!(failed > 0 || overreported == 0);
    }

    #[test]
    fn keeps_to_its_limit(base in base(SIZE), steps in steps(), limit in limits()) {
        let mut model = Model::new(base, SIZE);
        let mut set = Extents::new();
        set.set_limit(limit);
        for next in steps {
            step(&mut set, &mut model, next, &mut Vec::new());
            prop_assert!(set.bytes() <= limit);
            let got = Model::of(base, SIZE, listed(&set, model.all()));
            prop_assert!(model.is_subset(&got), "lost");
            let extra = got.count(got.all()) - model.count(model.all());
            prop_assert!(extra as u64 <= set.overreported());
        }
    }

    #[test]
    fn tells_its_memory_truly(steps in steps(), n in 0..60_usize, limit in limits()) {
        let mut model = Model::new(0, SIZE);
        let live = LIVE.get();
        let mut set = Extents::new();
        set.set_limit(limit);
        fail(Fail::Nth(n));
        for next in &steps {
            step(&mut set, &mut model, *next, &mut Vec::new());
            prop_assert_eq!(LIVE.get().wrapping_sub(live), set.bytes());
        }
        fail(Fail::Never);
        let overreported = set.overreported();
        set.clear();
        prop_assert_eq!(LIVE.get(), live);
        prop_assert!(set.is_empty() && set.bytes() == 0 && set.dirty_bytes() == 0);
        prop_assert_eq!(set.first_in(model.all()), None);
        prop_assert_eq!(set.overreported(), overreported);
    }

    /// In the whole address space, where the model has no room: by the sum of the lengths.
    #[test]
    fn sums_up_at_any_address(ranges in vec((any::<bool>(), any_range()), 0..40)) {
        let all = Range::inclusive(0, u64::MAX).unwrap();
        let mut set = Extents::new();
        for (insert, range) in ranges {
            if insert {
                set.insert(range);
            } else {
                set.remove(range);
            }
            prop_assert_eq!(listed(&set, range), Vec::from_iter(insert.then_some(range)));
            let extents = listed(&set, all);
            let sum = extents.iter().map(|extent| u128::from(extent.last() - extent.first()) + 1);
            let sum = u64::try_from(sum.sum::<u128>()).unwrap_or(u64::MAX);
            prop_assert_eq!(set.dirty_bytes(), sum);
            prop_assert!(extents.windows(2).all(|two| !two[0].touches(two[1])));
        }
    }
}

fn byte(at: u64) -> Range {
    Range::new(at, 1).unwrap()
}

#[test]
fn one_extent_needs_no_memory() {
    fail(Fail::From(0));
    let mut set = Extents::new();
    set.insert(byte(7));
    set.insert(byte(8));
    assert_eq!(set.first_in(byte(8)), Some(byte(8)));
    assert_eq!((set.bytes(), set.overreported()), (0, 0));
    assert_eq!(fail(Fail::Never), 0);
}

#[test]
fn without_memory_the_gap_is_dirty_and_counted() {
    fail(Fail::From(0));
    let mut set = Extents::new();
    set.insert(byte(10));
    set.insert(byte(20));
    assert_eq!(set.overreported(), 9);
    // A hole in the middle cannot be kept.
    set.remove(byte(15));
    assert_eq!(set.overreported(), 10);
    assert_eq!(set.first_in(byte(15)), Some(byte(15)));
    // The ends can.
    set.remove(Range::new(0, 16).unwrap());
    assert_eq!(set.dirty_bytes(), 5);
    set.remove(byte(20));
    assert_eq!(set.dirty_bytes(), 4);
    // The hole was not even tried.
    assert_eq!(fail(Fail::Never), 1);
}

/// Each allocation that fails takes long.
#[test]
fn without_memory_it_is_seldom_tried() {
    fail(Fail::From(10));
    let mut set = Extents::new();
    for at in 0..60_000 {
        set.insert(byte(at * 2));
    }
    let failed = fail(Fail::Never);
    assert!((2..40).contains(&failed), "{failed}");
    // There is memory again, and it is found out.
    let short = set.len();
    for at in 60_000..120_000 {
        set.insert(byte(at * 2));
    }
    assert!(set.len() > short + 50_000);

    // The same without a single block.
    fail(Fail::From(0));
    let mut set = Extents::new();
    for at in 0..60_000 {
        set.insert(byte(at * 2));
    }
    let failed = fail(Fail::Never);
    assert!((2..40).contains(&failed), "{failed}");

    // What is freed can be had.
    let mut set = Extents::new();
    for at in 0..1000 {
        set.insert(byte(at * 2));
    }
    fail(Fail::From(0));
    for at in 1000..2000 {
        set.insert(byte(at * 2));
    }
    fail(Fail::Never);
    set.remove(Range::new(0, 1000).unwrap());
    let len = set.len();
    set.insert(byte(100));
    set.insert(byte(200));
    assert_eq!(set.len(), len + 2);
}

#[test]
fn without_memory_the_nearest_neighbour_grows() {
    let mut set = Extents::new();
    for at in [0, 100, 200, 300] {
        set.insert(byte(at));
    }
    fail(Fail::From(0));
    set.insert(byte(110));
    set.insert(byte(195));
    set.insert(byte(400));
    fail(Fail::Never);
    let dirty = listed(&set, Range::new(0, 1000).unwrap());
    assert_eq!(
        Vec::from_iter(dirty.iter().map(|r| (r.first(), r.last()))),
        [(0, 0), (100, 110), (195, 200), (300, 400)]
    );
    assert_eq!(set.overreported(), 9 + 4 + 99);
}

#[test]
fn the_neighbour_may_be_in_another_block() {
    let mut set = Extents::new();
    for at in 0..512 {
        set.insert(byte(at * 10));
    }
    // The place is before the first extent of the second block, the nearest is in the first.
    set.set_limit(0);
    set.insert(byte(2552));
    let near = Range::new(2545, 11).unwrap();
    assert_eq!(listed(&set, near), [Range::inclusive(2550, 2552).unwrap()]);
}

/// Ascending dirt, the common case, fills the memory that it takes.
#[test]
fn ascending_blocks_are_full() {
    let mut set = Extents::new();
    for at in 0..100_000 {
        set.insert(byte(at * 2));
    }
    assert_eq!(set.len(), 100_000);
    assert!(set.bytes() < 100_000 * 18, "{} bytes", set.bytes());
}

/// What is left of many extents takes memory for what is left.
#[test]
fn scattered_removals_free_memory() {
    let mut set = Extents::new();
    for at in 0..100_000 {
        set.insert(byte(at * 2));
    }
    for at in 0..100_000 {
        if at % 200 != 0 {
            set.remove(byte(at * 2));
        }
    }
    assert_eq!(set.len(), 500);
    assert!(set.bytes() < 48 * 1024, "{} bytes", set.bytes());
}

/// Ticks (100 a second) that this thread has run in user mode: unlike the time that passes, they
/// are the same on a busy machine.
fn user_ticks() -> u64 {
    let stat = read_to_string("/proc/thread-self/stat").unwrap();
    // Field 14 of proc_pid_stat(5); the name in field 2 may contain anything.
    let (_, from_third) = stat.rsplit_once(") ").unwrap();
    from_third.split(' ').nth(11).unwrap().parse().unwrap()
}

/// A million extents in an order that is the worst for one sorted array: minutes, if it were one.
#[test]
fn a_million_extents_are_no_matter() {
    const COUNT: u64 = 1 << 20;
    let start = user_ticks();
    let mut set = Extents::new();
    for at in 0..COUNT {
        // An odd factor permutes; the result jumps all over the space.
        set.insert(byte(at.wrapping_mul(0x9e37_79b1) % COUNT * 2));
    }
    assert_eq!(set.len(), COUNT as usize);
    assert_eq!(set.dirty_bytes(), COUNT);

    set.insert(Range::new(1, COUNT * 2 - 2).unwrap());
    assert_eq!(set.len(), 1);
    set.remove(Range::new(0, COUNT * 2).unwrap());
    assert!(set.is_empty());
    let ticks = user_ticks() - start;
    assert!(ticks < 3000, "{ticks} ticks");
}

#[test]
fn what_may_not_have_been_written_is_known() {
    let mut set = Extents::new();
    let at = |first, count| Range::new(first, count).unwrap();

    set.insert(at(0, 10));
    assert!(!set.is_unsure_in(at(0, 1000)));
    set.insert_unsure(at(100, 100));
    assert_eq!(set.overreported(), 100);
    assert!(!set.is_unsure_in(at(0, 100)));
    assert!(set.is_unsure_in(at(50, 51)));
    // Half of it is delivered.
    set.remove(at(0, 150));
    assert!(!set.is_unsure_in(at(0, 150)));
    assert!(set.is_unsure_in(at(150, 1)));
    set.remove(at(150, 50));
    set.insert(at(100, 100));
    assert!(!set.is_unsure_in(at(0, 1000)));
    // How much it was is remembered, where it was is not.
    assert_eq!(set.overreported(), 100);

    let mut other = Extents::new();
    other.insert_unsure(at(500, 8));
    set.absorb(&other);
    assert!(set.is_unsure_in(at(507, 1)));
    assert_eq!(set.overreported(), 108);
}
