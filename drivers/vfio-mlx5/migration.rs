// SPDX-License-Identifier: GPL-2.0

//! Migration of a VF by VFIO's states: `RUNNING`, `RUNNING_P2P`, `STOP`, `STOP_COPY`, `RESUMING`.
//!
//! There is no `PRE_COPY`: the state of a VF is small beside the memory of its guest, and that is
//! what the dirty tracker is for. A stream that has several states, as PRE_COPY or a firmware that
//! saves in chunks make it, is taken: each is loaded in its turn.
//!
//! The firmware is used while the state changes or when a state is whole that it can load, and no
//! object of it is left behind. So a stream is but memory, and whoever has it open holds nothing
//! of the device.
//!
//! # Locks
//!
//! [`Migration::state`] is taken with the PF's interface lock, or with any lock of VFIO but those
//! that a reset takes: a reset only tries, see [`Migration::reset`]. It is held while the firmware
//! works, and never while user memory is touched. It has nothing to do with the lock of the page
//! tracker: a report does not keep a VF from changing its state.

use crate::{
    abi::{
        bindings::{
            self,
            vfio_device_mig_state as MigState, //
        },
        core_dev::CoreDev,
        stream, //
    },
    cmd::migration::{
        Query,
        Resume,
        Side,
        Suspend, //
    }, //
};
use kernel::{
    fs::File,
    new_mutex,
    new_poll_condvar,
    new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        poll::PollCondVar,
        Arc,
        Mutex,
        SpinLock, //
    }, //
};
use transfer::{
    Loading,
    Saved, //
};

mod transfer;

/// What a VF is, as far as it can be migrated.
#[pin_data]
pub(crate) struct Migration {
    #[pin]
    state: Mutex<State>,
    /// There was a reset that [`State`] does not know of yet. Taken within the lock of that.
    #[pin]
    reset: SpinLock<bool>,
    /// Woken when a stream has come to an untimely end.
    #[pin]
    ended: PollCondVar,
}

struct State {
    /// What VFIO calls it.
    name: MigState,
    /// `None` while the PF is down, or will not hear of the VF.
    pf: Option<CoreDev>,
    vhca_id: u16,
    /// The number of the last stream.
    streams: u64,
    stream: Stream,
}

/// What the last stream is for.
enum Stream {
    /// It has come to its end.
    None,
    Saving(Saved),
    Loading(Loading),
}

impl State {
    fn pf(&self) -> Result<&CoreDev> {
        self.pf.as_ref().ok_or(ENOTCONN)
    }

    fn suspend(&self, side: Side) -> Result {
        let vhca_id = self.vhca_id;
        Ok(self.pf()?.exec(&Suspend { vhca_id, side })?)
    }

    fn resume(&self, side: Side) -> Result {
        let vhca_id = self.vhca_id;
        Ok(self.pf()?.exec(&Resume { vhca_id, side })?)
    }

    /// Bytes that the firmware needs to save the state.
    fn size(&self) -> Result<u32> {
        let vhca_id = self.vhca_id;
        let query = Query {
            vhca_id,
            incremental: false,
            chunks: false,
        };
        Ok(self.pf()?.exec(&query)?.bytes)
    }

    /// The VF is as a reset leaves it.
    fn restart(&mut self) {
        self.name = bindings::VFIO_DEVICE_STATE_RUNNING;
        self.stream = Stream::None;
    }

    /// Opens a stream. Its number is that of no other.
    fn open(&mut self, vf: &Arc<Migration>, stream: Stream) -> Result<ARef<File>> {
        let saves = matches!(stream, Stream::Saving(_));
        let number = self.streams.checked_add(1).ok_or(EOVERFLOW)?;
        let file = stream::open(vf.clone(), number, saves)?;
        self.streams = number;
        self.stream = stream;
        Ok(file)
    }

    /// One step to the state `next`. If it fails nothing has changed.
    fn step(&mut self, vf: &Arc<Migration>, next: MigState) -> Result<Option<ARef<File>>> {
        use bindings::{
            VFIO_DEVICE_STATE_RESUMING as RESUMING,
            VFIO_DEVICE_STATE_RUNNING as RUNNING,
            VFIO_DEVICE_STATE_RUNNING_P2P as RUNNING_P2P,
            VFIO_DEVICE_STATE_STOP as STOP,
            VFIO_DEVICE_STATE_STOP_COPY as STOP_COPY, //
        };

        match (self.name, next) {
            (RUNNING, RUNNING_P2P) => self.suspend(Side::Initiator)?,
            (RUNNING_P2P, STOP) => self.suspend(Side::Responder)?,
            (STOP, RUNNING_P2P) => self.resume(Side::Responder)?,
            (RUNNING_P2P, RUNNING) => self.resume(Side::Initiator)?,
            (STOP, STOP_COPY) => {
                let saved = Saved::new(self.pf()?, self.vhca_id, self.size()?)?;
                return self.open(vf, Stream::Saving(saved)).map(Some);
            }
            (STOP, RESUMING) => {
                self.pf()?;
                return self.open(vf, Stream::Loading(Loading::new())).map(Some);
            }
            (STOP_COPY, STOP) => self.stream = Stream::None,
            (RESUMING, STOP) => {
                // Who gave up in the midst of a state has to reset the device, or to give the rest.
                match &self.stream {
                    Stream::Loading(loading) if loading.is_complete() => (),
                    _ => return Err(EINVAL),
                }
                self.stream = Stream::None;
            }
            // VFIO takes no other steps.
            _ => return Err(EINVAL),
        }
        Ok(None)
    }
}

