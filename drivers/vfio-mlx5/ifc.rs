// SPDX-License-Identifier: GPL-2.0

//! The layouts of what the firmware reads and writes.
//!
//! `struct mlx5_ifc_*_bits` of C header `include/linux/mlx5/mlx5_ifc.h` have one byte for each bit
//! of the firmware's structure: with bindgen's output of them, the offset of a member is a bit
//! offset and its size a width in bits. [`field!`] is all that there is between that and a mailbox;
//! everything is big-endian.
//!
//! Uses `core` only: the same source is in the host crate.

/// Some bits of a structure: up to 32 in one word of 32 bits, or two words.
///
/// # Invariants
///
/// `width` is 64 and `at` a multiple of 32, or `width` is 1 to 32 and the bits are all in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    at: usize,
    width: usize,
}

impl Field {
    /// The `width` bits from bit `at` on. For [`field!`], in a constant: what is no such field does
    /// not compile.
    pub const fn new(at: usize, width: usize) -> Self {
        // PANIC: Evaluated by the compiler only.
        assert!(match width {
            64 => at % 32 == 0,
            1..=32 => at / 32 == (at + width - 1) / 32,
            _ => false,
        });
        // INVARIANT: Asserted above.
        Self { at, width }
    }

    /// The first bit.
    pub const fn at(self) -> usize {
        self.at
    }

    /// How many bits.
    pub const fn width(self) -> usize {
        self.width
    }

    /// The largest value.
    const fn max(self) -> u64 {
        // The shift is 0 to 63 by the type invariants, and wraps if they were broken.
        u64::MAX.wrapping_shr(64_u32.wrapping_sub(self.width as u32))
    }

    /// How many bits of the (last) word follow.
    const fn below(self) -> u32 {
        // CAST: Below 32.
        32_u32.wrapping_sub((self.at % 32) as u32 + self.width as u32) % 32
    }
}

/// How many bits the member has that `member` returns.
pub const fn width<L, M>(_member: fn(&L) -> &M) -> usize {
    core::mem::size_of::<M>()
}

/// `field!(structure, member)`, a constant [`Field`]: a member of a `mlx5_ifc_*_bits`, or a member
/// of a member.
macro_rules! field {
    ($layout:ty, $($member:ident).+) => {
        const {
            $crate::ifc::Field::new(
                core::mem::offset_of!($layout, $($member).+),
                $crate::ifc::width(|layout: &$layout| &layout.$($member).+),
            )
        }
    };
}
pub(crate) use field;

/// The bytes of a structure.
pub const fn bytes<L>() -> usize {
    core::mem::size_of::<L>() / 8
}

fn word_at(bytes: &[u8], n: usize) -> Option<&[u8; 4]> {
    bytes.get(n.checked_mul(4)?..)?.first_chunk()
}

fn word_at_mut(bytes: &mut [u8], n: usize) -> Option<&mut [u8; 4]> {
    bytes.get_mut(n.checked_mul(4)?..)?.first_chunk_mut()
}

/// The value of a field of the structure that begins with `bytes`; `None` if they end before it.
pub fn get(bytes: &[u8], field: Field) -> Option<u64> {
    let n = field.at / 32;
    let word = |n| Some(u64::from(u32::from_be_bytes(*word_at(bytes, n)?)));
    if field.width > 32 {
        return Some((word(n)? << 32) | word(n.checked_add(1)?)?);
    }
    Some((word(n)? >> field.below()) & field.max())
}

/// A structure that is being written.
pub struct Writer<'a> {
    bytes: &'a mut [u8],
    fits: bool,
}

impl<'a> Writer<'a> {
    /// `bytes` are zeroed, and are then those of the structure.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        bytes.fill(0);
        Self { bytes, fits: true }
    }

    /// Sets a field. What does not fit is never cut: see [`Writer::finish`].
    pub fn set(&mut self, field: Field, value: impl Into<u64>) -> &mut Self {
        let value = value.into();
        if value > field.max() || self.put(field, value).is_none() {
            self.fits = false;
        }
        self
    }

    fn put(&mut self, field: Field, value: u64) -> Option<()> {
        let mut n = field.at / 32;
        if field.width > 32 {
            // CAST: Its upper half.
            *word_at_mut(self.bytes, n)? = ((value >> 32) as u32).to_be_bytes();
            n = n.checked_add(1)?;
        }
        let word = word_at_mut(self.bytes, n)?;
        // CAST: It is the lower half, or there is no upper one.
        let low = (value as u32).wrapping_shl(field.below());
        let mask = (field.max() as u32).wrapping_shl(field.below());
        *word = (u32::from_be_bytes(*word) & !mask | low).to_be_bytes();
        Some(())
    }

    /// Sets the words of 64 bits from byte `at` on.
    pub fn list(&mut self, at: usize, values: impl Iterator<Item = u64>) -> &mut Self {
        let mut room = self.bytes.get_mut(at..).unwrap_or_default();
        for value in values {
            let Some((entry, rest)) = room.split_first_chunk_mut() else {
                self.fits = false;
                break;
            };
            *entry = value.to_be_bytes();
            room = rest;
        }
        self
    }

    /// The part of the structure from byte `at` on.
    pub fn part(&mut self, at: usize, f: impl FnOnce(&mut Writer<'_>)) -> &mut Self {
        let mut part = Writer {
            bytes: self.bytes.get_mut(at..).unwrap_or_default(),
            fits: true,
        };
        f(&mut part);
        self.fits &= part.fits;
        self
    }

    /// Did everything fit that was set?
    pub fn finish(self) -> bool {
        self.fits
    }
}
