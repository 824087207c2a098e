// SPDX-License-Identifier: GPL-2.0

//! The PF's `mlx5_core` device, as far as its firmware is asked for something.
//!
//! C header: `include/linux/mlx5/driver.h`.

use super::bindings;
use crate::cmd::{
    self,
    Command,
    Fate,
    Reply,
    INLINE_LEN,
    REPLY_LEN, //
};
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    ffi::c_int,
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// The PF's device.
///
/// # Invariants
///
/// The device is valid and its interface is up, for as long as the value and its clones live.
#[derive(Clone)]
pub(crate) struct CoreDev(NonNull<bindings::mlx5_core_dev>);

// SAFETY: `mlx5_core` locks by itself: what is used of it may be called from any task.
unsafe impl Send for CoreDev {}
// SAFETY: As above.
unsafe impl Sync for CoreDev {}

/// Why a command was not done, or may not have been.
#[derive(Clone, Copy)]
pub(crate) struct Failure {
    /// As `mlx5_core` translates the status.
    error: Error,
    /// What became of it.
    fate: Fate,
}

impl Failure {
    /// `mlx5_core` returned `error`, and `mailbox` for the reply.
    pub(super) fn new(error: Error, mailbox: &[u8]) -> Self {
        Self {
            error,
            fate: cmd::fate(error.to_errno(), mailbox),
        }
    }

    /// It was not given to `mlx5_core`.
    fn unsent(error: Error) -> Self {
        Self {
            error,
            fate: Fate::Unsent,
        }
    }

    /// The firmware does not know of the command.
    pub(crate) fn is_unsent(&self) -> bool {
        self.fate == Fate::Unsent
    }

    /// The firmware said that it did nothing: not, that something went wrong within it.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self.fate, Fate::Refused | Fate::NoMore | Fate::BadState)
    }

    /// The firmware did nothing, as what it is about is not in the state for it.
    pub(crate) fn is_bad_state(&self) -> bool {
        self.fate == Fate::BadState
    }

    /// The firmware has the command, and did not say what came of it: what it was given may be in
    /// use.
    pub(crate) fn is_open(&self) -> bool {
        self.fate == Fate::Open
    }
}

/// `ENOSPC` if the firmware has no more of something, which `mlx5_core` calls no memory.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure.fate {
            Fate::NoMore => ENOSPC,
            _ => failure.error,
        }
    }
}

/// A mailbox: `mlx5_core` looks at its first words.
#[repr(C, align(8))]
struct Mailbox<const N: usize>([u8; N]);

impl CoreDev {
    /// # Safety
    ///
    /// The device must be valid and its interface up until the result and all its clones are
    /// dropped.
    pub(super) unsafe fn new(mdev: NonNull<bindings::mlx5_core_dev>) -> Self {
        // INVARIANT: By the safety requirements.
        Self(mdev)
    }

    /// For a C function.
    pub(super) fn as_raw(&self) -> *mut bindings::mlx5_core_dev {
        self.0.as_ptr()
    }

    /// Sends a command and waits for its reply, for as long as `mlx5_core` does. May sleep.
    pub(crate) fn exec<C: Command>(&self, command: &C) -> Result<C::Reply, Failure> {
        const { assert!(<C::Reply as Reply>::LEN <= REPLY_LEN) }

        let mut inline = Mailbox([0; INLINE_LEN]);
        let mut large = KVVec::new();
        let mailbox = match inline.0.get_mut(..command.size()) {
            Some(mailbox) => mailbox,
            None => {
                large
                    .resize(command.size(), 0, GFP_KERNEL)
                    .map_err(|_| Failure::unsent(ENOMEM))?;
                large.as_mut_slice()
            }
        };
        cmd::encode(command, mailbox).ok_or(Failure::unsent(EINVAL))?;
        let mut reply = Mailbox([0; REPLY_LEN]);
        let len = c_int::try_from(mailbox.len()).map_err(|_| Failure::unsent(EINVAL))?;

        // SAFETY: By the type invariants. The lengths are those of the mailboxes, both are aligned
        // to words: the one on the stack by its type, the other because memory of `kvmalloc()` is.
        let done = to_result(unsafe {
            bindings::mlx5_cmd_exec(
                self.as_raw(),
                mailbox.as_mut_ptr().cast(),
                len,
                reply.0.as_mut_ptr().cast(),
                // CAST: At most `REPLY_LEN`.
                <C::Reply as Reply>::LEN as c_int,
            )
        });
        done.map_err(|error| Failure::new(error, &reply.0))?;
        let reply = reply.0.get(..<C::Reply as Reply>::LEN).unwrap_or_default();
        // The firmware has done something and did not say what to.
        C::Reply::decode(reply).ok_or(Failure {
            error: EIO,
            fate: Fate::Open,
        })
    }

