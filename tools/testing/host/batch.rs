// SPDX-License-Identifier: GPL-2.0

//! Tests of `logic/batch.rs`.

use iommufd_dirty_logic::{
    logic::{
        batch::Batch,
        bits::{
            one_word,
            USER_PAGE, //
        },
        range::Range,
        range_set::RangeSet,
        window::{
            Request,
            Window, //
        }, //
    },
    mem::{
        fail,
        Fail, //
    },
};

const PAGE: u64 = 4096;

/// `count` pages from page `first` on, whose bits are in page `user_page` from bit `bit` on.
fn window(first: u64, count: u64, user_page: u64, bit: u64) -> Window {
    let range = Range::new(first * PAGE, count * PAGE).unwrap();
    let request = Request::new(range, PAGE, user_page * USER_PAGE, bit).unwrap();
    request.windows(0, 1).next().unwrap()
}

fn everything() -> RangeSet {
    RangeSet::of(vec![Range::new(0, 1 << 40).unwrap()]).unwrap()
}

#[test]
fn only_what_is_above_belongs_to_it() {
    let tracked = everything();
    let mut batch = Batch::new();

    assert_eq!(batch.hull(), None);
    assert!(batch.takes(&window(10, 2, 7, 0), &tracked, 0));
    assert!(batch.push(window(10, 2, 7, 0), 0, 0, &tracked));
    for below in [0, 9, 10, 11] {
        assert!(!batch.takes(&window(below, 1, 7, 100), &tracked, u64::MAX));
    }
    assert!(batch.takes(&window(12, 1, 7, 100), &tracked, 0));
    batch.clear();
    assert!(batch.takes(&window(0, 1, 7, 0), &tracked, 0));
}

#[test]
fn what_is_read_in_vain_is_bounded() {
    let tracked = everything();
    let mut batch = Batch::new();

    batch.push(window(0, 1, 7, 0), 0, 0, &tracked);
    assert!(batch.takes(&window(11, 1, 7, 1), &tracked, 10 * PAGE));
    assert!(!batch.takes(&window(11, 1, 7, 1), &tracked, 10 * PAGE - 1));
    // All gaps together.
    batch.push(window(11, 1, 7, 1), 1, 0, &tracked);
    assert!(batch.takes(&window(17, 1, 7, 2), &tracked, 15 * PAGE));
    assert!(!batch.takes(&window(17, 1, 7, 2), &tracked, 15 * PAGE - 1));
    // What is not tracked is not read.
    assert!(batch.takes(&window(1 << 30, 1, 7, 2), &RangeSet::new(), 10 * PAGE));
}

#[test]
fn bits_are_counted_from_the_first_pinned_page() {
    let tracked = everything();
    let mut batch = Batch::new();

    batch.push(window(0, 4, 7, 5), 0, 0, &tracked);
    batch.push(window(8, 4, 9, 6), 1, 3, &tracked);
    let dirty = Range::new(9 * PAGE, PAGE).unwrap();
    let [first, second] = batch.slots() else {
        panic!("two windows")
    };
    assert_eq!(first.bits(dirty), None);
    let bits = second.bits(dirty).unwrap();
    assert_eq!((bits.first, bits.count), (3 * USER_PAGE * 8 + 6 + 1, 1));
    assert_eq!(batch.hull(), Range::new(0, 12 * PAGE).ok());
    assert_eq!(
        [0, 3, 4, 7, 8, 11, 12].map(|page| batch.seek(page * PAGE)),
        [0, 0, 1, 1, 1, 1, 2]
    );
}

#[test]
fn a_locator_finds_the_same_bits() {
    let tracked = everything();
    let mut batch = Batch::new();

    batch.push(window(0, 4, 7, 5), 0, 0, &tracked);
    batch.push(window(8, 40, 9, 61), 1, 3, &tracked);
    for slot in batch.slots() {
        let range = slot.window.range;
        let addresses = (range.first()..=range.last()).step_by(PAGE as usize / 2);
        for first in addresses.clone() {
            for last in addresses.clone().filter(|last| *last >= first) {
                let inside = Range::inclusive(first, last).unwrap();
                let bits = slot.bits(inside).unwrap();
                let ends = (bits.first, bits.first + bits.count - 1);
                assert_eq!(slot.locator().ends(inside), ends);
                assert_eq!(one_word(ends.0, ends.1), bits.in_one_word());
            }
        }
    }
}

#[test]
fn without_memory_it_ends_early() {
    let tracked = everything();
    let mut batch = Batch::new();

    fail(Fail::From(0));
    assert!(!batch.push(window(0, 1, 7, 0), 0, 0, &tracked));
    assert!(fail(Fail::Never) > 0);
    assert_eq!(batch.hull(), None);
    assert!(batch.push(window(0, 1, 7, 0), 0, 0, &tracked));
}
