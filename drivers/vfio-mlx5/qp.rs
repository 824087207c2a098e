// SPDX-License-Identifier: GPL-2.0

//! Queue pairs and the buffers that they receive into.

use crate::{
    abi::{
        core_dev::{
            CoreDev,
            Pd,
            Uar, //
        },
        cq::Cq,
        dma::{
            Doorbell,
            FragBuf, //
        },
        pieces::Pieces, //
    },
    cmd::{
        self,
        mkey::Mkey,
        qp::{
            Qpn,
            WQE_LEN, //
        }, //
    },
    cqe::Ring,
    report::ENTRY_LEN, //
};
use core::mem;
use kernel::prelude::*;

/// The buffers of a queue pair, one for each receive, and the key to them.
pub(crate) struct Buffers {
    dev: CoreDev,
    mkey: Mkey,
    /// There until `drop`.
    memory: Option<Pieces>,
    /// Bytes of each.
    len: u32,
}

impl Buffers {
    /// `ring.count()` buffers of 2^`log_len` bytes.
    pub(crate) fn new(dev: &CoreDev, pd: &Pd, ring: Ring, log_len: u8) -> Result<Self> {
        let len = 1_u32.checked_shl(log_len.into()).ok_or(EINVAL)?;
        let bytes = ring.count().checked_mul(len as usize).ok_or(EINVAL)?;
        let memory = Pieces::new(dev, bytes)?;
        let created = dev.exec(&cmd::mkey::Create {
            pd: pd.number(),
            bytes: bytes as u64,
            log_page_size: memory.log_page_size().saturating_add(12),
            pages: memory.pages(),
        });
        match created {
            Ok(mkey) => Ok(Self {
                dev: dev.clone(),
                mkey,
                memory: Some(memory),
                len,
            }),
            Err(failure) => {
                if failure.is_open() {
                    mem::forget(memory);
                }
                Err(failure.into())
            }
        }
    }

    /// Bytes of each buffer.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Where the buffer `slot` is, for the device.
    fn address(&self, slot: usize) -> u64 {
        (slot as u64).wrapping_mul(self.len.into())
    }

    /// Calls `f` with each of the first `count` entries of the buffer `slot`, which has come in and
    /// was not posted again.
    pub(crate) fn entries(&self, slot: usize, count: u32, f: impl FnMut(&[u8; ENTRY_LEN])) {
        if let Some(memory) = &self.memory {
            let start = slot.saturating_mul(self.len as usize);
            memory.read(start, (count as usize).saturating_mul(ENTRY_LEN), f);
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if !self
            .dev
            .destroy(&cmd::mkey::Destroy(self.mkey), "memory key")
        {
            mem::forget(self.memory.take());
        }
    }
}

/// A queue pair.
pub(crate) struct Qp {
    dev: CoreDev,
    number: Qpn,
    receives: Option<Receives>,
}

/// The receive queue of a queue pair: the receive `slot` always takes the buffer `slot`.
struct Receives {
    memory: FragBuf,
    doorbell: Doorbell,
    ring: Ring,
    /// How many were posted. All are as soon as they can be: they arrive in this order.
    posted: u32,
}

impl Receives {
    fn new(dev: &CoreDev, ring: Ring) -> Result<Self> {
        Ok(Self {
            doorbell: Doorbell::new(dev)?,
            memory: FragBuf::new(dev, ring.count().checked_mul(WQE_LEN).ok_or(EINVAL)?)?,
            ring,
            posted: 0,
        })
    }