    /// Makes the firmware give something up: true if it has. What it was given must stay as it is
    /// if not.
    pub(crate) fn destroy<C: Command<Reply = ()>>(&self, command: &C, what: &str) -> bool {
        let result = insist(|| self.exec(command));
        if let Err(failure) = &result {
            let e = failure.error;
            pr_err!(
                "The firmware did not destroy a {what} ({e:?}): its memory stays the firmware's\n"
            );
        }
        result.is_ok()
    }

    fn cap(&self, kind: bindings::mlx5_cap_type) -> &[u8] {
        // SAFETY: By the type invariants: a device that is up has read its capabilities, and keeps
        // them as long.
        unsafe {
            core::slice::from_raw_parts(
                bindings::vfio_mlx5_cap(self.as_raw(), kind).cast(),
                bindings::VFIO_MLX5_CAP_LEN as usize,
            )
        }
    }

    /// The page `cmd_hca_cap` of its capabilities.
    pub(crate) fn general_cap(&self) -> &[u8] {
        self.cap(bindings::MLX5_CAP_GENERAL)
    }

    /// The page `cmd_hca_cap_2` of its capabilities.
    pub(crate) fn general_2_cap(&self) -> &[u8] {
        self.cap(bindings::MLX5_CAP_GENERAL_2)
    }

    /// The page `adv_virtualization_cap` of its capabilities.
    pub(crate) fn virtualization_cap(&self) -> &[u8] {
        self.cap(bindings::MLX5_CAP_ADV_VIRTUALIZATION)
    }

    /// How its queue pairs take the time.
    pub(crate) fn ts_format(&self) -> u8 {
        // SAFETY: By the type invariants.
        unsafe { bindings::vfio_mlx5_ts_format(self.as_raw()) }
    }
}

/// Does what must not fail. Why a command was not sent often passes: it is tried a few times, but
/// only once more if that took long, as it does when the queue of commands is stuck.
fn insist(mut f: impl FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
    const TRIES: usize = 4;
    const LONG_MS: i64 = 1000;

    let begin = Instant::<Monotonic>::now();
    let mut result = f();
    for again in 1..TRIES {
        let is_slow = again > 1 && begin.elapsed().as_millis() > LONG_MS;
        match &result {
            Err(failure) if failure.is_unsent() && !is_slow => result = f(),
            _ => break,
        }
    }
    result
}

/// A page of the device's doorbells.
///
/// # Invariants
///
/// `raw` was got from `dev` and not put back.
pub(crate) struct Uar {
    dev: CoreDev,
    raw: *mut bindings::mlx5_uars_page,
}

// SAFETY: It is only pointed to and written to, which any task may do.
unsafe impl Send for Uar {}
// SAFETY: As above.
unsafe impl Sync for Uar {}

impl Uar {
    pub(crate) fn new(dev: &CoreDev) -> Result<Self> {
        // SAFETY: By the type invariants of `CoreDev`.
        let raw = unsafe { bindings::mlx5_get_uars_page(dev.as_raw()) };
        let raw = kernel::error::from_err_ptr(raw)?;
        // INVARIANT: It was got just now.
        Ok(Self {
            dev: dev.clone(),
            raw,
        })
    }

    pub(super) fn as_raw(&self) -> *mut bindings::mlx5_uars_page {
        self.raw
    }

    /// Its number.
    pub(crate) fn index(&self) -> u32 {
        // SAFETY: By the type invariants.
        unsafe { bindings::vfio_mlx5_uar_index(self.raw) }
    }
}

impl Drop for Uar {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; it is not used any more.
        unsafe { bindings::mlx5_put_uars_page(self.dev.as_raw(), self.raw) }
    }
}

/// A protection domain.
///
/// # Invariants
///
/// `number` is one of `dev`.
pub(crate) struct Pd {
    dev: CoreDev,
    number: u32,
}

impl Pd {
    pub(crate) fn new(dev: &CoreDev) -> Result<Self> {
        let mut number = 0;
        // SAFETY: By the type invariants of `CoreDev`; the pointer is valid.
        to_result(unsafe { bindings::mlx5_core_alloc_pd(dev.as_raw(), &mut number) })?;
        // INVARIANT: It was allocated just now.
        Ok(Self {
            dev: dev.clone(),
            number,
        })
    }

    /// Its number.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Pd {
    fn drop(&mut self) {
        // A number that the firmware does not take back is lost; `mlx5_core` says so.
        let _ = insist(|| {
            // SAFETY: By the type invariants.
            to_result(unsafe { bindings::mlx5_core_dealloc_pd(self.dev.as_raw(), self.number) })
                // Its reply is not to be seen: what may not have been sent is sent again.
                .map_err(|error| Failure::new(error, &[]))
        });
    }
}
