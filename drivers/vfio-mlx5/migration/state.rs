// SPDX-License-Identifier: GPL-2.0

//! In which of VFIO's states a VF is, and the steps from one to the next.

use super::{
    loading::Loading,
    saving::{
        Job,
        Kind,
        Saving, //
    },
    Migration, //
};
use crate::{
    abi::{
        bindings::{
            self,
            vfio_device_mig_state as MigState, //
        },
        core_dev::CoreDev,
        stream,
        vf::Place, //
    },
    cmd::migration::{
        Needed,
        Query,
        Resume,
        Side,
        Suspend, //
    }, //
};
use kernel::{
    fs::File,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    workqueue, //
};

/// What is known of a VF, as far as it can be migrated.
pub(super) struct State {
    /// What VFIO calls it.
    pub(super) name: MigState,
    /// `None` while the PF is down, or will not hear of the VF.
    pub(super) pf: Option<CoreDev>,
    vhca_id: u16,
    /// The firmware saves in chunks.
    chunks: bool,
    /// The firmware tells how far it is.
    pub(super) tells_state: bool,
    /// What of the VF the firmware has stopped.
    stopped: Stopped,
    /// Where it is, while it is open.
    pub(super) place: Option<Place>,
    /// The number of the last stream.
    pub(super) streams: u64,
    pub(super) stream: Stream,
    /// The firmware is saving, or is about to.
    pub(super) saving: bool,
    /// What it is about to save.
    pub(super) job: Option<Job>,
    /// The state is about to change: no other save is to begin.
    pub(super) hold: bool,
}

#[derive(Clone, Copy, Default)]
struct Stopped {
    initiator: bool,
    responder: bool,
}

impl Stopped {
    fn of(&mut self, side: Side) -> &mut bool {
        match side {
            Side::Initiator => &mut self.initiator,
            Side::Responder => &mut self.responder,
        }
    }
}

/// What the last stream is for.
pub(super) enum Stream {
    /// It has come to its end.
    None,
    Saving(KBox<Saving>),
    Loading(Loading),
}

impl State {
    /// Of a VF of `pf`, which is up.
    pub(super) fn new(pf: CoreDev, vhca_id: u16) -> Self {
        Self {
            name: bindings::VFIO_DEVICE_STATE_RUNNING,
            vhca_id,
            chunks: pf.saves_chunks(),
            tells_state: pf.has_migration_state(),
            pf: Some(pf),
            stopped: Stopped::default(),
            place: None,
            streams: 0,
            stream: Stream::None,
            saving: false,
            job: None,
            hold: false,
        }
    }

    fn pf(&self) -> Result<&CoreDev> {
        self.pf.as_ref().ok_or(ENOTCONN)
    }

    /// Stops a side of the VF, if the firmware has not.
    fn suspend(&mut self, side: Side) -> Result {
        let vhca_id = self.vhca_id;
        if !*self.stopped.of(side) {
            self.pf()?.exec(&Suspend { vhca_id, side })?;
            *self.stopped.of(side) = true;
        }
        Ok(())
    }

    /// Lets a side of the VF go on, if the firmware has stopped it.
    fn resume(&mut self, side: Side) -> Result {
        let vhca_id = self.vhca_id;
        if *self.stopped.of(side) {
            self.pf()?.exec(&Resume { vhca_id, side })?;
            *self.stopped.of(side) = false;
        }
        Ok(())
    }

    /// What it takes to save the state.
    pub(super) fn needed(&self) -> Result<Needed> {
        Ok(self.pf()?.exec(&Query {
            vhca_id: self.vhca_id,
            incremental: false,
            chunks: self.chunks,
        })?)
    }

    /// The VF is as a reset leaves it.
    pub(super) fn restart(&mut self) {
        self.name = bindings::VFIO_DEVICE_STATE_RUNNING;
        self.stopped = Stopped::default();
        self.end();
    }

    /// The stream comes to its end.
    pub(super) fn end(&mut self) {
        // What the firmware is not at yet it need not begin.
        if self.job.take().is_some() {
            self.saving = false;
        }
        self.stream = Stream::None;
    }

