// SPDX-License-Identifier: GPL-2.0

//! Tests of `logic/{window,bits,paged}.rs`: the right bit, in the right page, once.

use std::collections::BTreeSet;

use iommufd_dirty_logic::logic::{
    bits::{
        pages,
        words,
        Bits,
        Words,
        USER_PAGE, //
    },
    granule::valid_page_size,
    paged::{
        Grow,
        PageCounter, //
    },
    range::Range,
    window::{
        BadRequest,
        Request,
        Window, //
    },
};
use proptest::{
    collection::vec,
    prelude::*, //
};

use crate::common::{
    any_range,
    cases,
    edgy,
    page_size, //
};

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

/// A request, as userspace makes it.
#[derive(Debug, Clone, Copy)]
struct Asked {
    range: Range,
    page_size: u64,
    bitmap: u64,
    bit_offset: u64,
}

impl Asked {
    fn request(&self) -> Request {
        Request::new(self.range, self.page_size, self.bitmap, self.bit_offset).unwrap()
    }

    /// Pages in the range.
    fn pages(&self) -> u64 {
        (self.range.last() - self.range.first()) / self.page_size + 1
    }

    /// Where the bit of a page is: address of the byte, and bit in it. By the uAPI's words.
    fn bit(&self, page: u64) -> (u64, u64) {
        let bit = u128::from(self.bit_offset) + u128::from(page);
        let byte = u128::from(self.bitmap) + bit / 8;
        (u64::try_from(byte).unwrap(), (bit % 8) as u64)
    }

    /// The bytes of a page.
    fn bytes(&self, page: u64) -> Range {
        let first = self.range.first() + page * self.page_size;
        let last = first
            .saturating_add(self.page_size - 1)
            .min(self.range.last());
        Range::inclusive(first, last).unwrap()
    }
}

/// A request of at most `pages` pages, anywhere, with everything unaligned that can be.
fn asked(pages: u64) -> impl Strategy<Value = Asked> {
    let bitmap = prop_oneof![
        0..3 * USER_PAGE,
        any::<u64>().prop_map(|at| at >> 1),
        // Ends at, or short before, the top.
        (0..64_u64).prop_map(|below| u64::MAX - (1 << 18) - below),
    ];
    let bit_offset = prop_oneof![Just(0), 0..70_u64, 0..(1_u64 << 20)];

    (page_size(), 1..=pages, edgy(), edgy(), bitmap, bit_offset).prop_map(
        move |(page_size, pages, cut, iova, bitmap, bit_offset)| {
            let full = u128::from(page_size) * u128::from(pages);
            let length = full - u128::from(cut % page_size);
            let length = length.min(u128::from(u64::MAX)) as u64;
            Asked {
                range: Range::new(iova.min(u64::MAX - (length - 1)), length).unwrap(),
                page_size,
                bitmap,
                bit_offset,
            }
        },
    )
}

/// Disjoint ascending extents in and around a range, made from arbitrary numbers.
fn extents_around(range: Range, page_size: u64, seeds: &[(u64, u64)]) -> Vec<Range> {
    let low = range.first().saturating_sub(page_size.saturating_mul(2));
    let high = range.last().saturating_add(page_size.saturating_mul(2));
    let mut points = Vec::new();
    for (at, length) in seeds {
        let first = low + ((u128::from(*at) * (u128::from(high - low) + 1)) >> 64) as u64;
        let length = length % page_size.saturating_mul(3).max(1);
        points.push(Range::inclusive(first, first.saturating_add(length)).unwrap());
    }
    points.sort_by_key(|extent| extent.first());

    let mut extents = Vec::<Range>::new();
    for extent in points {
        if extents
            .last()
            .is_none_or(|last| last.last() < extent.first())
        {
            extents.push(extent);
        }
    }
    extents
}

/// The pages that have a byte in one of the extents, one by one.
fn pages_touched(asked: &Asked, extents: &[Range]) -> BTreeSet<u64> {
    (0..asked.pages())
        .filter(|page| {
            extents
                .iter()
                .any(|e| e.intersect(asked.bytes(*page)).is_some())
        })
        .collect()
}

