// SPDX-License-Identifier: GPL-2.0

//! Tests of `outgoing.rs`.

use crate::common::cases;
use proptest::prelude::*;
use vfio_mlx5_logic::{
    image::{
        Decoder,
        Loader,
        HEADER,
        MAX_ROOM,
        ROOM_RECORD, //
    },
    outgoing::{
        room,
        Data,
        Left,
        Outlook,
        Phase,
        Queue, //
    }, //
};

/// What was saved, longer than it says: nothing behind its end is to be seen.
#[derive(Debug, PartialEq)]
struct Saved(Vec<u8>);

impl Data for Saved {
    type Error = ();

    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), ()> {
        let at = at as usize;
        bytes.copy_from_slice(self.0.get(at..at + bytes.len()).ok_or(())?);
        Ok(())
    }
}

#[derive(Default)]
struct Images {
    loaded: Vec<Vec<u8>>,
    coming: Vec<u8>,
    rooms: Vec<u64>,
}

impl Loader for Images {
    type Error = ();

    fn put(&mut self, _at: u64, bytes: &[u8]) -> Result<(), ()> {
        self.coming.extend(bytes);
        Ok(())
    }

    fn load(&mut self, _length: u64) -> Result<(), ()> {
        self.loaded.push(core::mem::take(&mut self.coming));
        Ok(())
    }

    fn will_take(&mut self, bytes: u64) {
        self.rooms.push(bytes);
    }
}

fn image(len: usize, value: u8) -> Saved {
    let mut bytes = vec![value; len];
    bytes.extend([0xee; 9]);
    Saved(bytes)
}

/// Reads `len` bytes, or what there are.
fn read(queue: &mut Queue<Saved>, len: usize, freed: &mut Vec<Saved>) -> Vec<u8> {
    let mut bytes = vec![0xaa; len];
    let count = queue.peek(&mut bytes).unwrap();
    // It is still there.
    let mut again = vec![0xbb; len];
    assert_eq!(queue.peek(&mut again), Ok(count));
    bytes.truncate(count);
    again.truncate(count);
    assert_eq!(bytes, again);
    queue.consume(count as u64, |data| freed.push(data));
    bytes
}

#[test]
fn how_much_memory() {
    const MIB: u64 = 1 << 20;
    assert_eq!(room(0, 0, false, false), 4096);
    assert_eq!(room(4096, 0, false, false), 4096);
    assert_eq!(room(4097, 0, false, false), 8192);
    // It may have grown when it is stopped.
    assert_eq!(room(100 * MIB, 100 * MIB, false, true), 110 * MIB);
    // As much as can be had of a chunk, and at least what the firmware says.
    assert_eq!(room(MIB, 1 << 40, true, true), 8 * MIB);
    assert_eq!(room(MIB, 3 * MIB, true, false), 3 * MIB);
    assert_eq!(room(20 * MIB, 30 * MIB, true, false), 20 * MIB);
    for needed in [MAX_ROOM, u32::MAX.into(), u64::MAX] {
        for chunks in [false, true] {
            assert_eq!(room(needed, needed, chunks, true), MAX_ROOM);
        }
    }
}

#[test]
fn where_the_stream_ends() {
    let mut freed = Vec::new();
    let mut queue = Queue::new(4096, true);
    assert_eq!(queue.outlook(true), Outlook::Bytes);
    assert_eq!(read(&mut queue, 100, &mut freed).len(), ROOM_RECORD);
    assert_eq!(queue.outlook(true), Outlook::Wait);
    assert_eq!(queue.outlook(false), Outlook::NoMore);
    queue.phase = Phase::Untracked;
    assert_eq!(queue.outlook(true), Outlook::Wait);
    assert_eq!(queue.outlook(false), Outlook::NoMore);
    queue.phase = Phase::Rest;
    for saving in [false, true] {
        assert_eq!(queue.outlook(saving), Outlook::Wait);
    }
    queue.push(image(0, 0), 0, false).unwrap();
    queue.phase = Phase::Complete;
    assert_eq!(queue.outlook(false), Outlook::Bytes);
    queue.phase = Phase::Failed;
    assert_eq!(queue.outlook(true), Outlook::Failed);
    queue.phase = Phase::Complete;
    assert_eq!(read(&mut queue, 100, &mut freed).len(), HEADER);
    assert_eq!(queue.outlook(false), Outlook::End);
    assert_eq!(freed, vec![image(0, 0)]);
}

