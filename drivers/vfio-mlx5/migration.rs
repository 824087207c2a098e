// SPDX-License-Identifier: GPL-2.0

//! Migration of a VF by VFIO's states: all of them.
//!
//! In `PRE_COPY` the VF runs, and the firmware saves its state and then what has changed. So there
//! is little left to save when it is stopped, and whoever loads has set everything up by then. What
//! the firmware saves it saves in a worker, one thing at a time: nothing waits for it but what
//! must.
//!
//! A stream has objects of the PF, but whoever has it open has not: it is known by its number, and
//! may be kept longer than the device.
//!
//! # Locks
//!
//! [`Migration::changing`], then [`Migration::state`], are taken with the PF's interface lock, or
//! with any lock of VFIO but those that a reset takes: a reset only tries, see
//! [`Migration::reset`]. The state is locked while the firmware does what is short, or loads, and
//! neither while it saves, nor while user memory is touched, nor while anything is waited for. It
//! has nothing to do with the lock of the page tracker: a report does not keep a VF from changing
//! its state.

use crate::{
    abi::{
        bindings::{
            self,
            vfio_device_mig_state as MigState, //
        },
        core_dev::CoreDev,
        event::{
            Event,
            Seen, //
        },
        vf::Place, //
    },
    outgoing::{
        Left,
        Outlook, //
    }, //
};
use kernel::{
    fs::File,
    impl_has_work,
    new_mutex,
    new_spinlock,
    new_work,
    prelude::*,
    sync::{
        aref::ARef,
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        Arc,
        Mutex,
        SpinLock, //
    },
    workqueue::{
        Work,
        WorkItem, //
    }, //
};
use saving::Kind;
use state::{
    State,
    Stream, //
};

mod buffer;
mod loading;
mod saving;
mod state;

/// What a VF is, as far as it can be migrated.
#[pin_data]
pub(crate) struct Migration {
    /// Held by whoever changes the state, also while waiting for a save.
    #[pin]
    changing: Mutex<()>,
    #[pin]
    state: Mutex<State>,
    /// There was a reset that [`State`] does not know of yet. Taken within the lock of that.
    #[pin]
    reset: SpinLock<bool>,
    /// Comes when something in [`State`] has changed that may be waited for.
    changed: Event,
    /// Saves. Done when the VF is removed: see [`Self::work`].
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for Migration { self.work }
}

/// What `VFIO_MIG_GET_PRECOPY_INFO` tells.
pub(crate) struct Info {
    pub(crate) left: Left,
    /// What is initial is so anew. `None` if whoever asks must not be told.
    pub(crate) reinit: Option<bool>,
}

