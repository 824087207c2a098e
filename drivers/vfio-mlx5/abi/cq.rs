// SPDX-License-Identifier: GPL-2.0

//! A completion queue.
//!
//! C header: `include/linux/mlx5/cq.h`.

use super::{
    bindings,
    core_dev::{
        CoreDev,
        Failure,
        Uar, //
    },
    dma::{
        read_barrier,
        Doorbell,
        FragBuf, //
    },
    events::{
        CoreCq,
        Signal, //
    }, //
};
use crate::{
    cmd::{
        self,
        Command,
        Reply, //
    },
    cqe::{
        self,
        Ring,
        CQE_LEN, //
    }, //
};
use core::mem::{
    self,
    offset_of, //
};
use kernel::{
    error::to_result,
    ffi::c_int,
    prelude::*,
    sync::Arc, //
};

// What `crate::cqe` knows of the C header, which the host has not got.
const _: () = {
    assert!(size_of::<bindings::mlx5_cqe64>() == CQE_LEN);
    assert!(offset_of!(bindings::mlx5_cqe64, __bindgen_anon_2) == cqe::IMMEDIATE);
    assert!(offset_of!(bindings::mlx5_cqe64, byte_cnt) == cqe::BYTE_CNT);
    assert!(offset_of!(bindings::mlx5_cqe64, wqe_counter) == cqe::WQE_COUNTER);
    assert!(offset_of!(bindings::mlx5_cqe64, op_own) == cqe::OP_OWN);
    assert!(offset_of!(bindings::mlx5_err_cqe, syndrome) == cqe::SYNDROME);
    assert!(bindings::MLX5_CQE_RESP_SEND_IMM == cqe::RESP_SEND_IMM as u32);
    assert!(bindings::MLX5_CQE_INVALID == cqe::INVALID as u32);
    assert!(bindings::MLX5_CQE_OWNER_MASK == cqe::OWNER_MASK as u32);
};

/// The reply to its creation, in words.
const REPLY_WORDS: usize = <cmd::cq::Created as Reply>::LEN / size_of::<u32>();

/// A completion queue of a device. Its signal is woken when an entry came after it was armed.
///
/// # Invariants
///
/// `core` is created, and `memory` and `doorbell` are what it was created with. They are there
/// until `drop`.
pub(crate) struct Cq {
    dev: CoreDev,
    core: Option<Pin<KBox<CoreCq>>>,
    memory: Option<FragBuf>,
    doorbell: Option<Doorbell>,
    cqn: u32,
    ring: Ring,
    /// How many entries were read.
    counter: u32,
}

impl Cq {
    /// Makes a queue with as many entries as `ring` has.
    pub(crate) fn new(dev: &CoreDev, uar: &Uar, ring: Ring, signal: &Arc<Signal>) -> Result<Self> {
        let doorbell = Doorbell::new(dev)?;
        let size = ring.count().checked_mul(CQE_LEN).ok_or(EINVAL)?;
        let mut memory = FragBuf::new(dev, size)?;
        for at in (cqe::OP_OWN..size).step_by(CQE_LEN) {
            memory.write_byte(at, cqe::INVALID << 4);
        }

        let mut mailbox = mailbox(&cmd::cq::Create {
            log_size: ring.log_size(),
            eqn: eqn(dev)?,
            uar: uar.index(),
            log_page_size: memory.log_page_size(),
            doorbell: doorbell.address(),
            pages: memory.pages(),
        })?;
        let len = c_int::try_from(mailbox.len())?;
        let mut reply = [0_u32; REPLY_WORDS];

        let core = CoreCq::new(signal, doorbell.first(), doorbell.second())?;
        // SAFETY: By the type invariants of `CoreDev`. The lengths are those of the mailboxes,
        // which are aligned to words. `core` does not move, and it and the words of the doorbell
        // stay until the queue is destroyed.
        let created = to_result(unsafe {
            bindings::mlx5_core_create_cq(
                dev.as_raw(),
                core.as_raw(),
                mailbox.as_mut_ptr().cast(),
                len,
                reply.as_mut_ptr(),
                size_of_val(&reply) as c_int,
            )
        });
        if let Err(e) = created {
            let mut bytes = [0; size_of::<[u32; REPLY_WORDS]>()];
            for (to, word) in bytes.chunks_exact_mut(size_of::<u32>()).zip(reply) {
                to.copy_from_slice(&word.to_ne_bytes());
            }
            let failure = Failure::new(e, &bytes);
            if failure.is_open() {
                // It may exist.
                mem::forget((memory, doorbell));
            }
            return Err(failure.into());
        }
        // SAFETY: It was created, and its number does not change.
        let cqn = unsafe { (*core.as_raw()).cqn };
        // INVARIANT: It was created with these.
        Ok(Self {
            dev: dev.clone(),
            core: Some(core),
            memory: Some(memory),
            doorbell: Some(doorbell),
            cqn,
            ring,
            counter: 0,
        })
    }

