// SPDX-License-Identifier: GPL-2.0

//! A stream with the state of a VF as a user may write it that means ill, in pieces of any length: it
//! is the same as if it were written at once, and nothing is loaded that was not written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vfio_mlx5_logic::image::{
    Decoder,
    Loader, //
};

/// What is loaded, and what is not whole yet.
#[derive(Debug, Default, PartialEq)]
struct States {
    loaded: Vec<Vec<u8>>,
    coming: Vec<u8>,
    rooms: Vec<u64>,
}

impl Loader for States {
    type Error = usize;

    fn put(&mut self, at: u64, bytes: &[u8]) -> Result<(), usize> {
        assert_eq!(at, self.coming.len() as u64);
        self.coming.extend(bytes);
        Ok(())
    }

    fn load(&mut self, length: u64) -> Result<(), usize> {
        assert_eq!(length, self.coming.len() as u64);
        let state = core::mem::take(&mut self.coming);
        // So that there are some that are refused.
        if state.first() == Some(&0xee) {
            return Err(self.loaded.len());
        }
        self.loaded.push(state);
        Ok(())
    }

    fn will_take(&mut self, bytes: u64) {
        self.rooms.push(bytes);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((length, stream)) = data.split_first() else {
        return;
    };
    let mut whole = States::default();
    let mut at_once = Decoder::default();
    let verdict = at_once.push(stream, &mut whole);

    let mut parts = States::default();
    let mut in_pieces = Decoder::default();
    let mut pieces = stream.chunks(usize::from(*length) + 1);
    let result = pieces.try_for_each(|piece| in_pieces.push(piece, &mut parts));

    assert_eq!(verdict, result);
    assert_eq!(whole, parts);
    assert_eq!(at_once.is_complete(), in_pieces.is_complete());
    let written: usize = whole.loaded.iter().map(Vec::len).sum();
    assert!(written + 16 * whole.loaded.len() <= stream.len());
});
