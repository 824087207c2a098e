// SPDX-License-Identifier: GPL-2.0

//! Tests of `image.rs`.

use crate::common::cases;
use proptest::prelude::*;
use vfio_mlx5_logic::image::{
    firmware,
    room,
    Decoder,
    Loader,
    Refused,
    HEADER,
    ROOM_RECORD, //
};

const FIRMWARE: u32 = 0;
const ROOM: u32 = 1;

/// What a record is, without the code under test.
fn record(length: u64, flags: u32, tag: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(flags.to_le_bytes());
    bytes.extend(tag.to_le_bytes());
    bytes.extend(data);
    bytes
}

/// Keeps what was loaded, and refuses what it is told to.
#[derive(Default)]
struct Images {
    loaded: Vec<Vec<u8>>,
    coming: Vec<u8>,
    /// What it was told to expect.
    rooms: Vec<u64>,
    refuse: Option<usize>,
}

impl Loader for Images {
    type Error = usize;

    fn put(&mut self, at: u64, bytes: &[u8]) -> Result<(), usize> {
        assert!(!bytes.is_empty());
        assert_eq!(self.coming.len() as u64, at);
        self.coming.extend(bytes);
        Ok(())
    }

    fn load(&mut self, length: u64) -> Result<(), usize> {
        assert_eq!(self.coming.len() as u64, length);
        if self.refuse == Some(self.loaded.len()) {
            return Err(self.loaded.len());
        }
        self.loaded.push(core::mem::take(&mut self.coming));
        Ok(())
    }

    fn will_take(&mut self, bytes: u64) {
        assert!(self.coming.is_empty());
        self.rooms.push(bytes);
    }
}

/// What a stream with one image begins with.
fn preamble(bytes: u64, length: u64) -> Vec<u8> {
    let mut begin = room(bytes).to_vec();
    begin.extend(firmware(length));
    begin
}

/// All at once.
fn push(bytes: &[u8]) -> (Result<(), Refused<usize>>, Images, Decoder) {
    let mut decoder = Decoder::default();
    let mut images = Images::default();
    let result = decoder.push(bytes, &mut images);
    (result, images, decoder)
}

#[test]
fn the_beginning_of_a_saved_image() {
    let mut expected = record(8, 1, ROOM, &0x5000_u64.to_le_bytes());
    expected.extend(record(0x4321, 0, FIRMWARE, &[]));
    assert_eq!(expected, preamble(0x5000, 0x4321));
    assert_eq!((16, 24), (HEADER, ROOM_RECORD));
}

#[test]
fn what_was_saved_is_loaded() {
    let mut stream = preamble(4096, 3);
    stream.extend([7, 8, 9]);
    let (result, images, decoder) = push(&stream);
    assert_eq!(Ok(()), result);
    assert_eq!(vec![vec![7, 8, 9]], images.loaded);
    assert!(decoder.is_complete());
}

/// Whatever the length of the record is.
#[test]
fn how_much_room_there_was_is_told() {
    for (data, told) in [
        (&0x1234_5678_9abc_u64.to_le_bytes()[..], 0x1234_5678_9abc),
        (&u64::MAX.to_le_bytes(), u64::MAX),
        (&[0x12, 0x34], 0x3412),
        (&[], 0),
        (&[1, 0, 0, 0, 0, 0, 0, 0, 99, 98], 1),
    ] {
        let mut stream = record(data.len() as u64, 1, ROOM, data);
        stream.extend(record(1, 0, FIRMWARE, &[1]));
        let (result, images, decoder) = push(&stream);
        assert_eq!(Ok(()), result);
        assert_eq!(vec![told], images.rooms);
        assert_eq!(vec![vec![1]], images.loaded);
        assert!(decoder.is_complete());
    }
}

#[test]
fn each_image_of_several_is_loaded() {
    let mut stream = record(1, 0, FIRMWARE, &[1]);
    stream.extend(record(0, 0, FIRMWARE, &[]));
    stream.extend(record(2, 0, FIRMWARE, &[2, 3]));
    let (result, images, decoder) = push(&stream);
    assert_eq!(Ok(()), result);
    assert_eq!(vec![vec![1], vec![], vec![2, 3]], images.loaded);
    assert!(decoder.is_complete());
}

#[test]
fn an_unknown_record_is_skipped_only_if_it_may_be() {
    for (flags, tag) in [(1, 2), (0xffff_ffff, u32::MAX), (1, ROOM), (0, ROOM)] {
        let mut stream = record(5, flags, tag, &[0; 5]);
        stream.extend(record(1, 0, FIRMWARE, &[1]));
        let (result, images, _) = push(&stream);
        assert_eq!(Ok(()), result);
        assert_eq!(vec![vec![1]], images.loaded);
    }
    for (flags, tag) in [(0, 2), (0xffff_fffe, 2), (2, u32::MAX)] {
        let (result, images, decoder) = push(&record(5, flags, tag, &[0; 5]));
        assert_eq!(Err(Refused::Unknown), result);
        assert!(images.loaded.is_empty() && images.coming.is_empty());
        assert!(!decoder.is_complete());
    }
}