    /// Tells the device how many there are.
    fn ring(&mut self) {
        // The record has 16 bits.
        self.doorbell.ring(self.posted & 0xffff);
    }
}

impl Qp {
    /// A queue pair that receives as much as `ring` has room for, and tells it to `cq`.
    pub(crate) fn receiving(
        dev: &CoreDev,
        pd: &Pd,
        uar: &Uar,
        cq: &Cq,
        ring: Ring,
    ) -> Result<Self> {
        let receives = Receives::new(dev, ring)?;
        let queue = cmd::qp::Receive {
            cqn: cq.number(),
            log_size: ring.log_size(),
            log_page_size: receives.memory.log_page_size(),
            doorbell: receives.doorbell.address(),
            pages: receives.memory.pages(),
        };
        let created = create(dev, pd, uar, Some(queue));
        match created {
            Ok(number) => Ok(Self {
                dev: dev.clone(),
                number,
                receives: Some(receives),
            }),
            Err(failure) => {
                if failure.is_open() {
                    mem::forget(receives);
                }
                Err(failure.into())
            }
        }
    }

    /// A queue pair for the firmware to send with.
    pub(crate) fn sending(dev: &CoreDev, pd: &Pd, uar: &Uar) -> Result<Self> {
        let queue: Option<cmd::qp::Receive<core::iter::Empty<u64>>> = None;
        Ok(Self {
            dev: dev.clone(),
            number: create(dev, pd, uar, queue)?,
            receives: None,
        })
    }

    /// Its number.
    pub(crate) fn number(&self) -> Qpn {
        self.number
    }

    /// Connects it to `remote`: from then on what receives does so into `buffers`, and what does
    /// not can send.
    pub(crate) fn connect(&mut self, remote: Qpn, buffers: &Buffers) -> Result {
        let qpn = self.number;
        self.dev.exec(&cmd::qp::ToInit { qpn })?;
        if let Some(receives) = &mut self.receives {
            for slot in 0..receives.ring.count() {
                let [len, key] = [buffers.len, buffers.mkey.lkey()].map(u32::to_be_bytes);
                let [a, b, c, d] = len;
                let [e, f, g, h] = key;
                let at = slot.saturating_mul(WQE_LEN);
                receives.memory.write(at, [a, b, c, d, e, f, g, h]);
                let address = buffers.address(slot).to_be_bytes();
                receives.memory.write(at.saturating_add(8), address);
                receives.posted = receives.posted.wrapping_add(1);
            }
            receives.ring();
        }
        let log_msg_max = crate::limits::log_max_msg(self.dev.general_cap()).ok_or(EIO)?;
        self.dev.exec(&cmd::qp::ToReceive {
            qpn,
            remote,
            log_msg_max,
        })?;
        if self.receives.is_none() {
            self.dev.exec(&cmd::qp::ToSend { qpn })?;
        }
        Ok(())
    }

    /// The slot of the receive that is to come in next, and the slot of the receive `counter`.
    pub(crate) fn slots(&self, counter: u16) -> Option<(usize, usize)> {
        let receives = self.receives.as_ref()?;
        // All are posted: the next one is that which was posted a round ago.
        let next = receives.ring.slot(receives.posted);
        Some((next, receives.ring.slot(counter.into())))
    }

    /// The next receive has come in and was read: it can be used again.
    pub(crate) fn post(&mut self) {
        if let Some(receives) = &mut self.receives {
            receives.posted = receives.posted.wrapping_add(1);
            receives.ring();
        }
    }
}

impl Drop for Qp {
    fn drop(&mut self) {
        let destroy = cmd::qp::Destroy { qpn: self.number };
        if !self.dev.destroy(&destroy, "queue pair") {
            mem::forget(self.receives.take());
        }
    }
}

fn create<I: ExactSizeIterator<Item = u64> + Clone>(
    dev: &CoreDev,
    pd: &Pd,
    uar: &Uar,
    receive: Option<cmd::qp::Receive<I>>,
) -> Result<Qpn, crate::abi::core_dev::Failure> {
    dev.exec(&cmd::qp::Create {
        pd: pd.number(),
        uar: uar.index(),
        ts_format: dev.ts_format(),
        cqe_version_1: crate::limits::cqe_version(dev.general_cap()) == Some(1),
        receive,
    })
}