    /// Its number.
    pub(crate) fn number(&self) -> u32 {
        self.cqn
    }

    /// The next entry, if the device has written it.
    pub(crate) fn poll(&mut self) -> Option<[u8; CQE_LEN]> {
        const WORD: usize = size_of::<u64>();

        let memory = self.memory.as_ref()?;
        let at = self.ring.slot(self.counter).checked_mul(CQE_LEN)?;
        let op_own = memory.read_byte(at.checked_add(cqe::OP_OWN)?)?;
        if !self.ring.is_written(self.counter, op_own) {
            return None;
        }
        read_barrier();
        let mut entry = [0; CQE_LEN];
        for (n, word) in entry.chunks_exact_mut(WORD).enumerate() {
            word.copy_from_slice(&memory.read(at.checked_add(n.checked_mul(WORD)?)?)?);
        }
        self.counter = self.counter.wrapping_add(1);
        Some(entry)
    }

    /// Gives the entries back to the device that were polled.
    pub(crate) fn release(&mut self) {
        let counter = self.counter;
        if let Some(doorbell) = &mut self.doorbell {
            doorbell.ring(counter & Self::COUNTER);
        }
    }

    /// An interrupt is to come for the entry that is to be polled next.
    pub(crate) fn arm(&mut self, uar: &Uar) {
        if let Some(core) = &self.core {
            // SAFETY: By the type invariants, and those of `Uar`.
            unsafe { bindings::vfio_mlx5_cq_arm(core.as_raw(), uar.as_raw(), self.counter) }
        }
    }

    /// The counters of the hardware have so many bits.
    const COUNTER: u32 = 0xff_ffff;
}

impl Drop for Cq {
    fn drop(&mut self) {
        let Some(core) = self.core.take() else {
            return;
        };
        // SAFETY: By the type invariants it exists. It is then in no event queue, whatever is
        // returned.
        let gone = unsafe { bindings::mlx5_core_destroy_cq(self.dev.as_raw(), core.as_raw()) };
        if gone == 0 {
            return;
        }
        let destroy = cmd::cq::Destroy { cqn: self.cqn };
        if self.dev.destroy(&destroy, "completion queue") {
            // SAFETY: `mlx5_core_destroy_cq()` was called, and failed.
            unsafe { bindings::vfio_mlx5_cq_wait_unused(core.as_raw()) }
        } else {
            mem::forget((core, self.memory.take(), self.doorbell.take()));
        }
    }
}

/// A command laid out, for a function that sends it.
fn mailbox(command: &impl Command) -> Result<KVVec<u8>> {
    let mut mailbox = KVVec::new();
    mailbox.resize(command.size(), 0, GFP_KERNEL)?;
    cmd::encode(command, mailbox.as_mut_slice()).ok_or(EINVAL)?;
    Ok(mailbox)
}

/// The event queue of a vector of the device; each CPU prefers another one.
fn eqn(dev: &CoreDev) -> Result<u32> {
    // SAFETY: By the type invariants of `CoreDev`.
    let vectors = unsafe { bindings::mlx5_comp_vectors_max(dev.as_raw()) };
    let vector = kernel::cpu::CpuId::current().as_u32().checked_rem(vectors);
    let vector = u16::try_from(vector.ok_or(ENODEV)?)?;
    let mut eqn = 0;
    // SAFETY: By the type invariants of `CoreDev`; the pointer is valid.
    let got = to_result(unsafe { bindings::mlx5_comp_eqn_get(dev.as_raw(), vector, &mut eqn) });
    // The first one on a CPU allocates an interrupt, of which ENOSPC says that there was no memory:
    // that is not a firmware without a tracker to spare.
    got.map_err(|e| if e == ENOSPC { ENOMEM } else { e })?;
    Ok(u32::try_from(eqn)?)
}