impl Migration {
    /// That of a VF of `pf`, which is up.
    pub(crate) fn new(pf: CoreDev, vhca_id: u16) -> Result<Arc<Self>> {
        let changed = Event::new()?;
        Arc::pin_init(
            pin_init!(Self {
                changing <- new_mutex!((), "vfio_mlx5::Migration::changing"),
                state <- new_mutex!(
                    State::new(pf, vhca_id),
                    "vfio_mlx5::Migration::state"
                ),
                reset <- new_spinlock!(false, "vfio_mlx5::Migration::reset"),
                changed,
                work <- new_work!("vfio_mlx5::Migration::work"),
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

    /// As [`Self::with`], once the firmware does not save. `EINTR` if the task is to be killed.
    fn with_idle<R>(&self, f: impl FnOnce(&mut State) -> Result<R>) -> Result<R> {
        let mut f = Some(f);
        loop {
            let turn = self.with(|state| match f.take_if(|_| !state.saving) {
                Some(f) => Ok(f(state)),
                None => Err(self.changed.seen()),
            });
            match turn {
                Ok(result) => return result,
                Err(seen) => self.changed.wait_killable(seen)?,
            }
        }
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
            self.changed.notify();
        }
    }

    /// The VF was reset: it runs, and its streams are at an end.
    ///
    /// VFIO holds locks here that it also takes below those of user memory. So this does not wait
    /// for the lock, nor for what the firmware saves: whoever has the lock sees to it.
    pub(crate) fn reset(&self) {
        let mut reset = self.reset.lock();
        *reset = true;
        let state = self.state.try_lock();
        drop(reset);
        if let Some(state) = state {
            self.unlock(state);
        }
    }

    /// It was opened, at `place`. VFIO resets it between two users.
    pub(crate) fn open(&self, place: Place) {
        self.with(|state| {
            state.restart();
            state.place = Some(place);
        });
        self.changed.notify();
    }

    /// It is about to be closed: its streams are at an end.
    pub(crate) fn close(&self) {
        self.with(|state| {
            state.restart();
            state.place = None;
        });
        self.changed.notify();
    }

    /// The PF has the VF, from now on. It was without power meanwhile: it runs.
    pub(crate) fn attach(&self, pf: CoreDev) {
        self.with(|state| {
            state.pf = Some(pf);
            state.restart();
        });
        self.changed.notify();
    }

    /// The PF has not got the VF any more. What was made with it is gone when this returns, and
    /// nothing is until it is back.
    pub(crate) fn detach(&self) {
        self.with(|state| {
            state.pf = None;
            state.end();
        });
        self.changed.notify();
        // `mlx5_core` does not wait for ever: what the firmware is at comes to an end.
        while let Some(seen) = self.with(|state| state.saving.then(|| self.changed.seen())) {
            self.changed.wait(seen);
        }
    }

    /// What VFIO calls its state.
    pub(crate) fn state(&self) -> MigState {
        self.with(|state| state.name)
    }

    /// Changes its state to `to`, by the steps that `next` says: from the first to the second one.
    /// Returns the stream that comes with the new state.
    ///
    /// Errors: `ENOTCONN` while the PF is down, `EINVAL` if what was written to a stream is not a
    /// state, `EINTR` if the task is to be killed, `ENOMEM`, those of the firmware. Then it is in
    /// the state before the step that failed.
    pub(crate) fn set_state(
        self: &Arc<Self>,
        to: MigState,
        next: impl Fn(MigState, MigState) -> Result<MigState>,
    ) -> Result<Option<ARef<File>>> {
        let changing = self.changing.lock();
        self.with(|state| state.hold = true);
        let result = self.steps(to, next);
        self.with(|state| {
            state.hold = false;
            state.go_on(self, true);
        });
        drop(changing);
        self.changed.notify();
        result
    }

    fn steps(
        self: &Arc<Self>,
        to: MigState,
        next: impl Fn(MigState, MigState) -> Result<MigState>,
    ) -> Result<Option<ARef<File>>> {
        let mut file = None;
        // What is saved in the state that it comes to is not waited for.
        let mut is_there = self.with(|state| state.name == to);
        while !is_there {
            is_there = self.with_idle(|state| {
                let step = next(state.name, to)?;
                file = state.step(self, step)?;
                state.name = step;
                Ok(step == to)
            })?;
        }
        Ok(file)
    }

    /// Bytes of its state, about.
    pub(crate) fn size(&self) -> Result<u64> {
        self.with(|state| state.needed()).map(|needed| needed.all())
    }

    /// What there is to be read of the stream `number`, which saves, while the VF runs; and what
    /// has changed is about to be saved, if all was read.
    ///
    /// Errors: `EINVAL` if the VF does not run, `ENODEV` if the stream has come to its end, `EINTR`
    /// if the task is to be killed, `ENOMEM`, those of the firmware.
    pub(crate) fn info(self: &Arc<Self>, number: u64) -> Result<Info> {
        self.with_idle(|state| {
            let runs = match state.name {
                bindings::VFIO_DEVICE_STATE_PRE_COPY => true,
                // What changed cannot be saved now.
                bindings::VFIO_DEVICE_STATE_PRE_COPY_P2P => false,
                _ => return Err(EINVAL),
            };
            let wants_reinit = state.place.as_ref().is_some_and(Place::wants_reinit);
            let (tells_state, hold) = (state.tells_state, state.hold);
            let saving = state.saving(number)?;
            if saving.queue.outlook(false) == Outlook::Failed {
                return Err(ENODEV);
            }
            let changes = if runs { saving.changes()? } else { None };
            let initial = wants_reinit && tells_state && changes.is_some_and(|all| all.is_initial);
            let more = changes.map_or(0, |changes| changes.all());
            let left = saving.queue.left(more, initial);
            let needed = changes.map_or(0, |changes| changes.bytes);
            let is_due = (initial || saving.queue.is_empty()) && saving.queue.has_room();
            if needed > 0 && is_due && !hold {
                let job = saving.job(Kind::Change { initial }, needed.into())?;
                state.begin(self, job);
            }
            Ok(Info {
                left,
                reinit: wants_reinit.then_some(initial),
            })
        })
    }

    /// What there is to be read of the stream `number`, which saves, and a wait for more. Errors:
    /// `ENODEV` if it has come to its end, and why it went wrong.
    pub(crate) fn outlook(self: &Arc<Self>, number: u64) -> Result<(Outlook, Seen)> {
        self.with(|state| {
            let seen = self.changed.seen();
            state.saving(number)?;
            state.go_on(self, true);
            let is_saving = state.saving;
            let saving = state.saving(number)?;
            match saving.queue.outlook(is_saving) {
                Outlook::Failed => Err(saving.error()),
                outlook => Ok((outlook, seen)),
            }
        })
    }

    /// Copies what comes next in the stream `number`, which saves, and leaves it there. Returns how
    /// many bytes there are. `ENODEV` if it has come to its end.
    pub(crate) fn peek(&self, number: u64, bytes: &mut [u8]) -> Result<usize> {
        self.with(|state| state.saving(number)?.queue.peek(bytes))
    }

    /// The next `count` bytes of the stream `number` were read.
    pub(crate) fn consume(self: &Arc<Self>, number: u64, count: usize) {
        self.with(|state| {
            if let Ok(saving) = state.saving(number) {
                saving.consume(count as u64);
                state.go_on(self, true);
            }
        });
    }

    /// Adds to the stream `number`, which loads, and loads what is whole by then. `ENODEV` if it
    /// has come to its end, or after an error.
    pub(crate) fn write(&self, number: u64, bytes: &[u8]) -> Result {
        self.with(|state| match &mut state.stream {
            Stream::Loading(loading) if state.streams == number => loading.write(bytes),
            _ => Err(ENODEV),
        })
    }

    /// Comes when there may be something else to be read.
    pub(crate) fn changed(&self) -> &Event {
        &self.changed
    }

    /// For `abi::vf`, which waits for it.
    pub(crate) fn work(&self) -> &Work<Self> {
        &self.work
    }
}

impl WorkItem for Migration {
    type Pointer = Arc<Self>;

    /// Saves. What is done while the firmware is at it holds no lock.
    fn run(this: Arc<Self>) {
        let job = || this.with(|state| Some((state.streams, state.job.take()?)));
        while let Some((number, job)) = job() {
            let (kind, buffer, result) = job.run();
            this.with(|state| {
                match state.saving(number) {
                    Ok(saving) => saving.saved(kind, buffer, result),
                    // Nobody wants it any more. It goes before others may begin.
                    Err(_) => drop(buffer),
                }
                state.saving = false;
                state.go_on(&this, false);
            });
            this.changed.notify();
        }
    }
}
