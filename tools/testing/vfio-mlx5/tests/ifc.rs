// SPDX-License-Identifier: GPL-2.0

//! Tests of `ifc.rs`.

use crate::common::cases;
use proptest::prelude::*;
use vfio_mlx5_logic::ifc::{
    get,
    Field,
    Writer, //
};

const BYTES: usize = 40;
const WORDS: usize = BYTES / 4 + 2;

/// Any field that begins among the bits of `BYTES` and a little after them.
fn any_field() -> impl Strategy<Value = Field> {
    prop_oneof![
        4 => narrow_field(),
        1 => (0..WORDS).prop_map(|word| Field::new(word * 32, 64)),
    ]
}

/// One in a word.
fn narrow_field() -> impl Strategy<Value = Field> {
    (0..WORDS, 0..32_usize, 1..=32_usize)
        .prop_map(|(word, bit, width)| Field::new(word * 32 + bit, width.min(32 - bit)))
}

fn max(field: Field) -> u64 {
    ((1_u128 << field.width()) - 1) as u64
}

fn bit(bytes: &[u8], at: usize) -> bool {
    (bytes[at / 8] >> (7 - at % 8)) & 1 != 0
}

/// What `get` is to return, bit by bit.
fn value(bytes: &[u8], field: Field) -> u64 {
    (field.at()..field.at() + field.width())
        .fold(0, |value, at| (value << 1) | u64::from(bit(bytes, at)))
}

proptest! {
    #![proptest_config(cases(4096))]

    #[test]
    fn get_is_big_endian(bytes in any::<[u8; BYTES]>(), field in any_field()) {
        let inside = field.at() + field.width() <= BYTES * 8;
        prop_assert_eq!(get(&bytes, field), inside.then(|| value(&bytes, field)));
    }

    #[test]
    fn set_is_what_get_reads_and_nothing_else(
        sets in prop::collection::vec((any_field(), any::<u64>()), 1..8),
    ) {
        let mut bytes = [0xff; BYTES];
        let mut expected = [false; BYTES * 8];
        let mut writer = Writer::new(&mut bytes);
        for (field, number) in &sets {
            let number = number & max(*field);
            writer.set(*field, number);
            if field.at() + field.width() > BYTES * 8 {
                // A word of two may have been written: the mailbox is not sent.
                prop_assert!(!writer.finish());
                return Ok(());
            }
            for n in 0..field.width() {
                expected[field.at() + n] = (number >> (field.width() - 1 - n)) & 1 != 0;
            }
        }
        prop_assert!(writer.finish());
        let got: Vec<bool> = (0..BYTES * 8).map(|at| bit(&bytes, at)).collect();
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn what_does_not_fit_is_not_cut(field in narrow_field(), more in 1..u64::MAX) {
        let mut bytes = [0; BYTES];
        let mut writer = Writer::new(&mut bytes);
        writer.set(field, max(field).saturating_add(more));
        prop_assert!(!writer.finish());
        prop_assert_eq!(bytes, [0; BYTES]);
    }

    #[test]
    fn lists_end_where_the_bytes_do(
        at in 0..BYTES + 9,
        values in prop::collection::vec(any::<u64>(), 0..6),
    ) {
        let mut bytes = [0; BYTES];
        let mut writer = Writer::new(&mut bytes);
        writer.list(at, values.iter().copied());
        let fits = values.is_empty() || at + values.len() * 8 <= BYTES;
        prop_assert_eq!(writer.finish(), fits);
        if fits {
            let expected: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
            prop_assert_eq!(bytes.get(at..at + expected.len()).unwrap_or_default(), &expected);
            let others = bytes.iter().enumerate();
            prop_assert!(others
                .filter(|(n, _)| *n < at || *n >= at + expected.len())
                .all(|(_, byte)| *byte == 0));
        }
    }
}

#[test]
fn a_part_that_does_not_fit_is_told() {
    let mut bytes = [0; 16];
    let mut writer = Writer::new(&mut bytes);
    writer.part(8, |part| {
        part.set(Field::new(0, 8), 0x12_u32);
    });
    assert!(writer.finish());
    assert_eq!(bytes[8], 0x12);
    for at in [12, 16, 17] {
        let mut writer = Writer::new(&mut bytes);
        writer.part(at, |part| {
            part.set(Field::new(0, 64), 0_u64);
        });
        assert!(!writer.finish(), "{at}");
    }
}

/// What is no field does not compile; what the compiler would do is seen here.
#[test]
fn what_is_no_field_is_refused() {
    for (at, width) in [
        (0, 0),
        (0, 33),
        (0, 63),
        (0, 65),
        (16, 64),
        (31, 2),
        (1, 32),
    ] {
        let made = std::panic::catch_unwind(|| Field::new(at, width));
        assert!(made.is_err(), "{at} {width}");
    }
}
