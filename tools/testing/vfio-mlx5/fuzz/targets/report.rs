// SPDX-License-Identifier: GPL-2.0

//! A report as a firmware may send it that means ill, or is broken: entries of a completion queue, and
//! whatever is in the buffers. It ends, nothing panics, and what was accepted was recorded.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::ops::ControlFlow;
use vfio_mlx5_logic::{
    cqe::{
        decode,
        Ring,
        CQE_LEN,
        OP_OWN, //
    },
    range::Range,
    report::{
        address,
        Reading,
        Runs,
        ENTRY_LEN, //
    }, //
};

/// Takes the first `N` bytes of the input.
fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = input.split_first_chunk()?;
    *input = tail;
    Some(*head)
}

/// What is left of a report after a message.
fn message(
    input: &mut &[u8],
    ring: Ring,
    counter: u32,
    reading: &mut Reading,
    mut found: impl FnMut(u64),
) -> Option<ControlFlow<()>> {
    let mut cqe: [u8; CQE_LEN] = take(input)?;
    if !ring.is_written(counter, cqe[OP_OWN]) {
        // It waits for this one: so that there is more to see, it comes.
        cqe[OP_OWN] = (cqe[OP_OWN] & 0x70) | ring.owner(counter);
    }
    let Ok(receive) = decode(&cqe) else {
        return Some(ControlFlow::Break(()));
    };
    let slot = ring.slot(receive.wqe_counter.into());
    let Ok(message) = reading.message(&receive, slot, ring.slot(counter)) else {
        return Some(ControlFlow::Break(()));
    };
    for _ in 0..message.entries {
        let entry: [u8; ENTRY_LEN] = take(input)?;
        found(address(&entry));
    }
    Some(match message.last {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    })
}

fuzz_target!(|data: &[u8]| {
    let mut input = data;
    let (Some([log_granule, log_ring, log_buffer]), Some(first), Some(last)) =
        (take(&mut input), take(&mut input), take(&mut input))
    else {
        return;
    };
    let granule = 1_u64 << (log_granule % 64);
    let Some(ring) = Ring::new(log_ring % 20) else {
        return;
    };
    let (first, last) = (u64::from_le_bytes(first), u64::from_le_bytes(last));
    let Some(range) = Range::inclusive(first.min(last), first.max(last)) else {
        return;
    };

    let mut reading = Reading::new(range, granule, 1 << (log_buffer % 25));
    let mut runs = Runs::new(granule);
    let mut addresses = Vec::new();
    let mut extents = Vec::new();
    let mut record = |iova: u64, length: u64| extents.push((iova, length));
    for counter in 0.. {
        let flow = message(&mut input, ring, counter, &mut reading, |address| {
            addresses.push(address);
            runs.add(address, &mut record);
        });
        if !matches!(flow, Some(ControlFlow::Continue(()))) {
            break;
        }
    }
    runs.end(&mut record);

    for (iova, length) in &extents {
        assert!(*length > 0 && iova.checked_add(length - 1).is_some());
    }
    for address in addresses {
        let covered = |(iova, length): &(u64, u64)| *iova <= address && address - iova < *length;
        assert!(extents.iter().any(covered), "{address:#x} is lost");
    }
});
