// SPDX-License-Identifier: GPL-2.0

//! Memory that the firmware saves to, or loads from, with the key to it.

use crate::{
    abi::{
        core_dev::{
            CoreDev,
            Pd, //
        },
        pages::{
            Pages,
            Writer, //
        }, //
    },
    cmd::mkey::{
        self,
        Mkey, //
    },
    outgoing::Data, //
};
use core::mem;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Memory, and the key to it once there is one.
///
/// If the firmware does not give the key back the memory stays as it is, for ever: the firmware may
/// still use it.
pub(super) struct Buffer {
    pf: CoreDev,
    /// Longer than the key lives.
    pd: Arc<Pd>,
    key: Option<Mkey>,
    /// There until `drop`.
    pages: Option<Pages>,
}

impl Buffer {
    /// Without memory.
    pub(super) fn new(pf: &CoreDev, pd: &Arc<Pd>, writer: Writer) -> Self {
        Self {
            pf: pf.clone(),
            pd: pd.clone(),
            key: None,
            pages: Some(Pages::new(pf, writer)),
        }
    }

    /// With so many bytes at least, and a key. Errors as for [`Self::grow`] and [`Self::key`].
    pub(super) fn with_room(
        pf: &CoreDev,
        pd: &Arc<Pd>,
        writer: Writer,
        bytes: u64,
    ) -> Result<Self> {
        let mut buffer = Self::new(pf, pd, writer);
        buffer.grow(bytes)?;
        buffer.key()?;
        Ok(buffer)
    }

    /// How many bytes.
    pub(super) fn len(&self) -> u64 {
        self.pages.as_ref().map_or(0, Pages::len)
    }

    /// Makes it `bytes` long at least. Errors: `EINTR` if the task is to be killed, `ENOMEM`; `EIO`
    /// if the firmware does not give up what it has.
    pub(super) fn grow(&mut self, bytes: u64) -> Result {
        if self.len() >= bytes {
            return Ok(());
        }
        self.give_up_key()?;
        self.pages.as_mut().ok_or(EIO)?.grow(bytes)
    }

    /// The key to all of it. Errors: those of the firmware, `ENOMEM`.
    pub(super) fn key(&mut self) -> Result<Mkey> {
        if let Some(key) = self.key {
            return Ok(key);
        }
        let pages = self.pages.as_ref().ok_or(EIO)?;
        let created = self.pf.exec(&mkey::Create {
            pd: self.pd.number(),
            bytes: pages.len(),
            log_page_size: pages.log_page_size(),
            pages: pages.addresses(),
        });
        match created {
            Ok(key) => {
                self.key = Some(key);
                Ok(key)
            }
            Err(failure) => {
                if failure.is_open() {
                    mem::forget(self.pages.take());
                }
                Err(failure.into())
            }
        }
    }

    fn give_up_key(&mut self) -> Result {
        if let Some(key) = self.key.take() {
            if !self.pf.destroy(&mkey::Destroy(key), "memory key") {
                mem::forget(self.pages.take());
                return Err(EIO);
            }
        }
        Ok(())
    }

    /// Copies what belongs at `at`, which has to have room. The firmware must not use it now.
    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) -> Result {
        self.pages.as_mut().ok_or(EIO)?.write(at, bytes)
    }
}

impl Data for Buffer {
    type Error = Error;

    fn read(&self, at: u64, bytes: &mut [u8]) -> Result {
        self.pages.as_ref().ok_or(EIO)?.read(at, bytes)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let _ = self.give_up_key();
    }
}