    /// The stream `number`, if it saves. `ENODEV` if it has come to its end.
    pub(super) fn saving(&mut self, number: u64) -> Result<&mut Saving> {
        match &mut self.stream {
            Stream::Saving(saving) if self.streams == number => Ok(saving),
            _ => Err(ENODEV),
        }
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

    /// Opens a stream for what the firmware saves, and has it begin; the VF `runs` or not.
    fn save(&mut self, vf: &Arc<Migration>, runs: bool) -> Result<ARef<File>> {
        let needed = self.needed()?;
        let saving = Saving::new(self.pf()?, self.vhca_id, self.chunks, &needed, runs)?;
        let mut saving = KBox::new(saving, GFP_KERNEL_ACCOUNT)?;
        let kind = if runs { Kind::First } else { Kind::Whole };
        let job = saving.job(kind, needed.bytes.into())?;
        let file = self.open(vf, Stream::Saving(saving))?;
        self.begin(vf, job);
        Ok(file)
    }

    /// Saves the rest, of a VF whose other side is stopped already.
    fn save_rest(&mut self, vf: &Arc<Migration>) -> Result {
        self.suspend(Side::Responder)?;
        let job = match &mut self.stream {
            Stream::Saving(saving) => saving.last_job(),
            _ => Err(EIO),
        };
        match job {
            Ok(job) => {
                self.begin(vf, job);
                Ok(())
            }
            Err(e) => {
                // If it does not go on the next change of the state sees to that.
                let _ = self.resume(Side::Responder);
                Err(e)
            }
        }
    }

    /// Goes on with a VF that was to be saved while it ran.
    fn give_up(&mut self) -> Result {
        self.resume(Side::Responder)?;
        if let Stream::Saving(saving) = &mut self.stream {
            saving.end_tracking()?;
        }
        self.end();
        Ok(())
    }

    /// Has the firmware save, which is not doing that.
    pub(super) fn begin(&mut self, vf: &Arc<Migration>, job: Job) {
        self.saving = true;
        self.job = Some(job);
        // If it is queued already it is yet to look.
        let _ = workqueue::system_unbound().enqueue(vf.clone());
    }

    /// Has the firmware go on to save, if it can. See [`Saving::next_job`].
    pub(super) fn go_on(&mut self, vf: &Arc<Migration>, may_allocate: bool) {
        if self.saving || self.hold {
            return;
        }
        if let Stream::Saving(saving) = &mut self.stream {
            if let Some(job) = saving.next_job(may_allocate) {
                self.begin(vf, job);
            }
        }
    }

    /// One step to the state `next`, while the firmware does not save. If it fails nothing has
    /// changed.
    pub(super) fn step(
        &mut self,
        vf: &Arc<Migration>,
        next: MigState,
    ) -> Result<Option<ARef<File>>> {
        use bindings::{
            VFIO_DEVICE_STATE_PRE_COPY as PRE_COPY,
            VFIO_DEVICE_STATE_PRE_COPY_P2P as PRE_COPY_P2P,
            VFIO_DEVICE_STATE_RESUMING as RESUMING,
            VFIO_DEVICE_STATE_RUNNING as RUNNING,
            VFIO_DEVICE_STATE_RUNNING_P2P as RUNNING_P2P,
            VFIO_DEVICE_STATE_STOP as STOP,
            VFIO_DEVICE_STATE_STOP_COPY as STOP_COPY, //
        };

        match (self.name, next) {
            (RUNNING, RUNNING_P2P) | (PRE_COPY, PRE_COPY_P2P) => self.suspend(Side::Initiator)?,
            (RUNNING_P2P, STOP) => self.suspend(Side::Responder)?,
            (STOP, RUNNING_P2P) => self.resume(Side::Responder)?,
            (RUNNING_P2P, RUNNING) | (PRE_COPY_P2P, PRE_COPY) => {
                // Also if a change of the state broke off: see `save_rest`.
                self.resume(Side::Responder)?;
                self.resume(Side::Initiator)?;
            }
            (RUNNING, PRE_COPY) | (RUNNING_P2P, PRE_COPY_P2P) => {
                return self.save(vf, true).map(Some);
            }
            (STOP, STOP_COPY) => return self.save(vf, false).map(Some),
            (PRE_COPY_P2P, STOP_COPY) => self.save_rest(vf)?,
            (PRE_COPY, RUNNING) | (PRE_COPY_P2P, RUNNING_P2P) => self.give_up()?,
            (STOP, RESUMING) => {
                let loading = Loading::new(self.pf()?, self.vhca_id)?;
                return self.open(vf, Stream::Loading(loading)).map(Some);
            }
            (STOP_COPY, STOP) => self.end(),
            (RESUMING, STOP) => {
                // Who gave up in the midst of a state has to reset the device, or to give the rest.
                match &self.stream {
                    Stream::Loading(loading) if loading.is_complete() => (),
                    _ => return Err(EINVAL),
                }
                self.end();
            }
            // VFIO takes no other steps.
            _ => return Err(EINVAL),
        }
        Ok(None)
    }
}
