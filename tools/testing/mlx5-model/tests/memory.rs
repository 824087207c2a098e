// SPDX-License-Identifier: GPL-2.0

//! DMA: what is mapped where.

mod driver;

use driver::unlinked;
use mlx5_model::memory::Fault;
use mlx5_model::memory::Files;
use mlx5_model::memory::Memory;
use proptest::prelude::*;

#[test]
fn a_transfer_goes_over_mappings() {
    let (mut memory, mut files) = (Memory::default(), Files::default());
    let file = unlinked(0x3000);
    // Two pages side by side, in the other order in the file.
    memory
        .map(&mut files, 0x1000, 0x1000, Some((&file, 0x2000)), true)
        .expect("free");
    memory
        .map(&mut files, 0x2000, 0x1000, Some((&file, 0)), true)
        .expect("free");
    memory.write(0x1ffe, &[1, 2, 3, 4]).expect("mapped");
    let mut back = [0; 4];
    memory.read(0x1ffe, &mut back).expect("mapped");
    assert_eq!(back, [1, 2, 3, 4]);

    let mut whole = Memory::default();
    whole
        .map(&mut files, 0, 0x3000, Some((&file, 0)), false)
        .expect("free");
    let mut word = [0; 2];
    whole.read(0x2ffe, &mut word).expect("mapped");
    assert_eq!(word, [1, 2]);
    assert_eq!(
        whole.write(0x10, &[0]),
        Err(Fault { iova: 0x10 }),
        "read only"
    );
}

#[test]
fn what_is_not_mapped_is_a_fault() {
    let (mut memory, mut files) = (Memory::default(), Files::default());
    let file = unlinked(0x1000);
    memory
        .map(&mut files, 0x1000, 0x1000, Some((&file, 0)), true)
        .expect("free");
    memory
        .map(&mut files, 0x2000, 0x1000, None, true)
        .expect("free");
    let mut buf = [0; 8];
    assert_eq!(memory.read(0xffc, &mut buf), Err(Fault { iova: 0xffc }));
    assert_eq!(
        memory.read(0x1ffc, &mut buf),
        Err(Fault { iova: 0x2000 }),
        "no file"
    );
    assert_eq!(
        memory.read(u64::MAX - 3, &mut buf),
        Err(Fault { iova: u64::MAX - 3 })
    );
}

#[test]
fn mappings_are_checked() {
    let (mut memory, mut files) = (Memory::default(), Files::default());
    let file = unlinked(0x2000);
    memory
        .map(&mut files, 0x1000, 0x2000, Some((&file, 0)), true)
        .expect("free");
    for iova in [0x0, 0x1000, 0x2000, 0x2fff] {
        memory
            .map(&mut files, iova, 0x1001, None, true)
            .expect_err("it overlaps");
    }
    memory
        .map(&mut files, 0x3000, 0, None, true)
        .expect_err("it is empty");
    memory
        .map(&mut files, u64::MAX, 2, None, true)
        .expect_err("it wraps around");
    let beyond = memory.map(&mut files, 0x3000, 0x2000, Some((&file, 0x1000)), true);
    beyond.expect_err("beyond the file");

    memory.unmap(0x2000, 0x1000).expect_err("it is cut");
    memory.unmap(0x0, 0x2000).expect_err("it is cut");
    let mut byte = [0];
    memory.read(0x1000, &mut byte).expect("still there");
    // To the end of the address space.
    memory.unmap(0x1000, u64::MAX - 0xfff).expect("whole");
    memory.read(0x1000, &mut byte).expect_err("gone");
}

proptest! {
    /// Against a model that knows each page.
    #[test]
    fn maps_and_unmaps(steps in prop::collection::vec((any::<bool>(), 0..16u64, 1..6u64), 1..40)) {
        let (mut memory, mut files) = (Memory::default(), Files::default());
        let file = unlinked(0x20000);
        // For each page the mapping that it is in.
        let mut pages = [None; 32];
        for (n, (map, first, count)) in steps.into_iter().enumerate() {
            let range = first as usize..(first + count) as usize;
            let (iova, len) = (first * 0x1000, count * 0x1000);
            if map {
                let free = pages[range.clone()].iter().all(Option::is_none);
                let mapped = memory.map(&mut files, iova, len, Some((&file, iova)), true);
                prop_assert_eq!(mapped.is_ok(), free);
                if free {
                    pages[range].fill(Some(n));
                }
            } else {
                let outside: Vec<_> = pages.iter().enumerate().filter(|(p, _)| !range.contains(p)).collect();
                let cut = pages[range.clone()].iter().flatten().any(|m| outside.iter().any(|(_, o)| **o == Some(*m)));
                prop_assert_eq!(memory.unmap(iova, len).is_err(), cut);
                if !cut {
                    pages[range].fill(None);
                }
            }
            for (page, mapping) in pages.iter().enumerate() {
                let there = memory.read(page as u64 * 0x1000, &mut [0; 16]).is_ok();
                prop_assert_eq!(there, mapping.is_some());
            }
        }
    }
}
