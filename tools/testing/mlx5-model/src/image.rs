// SPDX-License-Identifier: GPL-2.0

//! The objects of a VHCA as bytes, which [`crate::stream`] takes to another one. Nobody but the model
//! reads them: their layout is its own, as a vendor's is.

use std::collections::BTreeMap;
use std::collections::VecDeque;

/// Reads an image.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*bytes)
    }

    /// A length: of elements that take a byte each at least.
    fn len(&mut self) -> Option<usize> {
        let len = usize::try_from(u64::load(self)?).ok()?;
        (len <= self.rest.len()).then_some(len)
    }
}

/// What can be in an image.
pub trait Persist: Sized {
    /// Appends it.
    fn save(&self, image: &mut Vec<u8>);
    /// Takes it off the front; `None` if it is not there, or cannot be.
    fn load(image: &mut Reader<'_>) -> Option<Self>;
}

macro_rules! persist_integers {
    ($($integer:ty),*) => {$(
        impl Persist for $integer {
            fn save(&self, image: &mut Vec<u8>) {
                image.extend(self.to_be_bytes());
            }

            fn load(image: &mut Reader<'_>) -> Option<Self> {
                image.bytes().map(Self::from_be_bytes)
            }
        }
    )*};
}
persist_integers!(u8, u16, u32, u64);

/// Implements [`Persist`] for a structure, field by field.
macro_rules! persist {
    ($structure:ident { $($field:ident),* $(,)? }) => {
        impl $crate::image::Persist for $structure {
            fn save(&self, image: &mut Vec<u8>) {
                $($crate::image::Persist::save(&self.$field, image);)*
            }

            fn load(image: &mut $crate::image::Reader<'_>) -> Option<Self> {
                Some(Self {
                    $($field: $crate::image::Persist::load(image)?,)*
                })
            }
        }
    };
}
pub(crate) use persist;

/// Implements [`Persist`] for an enum without fields.
macro_rules! persist_enum {
    ($name:ident { $($variant:ident),* $(,)? }) => {
        impl $crate::image::Persist for $name {
            fn save(&self, image: &mut Vec<u8>) {
                $crate::image::Persist::save(&(*self as u8), image);
            }

            fn load(image: &mut $crate::image::Reader<'_>) -> Option<Self> {
                let number = <u8 as $crate::image::Persist>::load(image)?;
                [$(Self::$variant),*].into_iter().find(|variant| *variant as u8 == number)
            }
        }
    };
}
pub(crate) use persist_enum;

impl Persist for () {
    fn save(&self, image: &mut Vec<u8>) {
        // It has no state; but a length of them is a length of bytes.
        image.push(0);
    }

    fn load(image: &mut Reader<'_>) -> Option<Self> {
        u8::load(image).filter(|byte| *byte == 0).map(drop)
    }
}

impl Persist for bool {
    fn save(&self, image: &mut Vec<u8>) {
        u8::from(*self).save(image);
    }

    fn load(image: &mut Reader<'_>) -> Option<Self> {
        match u8::load(image)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Persist for usize {
    fn save(&self, image: &mut Vec<u8>) {
        (*self as u64).save(image);
    }

    fn load(image: &mut Reader<'_>) -> Option<Self> {
        usize::try_from(u64::load(image)?).ok()
    }
}

impl<T: Persist> Persist for Option<T> {
    fn save(&self, image: &mut Vec<u8>) {
        self.is_some().save(image);
        if let Some(value) = self {
            value.save(image);
        }
    }

    fn load(image: &mut Reader<'_>) -> Option<Self> {
        match bool::load(image)? {
            true => T::load(image).map(Some),
            false => Some(None),
        }
    }
}

impl<T: Persist> Persist for Vec<T> {
    fn save(&self, image: &mut Vec<u8>) {
        self.len().save(image);
        self.iter().for_each(|item| item.save(image));
    }

    fn load(image: &mut Reader<'_>) -> Option<Self> {
        let len = image.len()?;
        (0..len).map(|_| T::load(image)).collect()
    }
}

impl<T: Persist> Persist for VecDeque<T> {
    fn save(&self, image: &mut Vec<u8>) {
        self.len().save(image);
        self.iter().for_each(|item| item.save(image));
    }

    fn load(image: &mut Reader<'_>) -> Option<Self> {
        Vec::load(image).map(VecDeque::from)
    }
}

impl<K: Persist + Ord, V: Persist> Persist for BTreeMap<K, V> {
    fn save(&self, image: &mut Vec<u8>) {
        self.len().save(image);
        for (key, value) in self {
            key.save(image);
            value.save(image);
        }
    }

    fn load(image: &mut Reader<'_>) -> Option<Self> {
        let len = image.len()?;
        (0..len)
            .map(|_| Some((K::load(image)?, V::load(image)?)))
            .collect()
    }
}

impl Persist for [u64; 4] {
    fn save(&self, image: &mut Vec<u8>) {
        self.iter().for_each(|word| word.save(image));
    }

    fn load(image: &mut Reader<'_>) -> Option<Self> {
        let mut words = [0; 4];
        for word in &mut words {
            *word = u64::load(image)?;
        }
        Some(words)
    }
}

/// The image of `state`.
pub fn save<T: Persist>(state: &T) -> Vec<u8> {
    let mut image = Vec::new();
    state.save(&mut image);
    image
}

/// The state of an image; `None` if it is not one.
pub fn load<T: Persist>(image: &[u8]) -> Option<T> {
    let mut reader = Reader { rest: image };
    T::load(&mut reader).filter(|_| reader.rest.is_empty())
}
