// SPDX-License-Identifier: GPL-2.0

//! `tree.rs` and `tracked.rs` of `iommufd-dirty-vfio` against sets of page numbers.

use crate::common::cases;
use iommufd_dirty_logic::{
    cells::{
        in_the_middle,
        looks,
        Box, //
    },
    tracked::Tracked,
    tree::{
        Room,
        Run,
        Then,
        Tree,
        LAST_PAGE, //
    }, //
};
use proptest::prelude::*;
use std::{
    cell::RefCell,
    collections::BTreeSet,
    rc::Rc,
    sync::{
        atomic::{
            AtomicBool,
            AtomicUsize,
            Ordering, //
        },
        Mutex, //
    },
    thread, //
};

/// Memory for so many more allocations.
struct Left(AtomicUsize);

impl Left {
    fn new(left: usize) -> Self {
        Self(AtomicUsize::new(left))
    }

    fn plenty() -> Self {
        Self::new(usize::MAX)
    }
}

impl Room for Left {
    fn allocate<T>(&self, value: T) -> Option<Box<T>> {
        self.0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .ok()
            .map(|_| Box::new(value))
    }

    fn give_back<T>(&self, _unused: Box<T>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The runs that a read finds.
fn runs(tree: &Tree, first: u64, last: u64, then: Then) -> Vec<Run> {
    let mut runs = Vec::new();
    tree.read(first, last, then, |run| runs.push(run));
    runs
}

fn has(run: &Run, page: u64) -> bool {
    (run.first..=run.last).contains(&page)
}

/// The pages that a read finds with memory enough: in ascending runs that do not touch, and sure.
fn pages(tree: &Tree, first: u64, last: u64, then: Then) -> BTreeSet<u64> {
    let runs = runs(tree, first, last, then);
    for pair in runs.windows(2) {
        assert!(pair[0].last + 1 < pair[1].first, "{runs:?}");
    }
    assert!(runs.iter().all(|run| run.sure), "{runs:?}");
    runs.iter().flat_map(|run| run.first..=run.last).collect()
}

#[derive(Debug, Clone)]
enum Do {
    Mark(u64, u64),
    Read(u64, u64, Then),
    Forget(u64, u64),
}

/// Pages in a window of 2^20 around a place where nodes of all levels end.
fn page(base: u64) -> impl Strategy<Value = u64> {
    let near = (0..4_u32).prop_flat_map(|level| {
        let size = 1_i64 << (6 * level);
        (Just(size), -3..=3_i64).prop_map(|(size, off)| (1 << 19) + size + off)
    });
    prop_oneof![2 => near, 1 => 0..1_i64 << 20].prop_map(move |page| base + page as u64)
}

fn actions(base: u64) -> impl Strategy<Value = Vec<Do>> {
    let length = prop_oneof![4 => 0..4_u64, 2 => 0..200_u64, 1 => 0..10_000_u64];
    let read = (page(base), page(base), any::<bool>()).prop_map(|(a, b, keep)| {
        let then = if keep { Then::Keep } else { Then::Clear };
        Do::Read(a.min(b), a.max(b), then)
    });
    let mark = (page(base), length).prop_map(|(first, more)| Do::Mark(first, first + more));
    let forget = (page(base), page(base)).prop_map(|(a, b)| Do::Forget(a.min(b), a.max(b)));
    prop::collection::vec(prop_oneof![4 => mark, 2 => read, 1 => forget], 1..40)
}

fn bases() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(LAST_PAGE - (1 << 20) - 10_000),
        Just((1 << 36) - (1 << 19)),
        Just((1 << 48) - (1 << 19)),
    ]
}

