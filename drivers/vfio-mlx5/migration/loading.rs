// SPDX-License-Identifier: GPL-2.0

//! The state of a VF on its way into the firmware.

use super::buffer::Buffer;
use crate::{
    abi::{
        core_dev::{
            CoreDev,
            Pd, //
        },
        killed,
        pages::Writer, //
    },
    cmd::migration::Load,
    image::{
        Decoder,
        Loader,
        Refused, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The most memory, in bytes, that is set aside because a stream says how much it will take.
/// Anybody can write anything into a stream: the rest comes when there is something to put there.
const MAX_PROMISE: u64 = 64 << 20;

/// States that the firmware is to load.
pub(super) struct Loading {
    decoder: Decoder,
    firmware: Firmware,
}

/// What there is for the decoder to load with. All states are loaded from the same memory, with the
/// same key.
struct Firmware {
    pf: CoreDev,
    vhca_id: u16,
    buffer: Buffer,
}

impl Loader for Firmware {
    type Error = Error;

    fn put(&mut self, at: u64, bytes: &[u8]) -> Result {
        // Only as it comes: whoever wants memory has to have it himself.
        self.buffer.grow(at.saturating_add(bytes.len() as u64))?;
        self.buffer.write(at, bytes)
    }

    fn load(&mut self, length: u64) -> Result {
        // There may be many small ones in one write.
        if killed() {
            return Err(EINTR);
        }
        // What an empty state is the firmware may say; there is no key to nothing.
        self.buffer.grow(1)?;
        let memory = self.buffer.key()?;
        Ok(self.pf.exec(&Load {
            vhca_id: self.vhca_id,
            memory,
            length: u32::try_from(length)?,
        })?)
    }

    fn will_take(&mut self, bytes: u64) {
        // If it fails it is tried again when it is needed. There is not more than a page in the
        // buffer yet, or it is large enough.
        let bytes = bytes.min(MAX_PROMISE);
        if bytes > 0 && self.buffer.grow(bytes).is_ok() {
            let _ = self.buffer.key();
        }
    }
}

impl Loading {
    /// Of the VF `vhca_id`.
    pub(super) fn new(pf: &CoreDev, vhca_id: u16) -> Result<Self> {
        let pd = Arc::new(Pd::new(pf)?, GFP_KERNEL)?;
        Ok(Self {
            decoder: Decoder::default(),
            firmware: Firmware {
                pf: pf.clone(),
                vhca_id,
                buffer: Buffer::new(pf, &pd, Writer::Cpu),
            },
        })
    }

    /// Was all of it loaded that was written?
    pub(super) fn is_complete(&self) -> bool {
        self.decoder.is_complete()
    }

    /// The next bytes of the stream.
    ///
    /// Errors: `EOPNOTSUPP` if there is something in it that has to be understood and is not known,
    /// `ENOMEM` also if it says to be longer than any is, those of the firmware; `ENODEV` after one
    /// of these.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result {
        let result = self.decoder.push(bytes, &mut self.firmware);
        result.map_err(|refused| match refused {
            Refused::TooLong => ENOMEM,
            Refused::Unknown => EOPNOTSUPP,
            Refused::Before => ENODEV,
            Refused::Loader(error) => error,
        })
    }
}
