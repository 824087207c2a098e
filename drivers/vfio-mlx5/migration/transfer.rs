// SPDX-License-Identifier: GPL-2.0

//! The state of a VF on its way out of the firmware, or into it.

use crate::{
    abi::{
        core_dev::{
            CoreDev,
            Failure,
            Pd, //
        },
        killed,
        pages::{
            Lent,
            Pages,
            Writer, //
        }, //
    },
    cmd::{
        migration::{
            Load,
            Save, //
        },
        mkey::{
            self,
            Mkey, //
        }, //
    },
    image::{
        self,
        Decoder,
        Loader,
        Refused,
        PREAMBLE, //
    }, //
};
use core::mem;
use kernel::{
    page::PAGE_SHIFT,
    prelude::*, //
};

/// Lends `pages` to the firmware while `f` uses the key to them.
///
/// If the firmware does not give the key back they stay as they are, for ever: it may still write
/// to them.
fn lend<R>(
    pf: &CoreDev,
    pages: Pages,
    writer: Writer,
    f: impl FnOnce(Mkey) -> Result<R, Failure>,
) -> Result<(R, Pages)> {
    let pd = Pd::new(pf)?;
    let bytes = pages.len();
    let lent = Lent::new(pf, pages, writer)?;
    let key = pf.exec(&mkey::Create {
        pd: pd.number(),
        bytes,
        log_page_size: PAGE_SHIFT as u8,
        pages: lent.addresses(),
    });
    let key = match key {
        Ok(key) => key,
        Err(failure) => {
            if failure.is_open() {
                mem::forget(lent);
            }
            return Err(failure.into());
        }
    };
    let result = f(key);
    if !pf.destroy(&mkey::Destroy(key), "memory key") {
        mem::forget(lent);
        return Err(EIO);
    }
    let pages = lent.take_back();
    Ok((result?, pages))
}

/// A state that the firmware has saved.
pub(super) struct Saved {
    preamble: [u8; PREAMBLE],
    pages: Pages,
    /// Bytes of `pages` that are of it.
    length: u64,
}

impl Saved {
    /// Saves the state of the VF `vhca_id`, which takes at most `size` bytes.
    pub(super) fn new(pf: &CoreDev, vhca_id: u16, size: u32) -> Result<Self> {
        let mut pages = Pages::new();
        // A page at least: there is no key to nothing.
        pages.grow(u64::from(size).clamp(1, image::MAX_ROOM))?;
        let room = pages.len();
        let bytes = u32::try_from(room)?;
        let (saved, pages) = lend(pf, pages, Writer::Device, |memory| {
            pf.exec(&Save {
                vhca_id,
                memory,
                room: bytes,
                incremental: false,
                track: false,
            })
        })?;
        let length = u64::from(saved.length);
        if length > room {
            return Err(EIO);
        }
        Ok(Self {
            preamble: image::preamble(room, length),
            pages,
            length,
        })
    }

    /// Copies what is at `at` of the stream. Returns how many bytes there are.
    pub(super) fn read(&self, at: u64, bytes: &mut [u8]) -> Result<usize> {
        let begin = usize::try_from(at)?;
        if let Some(part @ [_, ..]) = self.preamble.get(begin..) {
            for (to, from) in bytes.iter_mut().zip(part) {
                *to = *from;
            }
            return Ok(part.len().min(bytes.len()));
        }
        let at = at.saturating_sub(PREAMBLE as u64);
        let left = usize::try_from(self.length.saturating_sub(at))?;
        let len = left.min(bytes.len());
        self.pages
            .read(at, bytes.get_mut(..len).unwrap_or_default())?;
        Ok(len)
    }
}

/// States that the firmware is to load.
pub(super) struct Loading {
    decoder: Decoder,
    pages: Pages,
}

/// What there is for the decoder to load with.
struct Firmware<'a> {
    pf: &'a CoreDev,
    vhca_id: u16,
    pages: &'a mut Pages,
}

impl Loader for Firmware<'_> {
    type Error = Error;

    fn put(&mut self, at: u64, bytes: &[u8]) -> Result {
        // Only as it comes: whoever wants memory has to have it himself.
        self.pages.grow(at.saturating_add(bytes.len() as u64))?;
        self.pages.write(at, bytes)
    }

    fn load(&mut self, length: u64) -> Result {
        // There may be many small ones in one write.
        if killed() {
            return Err(EINTR);
        }
        // What an empty state is the firmware may say; there is no key to nothing.
        self.pages.grow(1)?;
        let length = u32::try_from(length)?;
        let pages = mem::replace(self.pages, Pages::new());
        let ((), pages) = lend(self.pf, pages, Writer::Cpu, |memory| {
            self.pf.exec(&Load {
                vhca_id: self.vhca_id,
                memory,
                length,
            })
        })?;
        *self.pages = pages;
        Ok(())
    }
}

impl Loading {
    pub(super) fn new() -> Self {
        Self {
            decoder: Decoder::default(),
            pages: Pages::new(),
        }
    }

    /// Was all of it loaded that was written?
    pub(super) fn is_complete(&self) -> bool {
        self.decoder.is_complete()
    }

    /// The next bytes of the stream, for the VF `vhca_id`.
    ///
    /// Errors: `EOPNOTSUPP` if there is something in it that has to be understood and is not known,
    /// `ENOMEM` also if it says to be longer than any is, those of the firmware; `ENODEV` after one
    /// of these.
    pub(super) fn write(&mut self, pf: &CoreDev, vhca_id: u16, bytes: &[u8]) -> Result {
        let pages = &mut self.pages;
        let mut firmware = Firmware { pf, vhca_id, pages };
        let result = self.decoder.push(bytes, &mut firmware);
        if result.is_err() {
            // There is no use for them.
            self.pages = Pages::new();
        }
        result.map_err(|refused| match refused {
            Refused::TooLong => ENOMEM,
            Refused::Unknown => EOPNOTSUPP,
            Refused::Before => ENODEV,
            Refused::Loader(error) => error,
        })
    }
}
