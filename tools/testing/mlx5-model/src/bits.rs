// SPDX-License-Identifier: GPL-2.0

//! Fields of the firmware's structures: big-endian, counted in bits from the first byte's highest.

use std::ops::Range;

/// A field, as `struct mlx5_ifc_*_bits` has it: where it begins, and how many bits it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// In bits.
    pub at: usize,
    /// In bits; 0 for an array whose length is in the command.
    pub width: usize,
}

impl Field {
    /// The same field, where it is if its structure is the field `outer` of another.
    pub const fn within(self, outer: Field) -> Field {
        Field {
            at: outer.at + self.at,
            width: self.width,
        }
    }

    /// The bytes that it lies in. A structure or an array is whole bytes.
    pub const fn bytes(self) -> Range<usize> {
        self.at / 8..(self.at + self.width).div_ceil(8)
    }

    /// How far the end of the field is from the end of its last byte.
    fn shift(self) -> usize {
        self.bytes().end * 8 - (self.at + self.width)
    }

    fn mask(self) -> u128 {
        (1u128 << self.width.min(64)) - 1
    }
}

/// Reads `field`. What is behind the end of `buf` is zero.
pub fn get(buf: &[u8], field: Field) -> u64 {
    let bytes = field.bytes().fold(0u128, |sum, i| {
        (sum << 8) | u128::from(buf.get(i).copied().unwrap_or(0))
    });
    ((bytes >> field.shift()) & field.mask()) as u64
}

/// Writes `field`. What is behind the end of `buf` is dropped, as is what the field cannot hold.
pub fn set(buf: &mut [u8], field: Field, value: u64) {
    let mask = field.mask() << field.shift();
    let value = (u128::from(value) & field.mask()) << field.shift();
    for (n, i) in field.bytes().rev().enumerate() {
        if let Some(byte) = buf.get_mut(i) {
            *byte = *byte & !((mask >> (n * 8)) as u8) | (value >> (n * 8)) as u8;
        }
    }
}

/// The input of a command.
#[derive(Clone, Copy, Debug)]
pub struct In<'a>(pub &'a [u8]);

impl In<'_> {
    /// The value of a field of 64 bits at most.
    pub fn get(&self, field: Field) -> u64 {
        get(self.0, field)
    }

    /// As [`Self::get`], for a field of 32 bits at most.
    pub fn get32(&self, field: Field) -> u32 {
        get(self.0, field) as u32
    }

    /// Whether a bit is set.
    pub fn is_set(&self, field: Field) -> bool {
        self.get(field) != 0
    }

    /// The bytes of a structure or an array, those that there are.
    pub fn bytes(&self, field: Field) -> &[u8] {
        let range = field.bytes();
        let end = range.end.min(self.0.len());
        self.0.get(range.start..end).unwrap_or(&[])
    }

    /// The first `count` of the addresses at the end of the input; `None` if they are not all there.
    pub fn addresses(&self, tail: Field, count: usize) -> Option<Vec<u64>> {
        let start = tail.at / 8;
        let end = count.checked_mul(8)?.checked_add(start)?;
        let words = self.0.get(start..end)?.chunks_exact(8);
        Some(
            words
                .map(|word| get(word, Field { at: 0, width: 64 }))
                .collect(),
        )
    }
}

/// The output of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Out(pub Vec<u8>);

impl Out {
    /// All zero: success, and nothing to report.
    pub fn new(size: usize) -> Self {
        Out(vec![0; size])
    }

    /// Sets a field of 64 bits at most.
    pub fn set(mut self, field: Field, value: u64) -> Self {
        set(&mut self.0, field, value);
        self
    }

    /// Sets the bytes of a structure or an array, as many as it has.
    pub fn copy(mut self, field: Field, bytes: &[u8]) -> Self {
        if let Some(to) = self.0.get_mut(field.bytes()) {
            for (to, from) in to.iter_mut().zip(bytes) {
                *to = *from;
            }
        }
        self
    }

    /// Adds addresses behind what there is.
    pub fn push(mut self, addresses: &[u64]) -> Self {
        self.0
            .extend(addresses.iter().flat_map(|address| address.to_be_bytes()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bit by bit, which is slow and plain.
    fn get_slowly(buf: &[u8], field: Field) -> u64 {
        (field.at..field.at + field.width).fold(0, |sum, bit| {
            let byte = buf.get(bit / 8).copied().unwrap_or(0);
            (sum << 1) | u64::from((byte >> (7 - bit % 8)) & 1)
        })
    }

    proptest! {
        #[test]
        fn get_is_bit_by_bit(buf in prop::collection::vec(any::<u8>(), 0..24), at in 0..200usize, width in 1..=64usize) {
            let field = Field { at, width };
            prop_assert_eq!(get(&buf, field), get_slowly(&buf, field));
        }

        #[test]
        fn set_changes_the_field_only(mut buf in prop::collection::vec(any::<u8>(), 40), at in 0..200usize, width in 1..=64usize, value: u64) {
            let field = Field { at, width };
            let before = buf.clone();
            set(&mut buf, field, value);
            prop_assert_eq!(get(&buf, field), value & (u64::MAX >> (64 - width)));
            for bit in (0..320).filter(|bit| !(at..at + width).contains(bit)) {
                let bit = Field { at: bit, width: 1 };
                prop_assert_eq!(get(&buf, bit), get(&before, bit));
            }
        }

        #[test]
        fn nothing_panics(mut buf in prop::collection::vec(any::<u8>(), 0..24), at in 0..400usize, width in 0..=64usize, count: usize) {
            let field = Field { at, width };
            set(&mut buf, field, u64::MAX);
            let _ = In(&buf).bytes(field);
            let _ = In(&buf).addresses(field, count);
        }
    }
}