#[test]
fn what_is_initial() {
    let mut freed = Vec::new();
    let mut queue = Queue::new(4096, true);
    let first = (ROOM_RECORD + HEADER + 100) as u64;
    queue.push(image(100, 1), 100, true).unwrap();
    let left = |queue: &Queue<Saved>, more, initial| {
        let Left { initial, dirty } = queue.left(more, initial);
        (initial, dirty)
    };
    assert_eq!(left(&queue, 0, false), (first, 0));
    // What the firmware has to say comes with a header.
    assert_eq!(left(&queue, 50, false), (first, 66));
    read(&mut queue, 30, &mut freed);
    assert_eq!(left(&queue, 0, false), (first - 30, 0));
    queue.push(image(7, 2), 7, false).unwrap();
    assert_eq!(left(&queue, 0, false), (first - 30, 23));
    read(&mut queue, first as usize - 20, &mut freed);
    assert_eq!(left(&queue, 1, false), (0, 13 + 17));

    // All that has to be read before what is initial again is so, too.
    assert_eq!(left(&queue, 50, true), (13 + 66, 0));
    queue.push(image(50, 3), 50, true).unwrap();
    assert_eq!(left(&queue, 0, false), (13 + 66, 0));
    queue.push(image(1, 4), 1, false).unwrap();
    assert_eq!(left(&queue, 0, false), (13 + 66, 17));
    read(&mut queue, 1000, &mut freed);
    assert_eq!(left(&queue, 0, false), (0, 0));
    assert_eq!(freed.len(), 4);

    // Nothing is to be read before a device stops that is stopped.
    assert_eq!(
        left(&Queue::new(1, false), 0, false),
        (0, ROOM_RECORD as u64)
    );
}

#[test]
fn there_is_an_end_to_the_room() {
    let mut freed = Vec::new();
    let mut queue = Queue::new(4096, true);
    let mut count = 0;
    while queue.has_room() {
        queue.push(image(3, count), 3, false).unwrap();
        count += 1;
    }
    assert!(count > 2);
    let before = queue.left(0, false);
    assert_eq!(queue.push(image(5, 99), 5, true), Err(image(5, 99)));
    assert_eq!(queue.left(0, false), before);
    read(&mut queue, ROOM_RECORD + HEADER + 3, &mut freed);
    assert_eq!(freed, vec![image(3, 0)]);
    assert!(queue.has_room());
}

#[derive(Clone, Debug)]
enum Step {
    Push(Vec<u8>),
    Read(usize),
}

proptest! {
    #![proptest_config(cases(512))]

    /// Whatever is saved and read in whatever order, it comes out as it went in, is freed when it was
    /// read and not before, and whoever loads understands it.
    #[test]
    fn what_was_saved_is_read(
        steps in prop::collection::vec(prop_oneof![
            1 => prop::collection::vec(any::<u8>(), 0..60).prop_map(Step::Push),
            2 => (0_usize..90).prop_map(Step::Read),
        ], 0..40),
        room: u64,
    ) {
        let mut queue = Queue::new(room, true);
        let (mut saved, mut stream, mut freed) = (Vec::new(), Vec::new(), Vec::new());
        let mut total = ROOM_RECORD;
        for step in steps {
            match step {
                Step::Push(data) if queue.has_room() => {
                    let mut longer = data.clone();
                    longer.push(0x77);
                    queue.push(Saved(longer), data.len() as u64, false).unwrap();
                    total += HEADER + data.len();
                    saved.push(data);
                }
                Step::Push(_) => (),
                Step::Read(len) => {
                    let bytes = read(&mut queue, len, &mut freed);
                    prop_assert_eq!(bytes.len(), len.min(total - stream.len()));
                    stream.extend(bytes);
                }
            }
            let left = queue.left(0, false);
            prop_assert_eq!((left.initial + left.dirty) as usize, total - stream.len());
            prop_assert_eq!(queue.is_empty(), total == stream.len());
            // The first so many are there as a whole.
            let mut end = ROOM_RECORD;
            let whole = saved.iter().take_while(|data| {
                end += HEADER + data.len();
                end <= stream.len()
            });
            prop_assert_eq!(freed.len(), whole.count());
        }
        stream.extend(read(&mut queue, 10_000, &mut freed));

        let mut images = Images::default();
        let mut decoder = Decoder::default();
        prop_assert_eq!(decoder.push(&stream, &mut images), Ok(()));
        prop_assert!(decoder.is_complete());
        prop_assert_eq!(images.rooms, vec![room]);
        prop_assert_eq!(images.loaded, saved);
    }
}
