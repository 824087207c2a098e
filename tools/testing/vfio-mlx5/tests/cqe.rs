// SPDX-License-Identifier: GPL-2.0

//! Tests of `cqe.rs`.

use crate::common::cases;
use proptest::prelude::*;
use vfio_mlx5_logic::cqe::{
    decode,
    Failed,
    Receive,
    Ring,
    CQE_LEN, //
};

/// A completion queue as the hardware has it, filled from its counter 0 on.
struct Hardware {
    ring: Ring,
    op_own: Vec<u8>,
    produced: u32,
}

impl Hardware {
    fn new(log_size: u8) -> Self {
        let ring = Ring::new(log_size).unwrap();
        Self {
            ring,
            op_own: vec![0xf0; 1 << log_size],
            produced: 0,
        }
    }

    fn post(&mut self, opcode: u8) {
        let size = self.op_own.len() as u32;
        self.op_own[(self.produced % size) as usize] =
            (opcode << 4) | ((self.produced / size) & 1) as u8;
        self.produced = (self.produced + 1) & 0xff_ffff;
    }
}

proptest! {
    #![proptest_config(cases(1024))]

    #[test]
    fn entries_are_read_in_their_order(
        log_size in 0..6_u8,
        bursts in prop::collection::vec((0..64_u32, 0..15_u8), 1..20),
    ) {
        let mut hardware = Hardware::new(log_size);
        let mut read = 0_u32;
        let mut written = 0_u32;
        for (count, opcode) in bursts {
            for _ in 0..count.min(1 << log_size) {
                hardware.post(opcode);
                written += 1;
            }
            while hardware.ring.is_written(read, hardware.op_own[hardware.ring.slot(read)]) {
                read += 1;
                prop_assert!(read <= written);
            }
            prop_assert_eq!(read, written);
        }
    }

    #[test]
    fn counters_wrap(log_size in 0..=Ring::MAX_LOG_SIZE, counter: u32) {
        let ring = Ring::new(log_size).unwrap();
        let wide = u64::from(counter);
        prop_assert_eq!(ring.slot(counter) as u64, wide % (1 << log_size));
        prop_assert_eq!(u64::from(ring.owner(counter)), (wide >> log_size) & 1);
        // The hardware counts with fewer bits.
        prop_assert_eq!(ring.owner(counter & 0xff_ffff), ring.owner(counter));
        prop_assert_eq!(ring.slot(counter & 0xffff), ring.slot(counter));
    }

    #[test]
    fn an_entry_says_what_was_received(
        noise in prop::collection::vec(any::<u8>(), CQE_LEN),
        immediate: u32,
        bytes: u32,
        wqe_counter: u16,
        opcode in 0..16_u8,
        owner in 0..2_u8,
    ) {
        let mut cqe: [u8; CQE_LEN] = noise.try_into().unwrap();
        cqe[36..40].copy_from_slice(&immediate.to_be_bytes());
        cqe[44..48].copy_from_slice(&bytes.to_be_bytes());
        cqe[60..62].copy_from_slice(&wqe_counter.to_be_bytes());
        cqe[63] = (opcode << 4) | owner;
        let expected = match opcode {
            3 => Ok(Receive { immediate, bytes, wqe_counter }),
            _ => Err(Failed { opcode, syndrome: cqe[55] }),
        };
        prop_assert_eq!(decode(&cqe), expected);
    }
}

#[test]
fn rings_that_are_too_large_are_refused() {
    assert!(Ring::new(Ring::MAX_LOG_SIZE).is_some());
    assert!(Ring::new(Ring::MAX_LOG_SIZE + 1).is_none());
    assert!(Ring::new(255).is_none());
}