fn seeds() -> impl Strategy<Value = Vec<(u64, u64)>> {
    vec((any::<u64>(), edgy()), 0..12)
}

/// Calls `f` with index and mask of each word.
fn each_word(bits: Bits, mut f: impl FnMut(usize, u64)) {
    words(bits, |words| match words {
        Words::Part(word, mask) => f(word, mask),
        Words::Whole(whole) => whole.for_each(|word| f(word, u64::MAX)),
    });
}

/// What pinned pages of a bitmap hold: address and number of each bit that is set.
fn paint(window: &Window, bits: Bits, memory: &mut BTreeSet<(u64, u64)>) {
    pages(bits, |page, bits| {
        assert!(page < window.pages, "beyond the pinned pages");
        each_word(bits, |word, mask| {
            assert!(word < 512, "beyond the page");
            for bit in (0..64).filter(|bit| (mask >> bit) & 1 != 0) {
                let byte = page as u64 * USER_PAGE + word as u64 * 8 + bit / 8;
                memory.insert((window.addr + byte, bit % 8));
            }
        });
    });
}

proptest! {
    #![proptest_config(cases(1024))]

    #[test]
    fn a_request_has_a_bit_for_each_page_or_overflows(
        range in any_range(),
        size in prop_oneof![3 => page_size(), 1 => edgy()],
        bitmap in edgy(),
        bit_offset in edgy(),
    ) {
        let expected = if !valid_page_size(size) {
            Err(BadRequest::PageSize)
        } else {
            let pages = (range.last() - range.first()) / size;
            let last_bit = u128::from(bit_offset) + u128::from(pages);
            let fits = last_bit < 1 << 64 && u128::from(bitmap) + last_bit / 8 < 1 << 64;
            if fits { Ok(()) } else { Err(BadRequest::Overflow) }
        };
        let got = Request::new(range, size, bitmap, bit_offset);
        prop_assert_eq!(got.map(|_| ()), expected);
    }

    /// The whole way of dirt into the user's memory, against the uAPI's formula.
    #[test]
    fn each_dirty_page_sets_its_bit_and_no_other(
        asked in asked(400),
        seeds in seeds(),
        max_pages in 0..3_usize,
    ) {
        let extents = extents_around(asked.range, asked.page_size, &seeds);
        let mut memory = BTreeSet::new();
        for window in asked.request().windows(0, max_pages) {
            for bits in extents.iter().filter_map(|extent| window.bits(*extent)) {
                paint(&window, bits, &mut memory);
            }
        }
        let expected = pages_touched(&asked, &extents).into_iter().map(|page| asked.bit(page));
        prop_assert_eq!(memory, expected.collect());
    }

    #[test]
    fn windows_tile_the_request(
        asked in asked(200_000),
        max_pages in 0..5_usize,
        start in prop_oneof![Just(0), 0..200_010_u64],
    ) {
        let request = asked.request();
        let mut page = start;
        // Userspace cannot say an offset that has no number.
        let Some(start_offset) = start.checked_mul(asked.page_size) else {
            return Ok(());
        };
        if start >= asked.pages() {
            prop_assert!(request.windows(start_offset, max_pages).next().is_none());
            return Ok(());
        }
        for window in request.windows(start_offset, max_pages) {
            prop_assert!((1..=max_pages.max(1)).contains(&window.pages));
            prop_assert_eq!(window.addr % USER_PAGE, 0);
            // It begins where the last one ended, and its bit is where the uAPI says.
            prop_assert_eq!(window.range.first(), asked.bytes(page).first());
            let (byte, bit) = asked.bit(page);
            prop_assert_eq!(window.addr + window.first_bit / 8, byte);
            prop_assert_eq!(window.first_bit % 8, bit);
            prop_assert!(window.first_bit < USER_PAGE * 8);
            // It ends with the last page pinned, or with the request.
            let all = window.bits(window.range).unwrap();
            prop_assert_eq!(all.first, window.first_bit);
            let end = all.first + all.count;
            prop_assert_eq!(end.div_ceil(USER_PAGE * 8), window.pages as u64);
            page += all.count;
            let last = asked.bytes(page - 1).last();
            prop_assert_eq!(window.range.last(), last);
            if last != asked.range.last() {
                prop_assert_eq!(window.pages, max_pages.max(1));
                prop_assert_eq!(end % (USER_PAGE * 8), 0);
            }
        }
        prop_assert_eq!(page, asked.pages());
    }

    /// A start within a page begins with that page: better twice than never.
    #[test]
    fn an_odd_start_takes_the_whole_page(asked in asked(1000), page in 0..1000_u64, odd in edgy()) {
        let page = page % asked.pages();
        let start = page * asked.page_size + odd % asked.page_size;
        let window = asked.request().windows(start, 1).next().unwrap();
        prop_assert_eq!(window.range.first(), asked.bytes(page).first());
    }

    /// Requests with more pages than can be looked at one by one, at both ends.
    #[test]
    fn huge_requests(
        range in any_range(),
        size in page_size(),
        bitmap in edgy(),
        offset in 0..70_u64,
    ) {
        let asked = Asked { range, page_size: size, bitmap: bitmap >> 1, bit_offset: offset };
        let request = asked.request();
        let last = asked.pages() - 1;
        for page in [0, last / 2, last.saturating_sub(40_000), last] {
            let windows = request.windows(page * size, 512).take(3);
            let mut next = page;
            for window in windows {
                let (byte, bit) = asked.bit(next);
                prop_assert_eq!(window.addr + window.first_bit / 8, byte);
                prop_assert_eq!(window.first_bit % 8, bit);
                prop_assert_eq!(window.range.first(), asked.bytes(next).first());
                next += window.bits(window.range).unwrap().count;
                prop_assert_eq!(window.range.last(), asked.bytes(next - 1).last());
            }
        }
    }

    #[test]
    fn bytes_are_those_of_the_bits(asked in asked(400), first in 0..500_u64, count in 0..500_u64) {
        let window = asked.request().windows(0, 1).next().unwrap();
        let all = window.bits(window.range).unwrap();
        let bits = Bits { first, count };
        let (from, to) = (first.max(all.first), (first + count).min(all.first + all.count));
        let expected = (from < to).then(|| {
            let (from, to) = (from - all.first, to - all.first);
            asked.bytes(from).hull(asked.bytes(to - 1))
        });
        prop_assert_eq!(window.bytes(bits), expected);
        if let Some(bytes) = expected {
            prop_assert_eq!(window.bits(bytes), Some(Bits { first: from, count: to - from }));
        }
    }

    #[test]
    fn words_are_the_bits(first in 0..400_u64, count in 0..400_u64) {
        let mut got = BTreeSet::new();
        let mut indices = Vec::new();
        each_word(Bits { first, count }, |word, mask| {
            indices.push(word);
            assert_ne!(mask, 0);
            let bits = (0..64).filter(|bit| (mask >> bit) & 1 != 0);
            got.extend(bits.map(|bit| word as u64 * 64 + bit));
        });
        prop_assert_eq!(got, (first..first + count).collect());
        prop_assert!(indices.windows(2).all(|two| two[0] + 1 == two[1]));
    }

    #[test]
    fn pages_are_the_bits(first in 0..100_000_u64, count in 0..100_000_u64) {
        let mut next = first;
        pages(Bits { first, count }, |page, bits| {
            assert_eq!(page as u64 * USER_PAGE * 8 + bits.first, next);
            assert!(bits.count > 0 && bits.first + bits.count <= USER_PAGE * 8);
            next += bits.count;
        });
        prop_assert_eq!(next, first + count);
    }

    #[test]
    fn the_counter_counts_each_page_once(asked in asked(300), seeds in seeds()) {
        let extents = extents_around(asked.range, asked.page_size, &seeds);
        let mut counter = PageCounter::new(asked.range, asked.page_size).unwrap();
        for extent in &extents {
            counter.push(*extent);
        }
        prop_assert_eq!(counter.total(), pages_touched(&asked, &extents).len() as u64);
    }

    #[test]
    fn grown_extents_are_runs_of_pages(asked in asked(300), seeds in seeds()) {
        let extents = extents_around(asked.range, asked.page_size, &seeds);
        let mut grow = Grow::new(asked.range, asked.page_size).unwrap();
        let mut got = Vec::from_iter(extents.iter().filter_map(|extent| grow.push(*extent)));
        got.extend(grow.finish());
        prop_assert!(grow.finish().is_none());

        let mut expected = Vec::<Range>::new();
        for bytes in pages_touched(&asked, &extents).into_iter().map(|page| asked.bytes(page)) {
            match expected.last_mut() {
                Some(last) if last.touches(bytes) => *last = last.hull(bytes),
                _ => expected.push(bytes),
            }
        }
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn hostile_values_do_no_harm(
        range in any_range(),
        size in page_size(),
        bitmap in edgy(),
        bit_offset in edgy(),
        start in edgy(),
        max_pages in edgy(),
        dirty in any_range(),
        first in edgy(),
        count in edgy(),
    ) {
        let Ok(request) = Request::new(range, size, bitmap, bit_offset) else {
            return Ok(());
        };
        for window in request.windows(start, max_pages as usize).take(3) {
            prop_assert!(range.contains(&window.range));
            prop_assert_eq!(window.bits(dirty).is_some(), window.range.intersect(dirty).is_some());
            let bytes = window.bytes(Bits { first, count });
            prop_assert!(bytes.is_none_or(|bytes| window.range.contains(&bytes)));
        }
        let mut counter = PageCounter::new(range, size).unwrap();
        counter.push(dirty);
        prop_assert_eq!(counter.total() > 0, range.intersect(dirty).is_some());
    }
}

/// 512 pinned pages are 64 GiB of 4 KiB pages.
#[test]
fn windows_of_64_gib() {
    let range = Range::new(0x1000, 200 * GIB).unwrap();
    let request = Request::new(range, 4 * KIB, 0x7000, 0).unwrap();
    let windows = Vec::from_iter(request.windows(0, 512));
    let lengths = Vec::from_iter(windows.iter().map(|w| w.range.length() / GIB));
    assert_eq!(lengths, [64, 64, 64, 8]);
    assert_eq!(windows[3].pages, 64);

    // One byte higher, the first window has one byte of bits less, and nothing else changes.
    let request = Request::new(range, 4 * KIB, 0x7001, 0).unwrap();
    let windows = Vec::from_iter(request.windows(0, 512));
    assert_eq!(windows[0].range.length(), 64 * GIB - 8 * 4 * KIB);
    assert_eq!(windows[1].range.length(), 64 * GIB);
    assert_eq!(windows[0].first_bit, 8);
}

#[test]
fn page_sizes_that_are_none() {
    let range = Range::new(0, 1 << 20).unwrap();
    for size in [0, 1, 2048, 4095, 12288, u64::MAX] {
        let request = Request::new(range, size, 0, 0);
        assert!(matches!(request, Err(BadRequest::PageSize)));
        assert!(PageCounter::new(range, size).is_none());
        assert!(Grow::new(range, size).is_none());
    }
}

#[test]
fn the_whole_space_in_two_bits() {
    let all = Range::inclusive(0, u64::MAX).unwrap();
    let request = Request::new(all, 1 << 63, 0xfff, 7).unwrap();
    // The bits are the last one of a page and the first one of the next.
    let windows = Vec::from_iter(request.windows(0, 1));
    assert_eq!(windows.len(), 2);
    assert_eq!(windows[0].range, Range::new(0, 1 << 63).unwrap());
    assert_eq!(windows[0].first_bit, 4096 * 8 - 1);
    assert_eq!(windows[1].range, Range::new(1 << 63, 1 << 63).unwrap());
    assert_eq!((windows[1].addr, windows[1].first_bit), (0x1000, 0));
}

#[test]
fn words_of_bits_that_wrap_are_none() {
    for (first, count) in [(u64::MAX, 2), (2, u64::MAX), (5, 0)] {
        words(Bits { first, count }, |_| panic!("{first} {count}"));
    }
}
