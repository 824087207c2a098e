// SPDX-License-Identifier: GPL-2.0

//! The stream that the state of a VF is migrated as.
//!
//! It is a sequence of records, each with a header before its data. This is the format of
//! mlx5-vfio-pci, so that a VF can go from one driver to the other:
//!
//! ```text
//! bytes   0..8   length of the data, all numbers are little-endian
//!         8..12  flags: bit 0 says that who does not know the tag may skip the record
//!        12..16  tag: 0 what the firmware saved, 1 how much memory that will take
//! ```
//!
//! Uses `core` only: the same source is in the host crate.
//!
//! C header: `struct mlx5_vf_migration_header` of `drivers/vfio/pci/mlx5/cmd.h`.

/// Bytes of a record's header.
pub const HEADER: usize = 16;
/// Bytes of the data of a record [`TAG_ROOM`].
const ROOM: usize = 8;
/// Bytes of the record that [`room`] makes.
pub const ROOM_RECORD: usize = HEADER + ROOM;
/// More than a firmware can be told to load at once.
const TOO_LONG: u64 = 1 << 32;

const FLAG_OPTIONAL: u32 = 1;
const TAG_FIRMWARE: u32 = 0;
const TAG_ROOM: u32 = 1;

/// The most that the firmware is given to save into, in bytes: the length has 32 bits, and the
/// memory is whole pages.
pub const MAX_ROOM: u64 = TOO_LONG - 4096;

fn header(length: u64, flags: u32, tag: u32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    let (first, rest) = bytes.split_at_mut(8);
    let (second, third) = rest.split_at_mut(4);
    first.copy_from_slice(&length.to_le_bytes());
    second.copy_from_slice(&flags.to_le_bytes());
    third.copy_from_slice(&tag.to_le_bytes());
    bytes
}

/// The header of the `length` bytes that the firmware saved.
pub fn firmware(length: u64) -> [u8; HEADER] {
    header(length, 0, TAG_FIRMWARE)
}

/// A record that tells whoever loads: the firmware has `room` bytes to save into when the device is
/// stopped.
pub fn room(room: u64) -> [u8; ROOM_RECORD] {
    let mut bytes = [0; ROOM_RECORD];
    let (first, second) = bytes.split_at_mut(HEADER);
    first.copy_from_slice(&header(ROOM as u64, FLAG_OPTIONAL, TAG_ROOM));
    second.copy_from_slice(&room.to_le_bytes());
    bytes
}

/// Takes what the firmware saved.
pub trait Loader {
    /// Why it could not.
    type Error;

    /// `bytes` belong at `at` of what the firmware saved. They come in order.
    fn put(&mut self, at: u64, bytes: &[u8]) -> Result<(), Self::Error>;

    /// All `length` bytes of it were put: it can be loaded. The next one begins at 0 again.
    fn load(&mut self, length: u64) -> Result<(), Self::Error>;

    /// The firmware had `bytes` bytes to save into. Nobody vouches for that: it may be any number,
    /// and what comes may be longer.
    fn will_take(&mut self, bytes: u64);
}

/// Why a stream was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused<E> {
    /// A record is longer than any can be.
    TooLong,
    /// A record has to be understood, and cannot be.
    Unknown,
    /// It was refused before: nothing after that can be understood.
    Before,
    /// The loader did not take it.
    Loader(E),
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The first `have` bytes of a header are there.
    Header { bytes: [u8; HEADER], have: usize },
    /// Of what the firmware saved, `at` bytes are there.
    Firmware { at: u64, length: u64 },
    /// The first `have` bytes of how much memory there was are there, and so many are left of the
    /// record.
    Room {
        bytes: [u8; ROOM],
        have: usize,
        left: u64,
    },
    /// So many bytes of a record are of no interest.
    Skip { left: u64 },
    /// There is nothing to be had from this stream any more.
    Refused,
}

impl State {
    const START: Self = Self::Header {
        bytes: [0; HEADER],
        have: 0,
    };

    /// The length, the flags and the tag.
    fn parse(header: &[u8; HEADER]) -> Option<(u64, u32, u32)> {
        let (length, rest) = header.split_first_chunk()?;
        let (flags, rest) = rest.split_first_chunk()?;
        let tag = rest.first_chunk()?;
        Some((
            u64::from_le_bytes(*length),
            u32::from_le_bytes(*flags),
            u32::from_le_bytes(*tag),
        ))
    }