proptest! {
    #![proptest_config(cases(400))]

    /// With memory enough the tree is the set, whatever is marked and read in whatever order.
    #[test]
    fn is_the_set(todo in bases().prop_flat_map(actions)) {
        let (tree, room) = (Tree::new(), Left::plenty());
        let mut set = BTreeSet::new();
        for action in todo {
            match action {
                Do::Mark(first, last) => {
                    tree.mark(first, last, &room);
                    set.extend(first..=last);
                }
                Do::Read(first, last, then) => {
                    let found = pages(&tree, first, last, then);
                    let wanted: BTreeSet<u64> = set.range(first..=last).copied().collect();
                    prop_assert_eq!(&found, &wanted);
                    if then == Then::Clear {
                        set.retain(|page| !wanted.contains(page));
                    }
                }
                Do::Forget(first, last) => {
                    tree.forget(first, last);
                    set.retain(|page| !(first..=last).contains(page));
                }
            }
        }
        prop_assert_eq!(pages(&tree, 0, u64::MAX, Then::Clear), set);
        prop_assert_eq!(runs(&tree, 0, u64::MAX, Then::Clear), []);
    }

    /// When memory ends nothing is forgotten, what is told is clean afterwards, and what may not
    /// have been marked is told as unsure: the others were.
    #[test]
    fn never_forgets(left in 0..12_usize, todo in bases().prop_flat_map(actions)) {
        let (tree, room) = (Tree::new(), Left::new(left));
        let mut set = BTreeSet::new();
        for action in todo {
            match action {
                Do::Mark(first, last) => {
                    tree.mark(first, last, &room);
                    set.extend(first..=last);
                }
                Do::Read(first, last, then) => {
                    let found = runs(&tree, first, last, then);
                    let told = |page: &u64| found.iter().any(|run| has(run, *page));
                    prop_assert!(set.range(first..=last).all(told));
                    let mut sure = found.iter().filter(|run| run.sure);
                    prop_assert!(sure.all(|run| (run.first..=run.last).all(|at| set.contains(&at))));
                    if then == Then::Clear {
                        set.retain(|page| !told(page));
                    }
                }
                Do::Forget(first, last) => {
                    tree.forget(first, last);
                    set.retain(|page| !(first..=last).contains(page));
                }
            }
        }
        let found = runs(&tree, 0, u64::MAX, Then::Clear);
        prop_assert!(set.iter().all(|page| found.iter().any(|run| has(run, *page))));
        prop_assert_eq!(runs(&tree, 0, u64::MAX, Then::Clear), []);
    }
}

#[test]
fn sure_and_unsure_are_not_joined() {
    // Memory for the way to one leaf, and for no other.
    let (tree, room) = (Tree::new(), Left::new(7));
    let run = |first, last, sure| Run { first, last, sure };
    tree.mark(4095, 4097, &room);
    let both = [run(4095, 4095, true), run(4096, 8191, false)];
    assert_eq!(runs(&tree, 0, u64::MAX, Then::Keep), both);

    // What is forgotten beside a page leaves it as it is, and all of it is forgotten in the end.
    tree.forget(4095, 8190);
    let rest = [run(4096, 8191, false)];
    assert_eq!(runs(&tree, 8191, 8191, Then::Keep), rest);
    tree.forget(4096, 8191);
    assert_eq!(runs(&tree, 0, u64::MAX, Then::Keep), []);
}

/// Pages of a TiB.
const TIB: u64 = 1 << 28;

#[test]
fn a_clean_terabyte_is_a_few_words() {
    let (tree, room) = (Tree::new(), Left::plenty());
    looks();
    assert_eq!(runs(&tree, 0, TIB - 1, Then::Clear), []);
    assert!(looks() < 10, "never written");

    // Something in each leaf, and then clean.
    for page in (0..TIB).step_by(4096) {
        tree.mark(page, page, &room);
    }
    assert_eq!(runs(&tree, 0, TIB - 1, Then::Clear).len(), 1 << 16);
    looks();
    assert_eq!(runs(&tree, 0, TIB - 1, Then::Clear), []);
    assert!(looks() < 10, "written and clean again");

    // Read piece by piece it gets clean as well.
    for page in (0..TIB).step_by(4096) {
        tree.mark(page, page, &room);
    }
    for page in (0..TIB).step_by(256) {
        runs(&tree, page, page + 255, Then::Clear);
    }
    looks();
    assert_eq!(runs(&tree, 0, TIB - 1, Then::Clear), []);
    assert!(looks() < 10, "read piece by piece");
}

#[test]
fn one_page_in_a_terabyte_is_found_without_a_scan() {
    let (tree, room) = (Tree::new(), Left::plenty());
    for page in (0..TIB).step_by(4096) {
        tree.mark(page, page, &room);
    }
    runs(&tree, 0, TIB - 1, Then::Clear);
    tree.mark(123_456_789, 123_456_789, &room);
    looks();
    let found = runs(&tree, 0, TIB - 1, Then::Clear);
    assert!(found.len() == 1 && found[0].first == 123_456_789 && found[0].last == 123_456_789);
    assert!(looks() < 300);
}

