// SPDX-License-Identifier: GPL-2.0

//! Tests of `report.rs`.

use crate::common::{
    any_range,
    cases,
    edgy,
    page_size, //
};
use mlx5_model::tracker::Tracker;
use proptest::prelude::*;
use std::collections::BTreeSet;
use vfio_mlx5_logic::{
    cqe::Receive,
    range::Range,
    report::{
        address,
        Broken,
        Message,
        Reading,
        Runs, //
    }, //
};

/// What is recorded of these addresses.
fn recorded(granule: u64, addresses: &[u64]) -> Vec<(u64, u64)> {
    let mut extents = Vec::new();
    let mut record = |iova, length| extents.push((iova, length));
    let mut runs = Runs::new(granule);
    for address in addresses {
        runs.add(*address, &mut record);
    }
    runs.end(&mut record);
    extents
}

/// The pages that have a byte in the extents.
fn pages(granule: u64, extents: &[(u64, u64)]) -> BTreeSet<u64> {
    extents
        .iter()
        .flat_map(|(iova, length)| iova / granule..=(iova + (length - 1)) / granule)
        .collect()
}

proptest! {
    #![proptest_config(cases(2048))]

    #[test]
    fn an_entry_is_an_address(value: u64) {
        prop_assert_eq!(address(&value.to_be_bytes()), value);
    }

    #[test]
    fn what_is_reported_is_recorded(
        log in 12..22_u32,
        numbers in prop::collection::vec(0..60_u64, 0..80),
        base in 0..1_u64 << 40,
    ) {
        let addresses: Vec<u64> = numbers.iter().map(|n| (base + n) << log).collect();
        let extents = recorded(1 << log, &addresses);
        let wanted: BTreeSet<u64> = numbers.iter().map(|n| base + n).collect();
        prop_assert_eq!(pages(1 << log, &extents), wanted);
        for (iova, length) in extents {
            prop_assert!(iova % (1 << log) == 0 && length % (1 << log) == 0);
        }
    }

    #[test]
    fn ascending_pages_are_runs(numbers in prop::collection::btree_set(0..60_u64, 1..40)) {
        let addresses: Vec<u64> = numbers.iter().map(|n| n << 12).collect();
        let runs = numbers.iter().filter(|n| **n == 0 || !numbers.contains(&(*n - 1))).count();
        prop_assert_eq!(recorded(1 << 12, &addresses).len(), runs);
    }

    #[test]
    fn whatever_is_reported_is_in_what_is_recorded(
        granule in page_size(),
        addresses in prop::collection::vec(edgy(), 0..20),
    ) {
        let extents = recorded(granule, &addresses);
        for (iova, length) in &extents {
            prop_assert!(*length > 0 && iova.checked_add(length - 1).is_some());
            // Whole pages; of the whole address space the last byte is told by itself.
            if (*iova, *length) != (u64::MAX, 1) && *length != u64::MAX {
                prop_assert!(iova % granule == 0 && length % granule == 0);
            }
        }
        for address in addresses {
            let last = address.saturating_add(granule - 1);
            for byte in [address, last, address + (last - address) / 2] {
                let covers = |(iova, length): &(u64, u64)| {
                    *iova <= byte && byte - iova < *length
                };
                prop_assert!(extents.iter().any(covers), "{:#x}", byte);
            }
        }
    }

    #[test]
    fn the_models_reports_are_read(
        log_page in 12..22_u32,
        log_msg in 12..16_u32,
        writes in prop::collection::vec((0..1_u64 << 30, 1..1_u64 << 22), 0..12),
        from in 0..1_u64 << 30,
        length in 1..1_u64 << 30,
    ) {
        let granule = 1_u64 << log_page;
        let mut tracker = Tracker::new(1, 2, log_page, log_msg, &[(0, 1 << 31)]);
        let mut wanted = BTreeSet::new();
        let asked = Range::new(from, length).unwrap().aligned_out(granule);
        for (iova, length) in writes {
            tracker.written(iova, length);
            let written = pages(granule, &[(iova, length)]);
            wanted.extend(written.into_iter().filter(|page| {
                (asked.first()..=asked.last()).contains(&(page * granule))
            }));
        }

        let mut reading = Reading::new(asked, granule, 1 << log_msg);
        let mut runs = Runs::new(granule);
        let mut extents = Vec::new();
        let mut record = |iova, length| extents.push((iova, length));
        let messages = tracker.report(asked.first(), asked.length());
        let count = messages.len();
        for (n, message) in messages.into_iter().enumerate() {
            let receive = Receive {
                immediate: message.immediate,
                bytes: message.data.len() as u32,
                wqe_counter: n as u16,
            };
            let told = reading.message(&receive, n, n).unwrap();
            prop_assert_eq!(told.last, n + 1 == count);
            prop_assert_eq!(told.entries as usize, message.data.len() / 8);
            for entry in message.data.chunks_exact(8) {
                runs.add(address(entry.try_into().unwrap()), &mut record);
            }
        }
        runs.end(&mut record);
        prop_assert_eq!(pages(granule, &extents), wanted);
    }

    #[test]
    fn messages_without_sense_are_refused(
        immediate: u32,
        bytes in prop_oneof![edgy().prop_map(|n| n as u32), 0..10_000_u32],
        slot in 0..4_usize,
        expected in 0..4_usize,
        log_len in 3..25_u32,
    ) {
        let whole = Range::new(0, 1 << 62).unwrap();
        let mut reading = Reading::new(whole, 4096, 1 << log_len);
        let receive = Receive { immediate, bytes, wqe_counter: 0 };
        let wanted = if slot != expected {
            Err(Broken::Order)
        } else if bytes > 1 << log_len || bytes % 8 != 0 {
            Err(Broken::Length)
        } else if immediate >> 28 > 1 {
            Err(Broken::Failed)
        } else {
            Ok(Message { entries: bytes / 8, last: immediate >> 28 == 0 })
        };
        prop_assert_eq!(reading.message(&receive, slot, expected), wanted);
    }

    #[test]
    fn a_report_ends(range in any_range(), log in 12..30_u32, bytes in 0..4_u32) {
        // With as much as may be said at all, in messages that say little.
        let granule = 1_u64 << log;
        let range = Range::new(range.first(), range.length().min(granule * 1000));
        prop_assume!(range.is_ok());
        let mut reading = Reading::new(range.unwrap(), granule, 4096);
        let more = Receive { immediate: 1 << 28, bytes: bytes * 8, wqe_counter: 0 };
        let mut count = 0_u64;
        while reading.message(&more, 0, 0).is_ok() {
            count += 1;
            prop_assert!(count <= 10_000);
        }
        // But not before each page was told, also if it was in a message of its own.
        prop_assert!(count * u64::from(bytes.max(1)) >= range.unwrap().length() / granule);
        prop_assert_eq!(reading.message(&more, 0, 0), Err(Broken::Endless));
    }
}

#[test]
fn the_whole_address_space_is_recorded_whole() {
    let extents = recorded(1 << 63, &[0, 1 << 63]);
    assert_eq!(extents.len(), 2);
    assert!(extents.contains(&(u64::MAX, 1)) && extents.contains(&(0, u64::MAX)));
}