    /// What comes after `header`.
    fn record<E>(header: &[u8; HEADER]) -> Result<Self, Refused<E>> {
        let (length, flags, tag) = Self::parse(header).ok_or(Refused::Unknown)?;
        if length >= TOO_LONG {
            return Err(Refused::TooLong);
        }
        match tag {
            TAG_FIRMWARE => Ok(Self::Firmware { at: 0, length }),
            TAG_ROOM => Ok(Self::Room {
                bytes: [0; ROOM],
                have: 0,
                left: length,
            }),
            _ if flags & FLAG_OPTIONAL != 0 => Ok(Self::Skip { left: length }),
            _ => Err(Refused::Unknown),
        }
    }
}

/// The first `n` of `bytes`, or all if they are fewer; the others remain.
fn take<'a>(bytes: &mut &'a [u8], n: u64) -> &'a [u8] {
    let n = usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
    let (taken, rest) = bytes.split_at_checked(n).unwrap_or((bytes, &[]));
    *bytes = rest;
    taken
}

/// Takes a stream apart, however its bytes come.
pub struct Decoder {
    state: State,
}

impl Default for Decoder {
    /// At the beginning of a stream.
    fn default() -> Self {
        Self {
            state: State::START,
        }
    }
}

impl Decoder {
    /// Nothing is missing: the last record ended with the last byte, or there was none.
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Header { have: 0, .. })
    }

    /// The next bytes of the stream. What is whole by then was loaded when this returns.
    ///
    /// An error is final.
    pub fn push<L: Loader>(
        &mut self,
        mut bytes: &[u8],
        loader: &mut L,
    ) -> Result<(), Refused<L::Error>> {
        loop {
            // An error leaves it there.
            let state = core::mem::replace(&mut self.state, State::Refused);
            let (next, done) = Self::step(state, &mut bytes, loader)?;
            self.state = next;
            if done {
                return Ok(());
            }
        }
    }

    /// One step, and whether more bytes are needed for another one.
    fn step<L: Loader>(
        state: State,
        bytes: &mut &[u8],
        loader: &mut L,
    ) -> Result<(State, bool), Refused<L::Error>> {
        match state {
            State::Header {
                bytes: mut header,
                have,
            } => {
                let room = header.get_mut(have..).unwrap_or_default();
                let taken = take(bytes, room.len() as u64);
                for (to, from) in room.iter_mut().zip(taken) {
                    *to = *from;
                }
                let have = have.saturating_add(taken.len());
                if have < HEADER {
                    return Ok((
                        State::Header {
                            bytes: header,
                            have,
                        },
                        true,
                    ));
                }
                Ok((State::record(&header)?, false))
            }
            State::Room {
                bytes: mut number,
                have,
                left,
            } => {
                let room = number.get_mut(have..).unwrap_or_default();
                let taken = take(bytes, left.min(room.len() as u64));
                for (to, from) in room.iter_mut().zip(taken) {
                    *to = *from;
                }
                let have = have.saturating_add(taken.len());
                let left = left.saturating_sub(taken.len() as u64);
                if have < ROOM && left > 0 {
                    let bytes = number;
                    return Ok((State::Room { bytes, have, left }, true));
                }
                // A record that is too short has bytes of 0 behind it.
                loader.will_take(u64::from_le_bytes(number));
                Ok((State::Skip { left }, false))
            }
            State::Firmware { at, length } => {
                let taken = take(bytes, length.saturating_sub(at));
                if !taken.is_empty() {
                    loader.put(at, taken).map_err(Refused::Loader)?;
                }
                let at = at.saturating_add(taken.len() as u64);
                if at < length {
                    return Ok((State::Firmware { at, length }, true));
                }
                loader.load(length).map_err(Refused::Loader)?;
                Ok((State::START, false))
            }
            State::Skip { left } => {
                let taken = take(bytes, left);
                let left = left.saturating_sub(taken.len() as u64);
                if left > 0 {
                    return Ok((State::Skip { left }, true));
                }
                Ok((State::START, false))
            }
            State::Refused => Err(Refused::Before),
        }
    }
}