#[test]
fn the_whole_address_space() {
    let (tree, room) = (Tree::new(), Left::new(0));
    tree.mark(7, 7, &room);
    tree.mark(LAST_PAGE, u64::MAX, &room);
    let found = runs(&tree, 0, u64::MAX, Then::Clear);
    assert!(found[0].first == 0 && found.last().unwrap().last >= LAST_PAGE);
    tree.mark(u64::MAX, u64::MAX, &room);
    assert_eq!(runs(&tree, 0, u64::MAX, Then::Clear), []);
}

/// Threads mark different pages of the same words, leaves and nodes while one reads: each mark is
/// read once, or more often only if it was made again.
#[test]
fn marks_and_reads_race() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 20_000;
    let (tree, room) = (&Tree::new(), &Left::plenty());
    let done = &AtomicBool::new(false);
    let found = &Mutex::new(vec![0_u64; (THREADS * ROUNDS) as usize]);

    let read = || {
        let mut found = found.lock().unwrap();
        tree.read(0, LAST_PAGE, Then::Clear, |run| {
            for page in run.first..=run.last {
                // See place().
                let n = page / 977;
                assert_eq!(page % 977, 0);
                found[n as usize] += 1;
            }
        });
    };
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                read();
            }
        });
        let markers: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let place = (round * THREADS + thread) * 977;
                        tree.mark(place, place, room);
                    }
                })
            })
            .collect();
        for marker in markers {
            marker.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
        reader.join().unwrap();
    });
    read();
    assert!(found.lock().unwrap().iter().all(|times| *times == 1));
}

/// Whatever a mark and a read find each other at: a page is read that is marked in the middle of a
/// read, or read in the middle of being marked, then or the next time.
#[test]
fn a_mark_and_a_read_at_once() {
    const PAGE: u64 = 5000;
    // What is dirty before: nothing, the page, one of its word, leaf and node, one far away.
    for before in [
        None,
        Some(0),
        Some(1),
        Some(100),
        Some(10_000),
        Some(1 << 30),
    ] {
        for mark_in_read in [false, true] {
            for at in 0.. {
                let tree = Rc::new(Tree::new());
                let found = Rc::new(RefCell::new(BTreeSet::new()));
                if let Some(more) = before {
                    tree.mark(PAGE + more, PAGE + more, &Left::plenty());
                }
                let mark = {
                    let tree = tree.clone();
                    move || tree.mark(PAGE, PAGE, &Left::plenty())
                };
                let read = {
                    let (tree, found) = (tree.clone(), found.clone());
                    move || {
                        found
                            .borrow_mut()
                            .extend(pages(&tree, 0, LAST_PAGE, Then::Clear))
                    }
                };
                let met = if mark_in_read {
                    in_the_middle(at, mark, read.clone())
                } else {
                    in_the_middle(at, read.clone(), mark)
                };
                if !met {
                    assert!(at > 0);
                    break;
                }
                read();
                assert!(
                    found.borrow().contains(&PAGE),
                    "{before:?}, at {at}, a mark in a read: {mark_in_read}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(1000))]

    /// What is tracked is looked up as it was given.
    #[test]
    fn tracked(
        ranges in prop::collection::btree_set(0..60_u64, 0..12),
        first in 0..64_u64,
        more in 0..64_u64,
    ) {
        // Each two of them are a range.
        let ends: Vec<u64> = ranges.into_iter().collect();
        let ranges = || ends.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        let tracked = Tracked::new(ranges()).unwrap();
        prop_assert!(tracked.iter().eq(ranges()));

        let is_in = |page: u64| ranges().any(|range| (range.0..=range.1).contains(&page));
        let start = (first..=first + more).find(|page| is_in(*page));
        let part = tracked.first_in(first, first + more);
        prop_assert_eq!(part.map(|part| part.0), start);
        if let Some((low, high)) = part {
            prop_assert!(ranges().any(|range| range.0 <= low && (range.1.min(first + more)) == high));
        }
    }
}