impl Migration {
    /// That of a VF of `pf`, which is up.
    pub(crate) fn new(pf: CoreDev, vhca_id: u16) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                state <- new_mutex!(State {
                    name: bindings::VFIO_DEVICE_STATE_RUNNING,
                    pf: Some(pf),
                    vhca_id,
                    streams: 0,
                    stream: Stream::None,
                }, "vfio_mlx5::Migration::state"),
                reset <- new_spinlock!(false, "vfio_mlx5::Migration::reset"),
                ended <- new_poll_condvar!("vfio_mlx5::Migration::ended"),
            }),
            GFP_KERNEL,
        )
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let result = f(&mut state);
        self.unlock(state);
        result
    }

    /// Lets go of the lock, when there is no reset left to be seen to.
    fn unlock(&self, mut state: Guard<'_, State, MutexBackend>) {
        loop {
            let mut reset = self.reset.lock();
            if !*reset {
                // Within the other lock: a reset that comes now gets this one.
                drop(state);
                return;
            }
            *reset = false;
            drop(reset);
            state.restart();
            self.ended.notify_all();
        }
    }

    /// The VF was reset: it runs, and its streams are at an end.
    ///
    /// VFIO holds locks here that it also takes below those of user memory. So this never waits:
    /// whoever has the lock sees to it.
    pub(crate) fn reset(&self) {
        let mut reset = self.reset.lock();
        *reset = true;
        let state = self.state.try_lock();
        drop(reset);
        if let Some(state) = state {
            self.unlock(state);
        }
    }

    /// It was opened or is about to be closed: its streams are at an end. VFIO resets it between
    /// two users.
    pub(crate) fn restart(&self) {
        self.with(State::restart);
        self.ended.notify_all();
    }

    /// The PF has the VF, from now on. It was without power meanwhile: it runs.
    pub(crate) fn attach(&self, pf: CoreDev) {
        self.with(|state| {
            state.pf = Some(pf);
            state.restart();
        });
        self.ended.notify_all();
    }

    /// The PF has not got the VF any more. What was made with it is gone when this returns, and
    /// nothing is until it is back.
    pub(crate) fn detach(&self) {
        self.with(|state| {
            state.pf = None;
            state.stream = Stream::None;
        });
        self.ended.notify_all();
    }

    /// What VFIO calls its state.
    pub(crate) fn state(&self) -> MigState {
        self.with(|state| state.name)
    }

    /// Changes its state to `to`, by the steps that `next` says: from the first to the second one.
    /// Returns the stream that comes with the new state.
    ///
    /// Errors: `ENOTCONN` while the PF is down, `EINVAL` if what was written to a stream is not a
    /// state, `ENOMEM`, those of the firmware. Then it is in the state before the step that failed.
    pub(crate) fn set_state(
        self: &Arc<Self>,
        to: MigState,
        next: impl Fn(MigState, MigState) -> Result<MigState>,
    ) -> Result<Option<ARef<File>>> {
        let result = self.with(|state| {
            let mut file = None;
            while state.name != to {
                let step = next(state.name, to)?;
                file = state.step(self, step)?;
                state.name = step;
            }
            Ok(file)
        });
        self.ended.notify_all();
        result
    }

    /// Bytes of its state, about.
    pub(crate) fn size(&self) -> Result<u64> {
        self.with(|state| state.size()).map(u64::from)
    }

    /// Copies what is at `at` in the stream `number`, which saves. Returns how many bytes there
    /// are, 0 at the end. `ENODEV` if it has come to its end.
    pub(crate) fn read(&self, number: u64, at: u64, bytes: &mut [u8]) -> Result<usize> {
        self.with(|state| match &state.stream {
            Stream::Saving(saved) if state.streams == number => saved.read(at, bytes),
            _ => Err(ENODEV),
        })
    }

    /// Adds to the stream `number`, which loads, and loads what is whole by then. `ENODEV` if it
    /// has come to its end, or after an error.
    pub(crate) fn write(&self, number: u64, bytes: &[u8]) -> Result {
        self.with(|state| match (&mut state.stream, &state.pf) {
            (Stream::Loading(loading), Some(pf)) if state.streams == number => {
                loading.write(pf, state.vhca_id, bytes)
            }
            _ => Err(ENODEV),
        })
    }

    /// Has the stream `number` come to its end?
    pub(crate) fn has_ended(&self, number: u64) -> bool {
        self.with(|state| state.streams != number || matches!(state.stream, Stream::None))
    }

    /// Woken when that changes.
    pub(crate) fn ended(&self) -> &PollCondVar {
        &self.ended
    }
}