#[test]
fn a_length_that_cannot_be() {
    for length in [1 << 32, 1 << 60, u64::MAX] {
        for tag in [FIRMWARE, ROOM, 2] {
            let (result, images, _) = push(&record(length, 1, tag, &[0; 100]));
            assert_eq!(Err(Refused::TooLong), result);
            assert!(images.coming.is_empty());
        }
    }
    let (result, images, _) = push(&record((1 << 32) - 1, 0, FIRMWARE, &[1; 100]));
    assert_eq!(Ok(()), result);
    assert_eq!(100, images.coming.len());
}

#[test]
fn an_error_is_final() {
    let good = record(1, 0, FIRMWARE, &[1]);
    let mut decoder = Decoder::default();
    let mut images = Images {
        refuse: Some(1),
        ..Images::default()
    };
    assert_eq!(Ok(()), decoder.push(&good, &mut images));
    assert_eq!(Err(Refused::Loader(1)), decoder.push(&good, &mut images));
    images.refuse = None;
    images.coming.clear();
    assert_eq!(Err(Refused::Before), decoder.push(&good, &mut images));
    assert_eq!(Err(Refused::Before), decoder.push(&[], &mut images));
    assert_eq!(1, images.loaded.len());
    assert!(!decoder.is_complete());
}

#[test]
fn it_is_complete_at_the_end_of_a_record_only() {
    let mut stream = preamble(4096, 3);
    stream.extend([7, 8, 9]);
    stream.extend(record(0, 1, 9, &[]));
    for len in 0..=stream.len() {
        let (result, _, decoder) = push(&stream[..len]);
        assert_eq!(Ok(()), result);
        assert_eq!(
            [0, 24, 43, 59].contains(&len),
            decoder.is_complete(),
            "{len}"
        );
    }
}

/// A stream, more often than not one that is refused somewhere.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let lengths = prop_oneof![
        20 => Just(None),
        1 => prop_oneof![Just(1_u64 << 32), Just(1 << 60), Just(u64::MAX)].prop_map(Some),
    ];
    let record = (
        lengths,
        0_u32..3,
        0_u32..4,
        prop::collection::vec(any::<u8>(), 0..40),
    )
        .prop_map(|(length, flags, tag, data)| {
            record(length.unwrap_or(data.len() as u64), flags, tag, &data)
        });
    prop::collection::vec(record, 0..8).prop_map(|records| records.concat())
}

proptest! {
    #![proptest_config(cases(1024))]

    /// However the bytes are split: the same images, the same verdict at the same place.
    #[test]
    fn any_split_of_the_bytes_is_the_same(
        stream in streams(),
        cut in 0_usize..300,
        pieces in prop::collection::vec(0_usize..20, 1..20),
        refuse in prop::option::of(0_usize..4),
    ) {
        let stream = &stream[..stream.len() - cut.min(stream.len())];
        let mut whole = Images { refuse, ..Images::default() };
        let mut decoder = Decoder::default();
        let verdict = decoder.push(stream, &mut whole);

        let mut parts = Images { refuse, ..Images::default() };
        let mut by_parts = Decoder::default();
        let mut rest = stream;
        let mut sizes = pieces.iter().cycle();
        let mut result = Ok(());
        // A piece of no bytes does nothing, and ends nothing.
        let mut idle = 0;
        while !rest.is_empty() && result.is_ok() && idle < 40 {
            let n = (*sizes.next().unwrap()).min(rest.len());
            idle = if n == 0 { idle + 1 } else { 0 };
            let (piece, others) = rest.split_at(n);
            result = by_parts.push(piece, &mut parts);
            rest = others;
        }
        if idle < 40 {
            prop_assert_eq!(verdict, result);
            prop_assert_eq!(whole.loaded, parts.loaded);
            prop_assert_eq!(whole.coming, parts.coming);
            prop_assert_eq!(whole.rooms, parts.rooms);
            prop_assert_eq!(decoder.is_complete(), by_parts.is_complete());
        }
    }

    /// What it understands of good records is all of them.
    #[test]
    fn records_come_out_as_they_went_in(
        records in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8)
    ) {
        let mut stream = Vec::new();
        for (firmware, data) in &records {
            let tag = if *firmware { FIRMWARE } else { 77 };
            stream.extend(record(data.len() as u64, 1, tag, data));
        }
        let (result, images, decoder) = push(&stream);
        prop_assert_eq!(Ok(()), result);
        let expected: Vec<_> =
            records.into_iter().filter(|(firmware, _)| *firmware).map(|(_, data)| data).collect();
        prop_assert_eq!(expected, images.loaded);
        prop_assert!(decoder.is_complete());
    }

    /// Noise does not break it.
    #[test]
    fn noise(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = Decoder::default();
        let mut images = Images::default();
        for byte in &bytes {
            let _ = decoder.push(&[*byte], &mut images);
        }
    }
}
