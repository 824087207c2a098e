// SPDX-License-Identifier: GPL-2.0

//! What the tests share: strategies that like the edges.

use proptest::prelude::*;
use vfio_mlx5_logic::range::Range;

/// Where `size` bytes stand: at the bottom, at the top, or somewhere.
pub(crate) fn base(size: usize) -> impl Strategy<Value = u64> {
    let top = u64::MAX - (size as u64 - 1);
    prop_oneof![Just(0), Just(top), 1..top]
}

/// `range`, that many bytes up.
pub(crate) fn shift(range: Range, base: u64) -> Range {
    Range::inclusive(base + range.first(), base + range.last()).unwrap()
}

/// Any `u64`: most often near to 0, to the maximum or to a power of two.
pub(crate) fn edgy() -> impl Strategy<Value = u64> {
    let near = (0..64_u32, 0..3_u64).prop_map(|(bit, off)| (1_u64 << bit).wrapping_add(off) - 1);
    prop_oneof![
        2 => 0..4_u64,
        2 => (0..4_u64).prop_map(|x| u64::MAX - x),
        4 => near,
        2 => any::<u64>(),
    ]
}

/// Any range, with edges where [`edgy()`] likes them.
pub(crate) fn any_range() -> impl Strategy<Value = Range> {
    (edgy(), edgy()).prop_map(|(a, b)| Range::inclusive(a.min(b), a.max(b)).unwrap())
}

/// Any valid page size: 4 KiB to 1 << 63.
pub(crate) fn page_size() -> impl Strategy<Value = u64> {
    (12..64_u32).prop_map(|bit| 1 << bit)
}

/// As many cases as `n`; failures are printed with the smallest input, and not kept in files.
pub(crate) fn cases(n: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(n)
    }
}
