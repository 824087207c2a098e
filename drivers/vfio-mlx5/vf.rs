// SPDX-License-Identifier: GPL-2.0

//! A VF that can be migrated: who uses its page tracker, and when that has to end.
//!
//! One user at a time has the tracker: a context of /dev/iommufd-dirty ([`crate::dirty`]) or VFIO's
//! DMA logging ([`crate::log`]). Migration is no user of it: a report does not keep a VF from
//! changing its state.
//!
//! The tracker is an object of the PF and of the PF's queues, that knows the VF by its VHCA id. So
//! a reset of the VF does not touch it: it goes on to track, and what was dirty stays so. Where a
//! firmware thinks otherwise the object is in error, which the next report or an event tells. But
//! when the PF goes down or takes the VF away the tracker has to be gone before that, with what it
//! knew: it is lost.
//!
//! # Locks
//!
//! From the outside in: the PF's interface lock or VFIO's lock of open devices, [`Vf::session`],
//! the locks of [`Vf::registration`] and of [`Wakers`]. Who holds the session may wait for the
//! firmware, and may write to user memory: it must not be taken where VFIO has locked a device's
//! memory, as in a reset. Who has to end a wait fails the [`Wakers`] first. The core calls the
//! tracker's ops with locks of its own, and no lock is held here where that is waited for.

use crate::{
    abi::{
        core_dev::CoreDev,
        pf::VfEvents,
        provider::Registration,
        vf::Place, //
    },
    dirty::{
        self,
        Dirty, //
    },
    limits::Limits,
    log::Log,
    migration::Migration,
    range::Range,
    tracker::{
        self,
        PageTracker,
        Watcher, //
    },
    wakers::Wakers, //
};
use kernel::{
    impl_has_work,
    new_mutex,
    new_work,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        Mutex, //
    },
    workqueue::{
        self,
        Work,
        WorkItem, //
    }, //
};

/// Page trackers that one VF has at most: while its ranges change, one for the old and one for the
/// new ones.
pub(crate) const MAX_TRACKERS: usize = 2;

/// A VF that can be migrated.
#[pin_data]
pub(crate) struct Vf {
    /// What the bus calls it.
    name: CString,
    /// By which the firmware knows it.
    vhca_id: u16,
    /// What its tracker can take; `None` if it has none.
    limits: Option<Limits>,
    /// How it is migrated.
    pub(crate) migration: Arc<Migration>,
    /// Its tracker for contexts, while it is open and if it can be tracked.
    #[pin]
    registration: Mutex<Option<Pin<KBox<Registration<Dirty>>>>>,
    #[pin]
    pub(crate) session: Mutex<Session>,
    #[pin]
    pub(crate) wakers: Wakers,
    /// Looks after the page trackers that may be in trouble. Done when the VF is removed: see
    /// [`Self::work`].
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for Vf { self.work }
}

/// What is going on with the page tracker of a VF.
pub(crate) struct Session {
    /// The PF, while it is up and lets the VF be used.
    pf: Option<CoreDev>,
    pub(crate) user: User,
}

/// Who has the page tracker.
pub(crate) enum User {
    Nobody,
    Context(dirty::Session),
    Log(Log),
}

impl Session {
    /// The PF. `ENOTCONN` while it is down.
    pub(crate) fn pf(&self) -> Result<&CoreDev> {
        self.pf.as_ref().ok_or(ENOTCONN)
    }
}

impl Vf {
    /// The VF that is the function number `function` of `pf`, which is up.
    ///
    /// Errors: `EOPNOTSUPP` if it cannot be migrated; those of the firmware.
    pub(crate) fn new(pf: CoreDev, function: u16, name: &CStr) -> Result<Arc<Self>> {
        // The numbers of VFs that a PF on the device's own processors knows are those of the host:
        // to take one for a VF of its own would stop another.
        //
        // Not of a VF that cannot be migrated either: no firmware is known to have been used with
        // the tracker and without that.
        if pf.is_embedded() || !pf.can_migrate() || !pf.is_migratable(function)? {
            return Err(EOPNOTSUPP);
        }
        let limits = tracker::limits(&pf);
        let vhca_id = pf.vhca_id(function)?;
        let name = CString::try_from(name)?;
        let migration = Migration::new(pf.clone(), vhca_id)?;
        Arc::pin_init(
            pin_init!(Self {
                name,
                vhca_id,
                limits,
                migration,
                registration <- new_mutex!(None, "vfio_mlx5::Vf::registration"),
                session <- new_mutex!(Session {
                    pf: Some(pf),
                    user: User::Nobody,
                }, "vfio_mlx5::Vf::session"),
                wakers <- Wakers::new(),
                work <- new_work!("vfio_mlx5::Vf::work"),
            }),
            GFP_KERNEL,
        )
    }

    /// What its tracker can take. `EOPNOTSUPP` if it has none.
    pub(crate) fn limits(&self) -> Result<&Limits> {
        self.limits.as_ref().ok_or(EOPNOTSUPP)
    }

    /// It was opened: it can be used until [`Self::close`]. `place` is where its DMA is.
    pub(crate) fn open(self: &Arc<Self>, place: Place) -> Result {
        let registration = match &self.limits {
            Some(limits) => Some(dirty::register(self, &self.name, limits, place.clone())?),
            None => None,
        };
        self.wakers.set_closed(false);
        *self.registration.lock() = registration;
        self.migration.open(place);
        Ok(())
    }

    /// It is about to be closed: ends all that goes on.
    pub(crate) fn close(&self) {
        self.wakers.set_closed(true);
        // Waits for what the core is doing with it, thus not with the lock.
        let registration = self.registration.lock().take();
        drop(registration);
        let mut session = self.session.lock();
        self.take_user(&mut session);
        drop(session);
        self.migration.close();
    }

    /// Lets `f` use its tracker for contexts. `None` if it is not open, or has no tracker.
    pub(crate) fn with_registration<R>(
        &self,
        f: impl FnOnce(&Registration<Dirty>) -> R,
    ) -> Option<R> {
        self.registration.lock().as_deref().map(f)
    }

    /// Tells the context that its tracker is lost, so that who polls hears of it.
    pub(crate) fn lost(&self) {
        self.with_registration(|registration| registration.lost(EIO));
    }

    /// Does VFIO's DMA logging have the page tracker?
    pub(crate) fn logs(&self) -> bool {
        matches!(self.session.lock().user, User::Log(_))
    }

    /// The user has nothing any more. The firmware's objects are gone when this returns.
    pub(crate) fn take_user(&self, session: &mut Session) {
        self.wakers.set(core::iter::empty());
        session.user = User::Nobody;
    }

    /// Starts a page tracker. Errors: `ENOTCONN` while the PF is down; those of
    /// [`PageTracker::start`].
    pub(crate) fn start_tracker(
        self: &Arc<Self>,
        session: &Session,
        granule: u64,
        ranges: &[Range],
    ) -> Result<PageTracker> {
        PageTracker::start(session.pf()?, self.vhca_id, granule, ranges, self.clone())
    }

    /// For `abi::vf`, which waits for it.
    pub(crate) fn work(&self) -> &Work<Self> {
        &self.work
    }
}

impl Watcher for Vf {
    fn trouble(self: Arc<Self>) {
        // If it is queued already it is yet to look.
        let _ = workqueue::system_unbound().enqueue(self);
    }
}

impl WorkItem for Vf {
    type Pointer = Arc<Self>;

    /// Tells who polls a context that its tracker is lost. A reader finds out by itself, and the
    /// session is not to be had until it has.
    fn run(this: Arc<Self>) {
        let mut session = this.session.lock();
        let User::Context(context) = &mut session.user else {
            return;
        };
        if !context.look() {
            this.wakers.set(core::iter::empty());
            this.lost();
        }
    }
}

impl VfEvents for Vf {
    fn disabled(&self) {
        self.wakers.set_detached(true);
        self.migration.detach();
        let mut session = self.session.lock();
        session.pf = None;
        self.wakers.set(core::iter::empty());
        // It stays the user, as one that has lost everything, until it stops: it has to be told.
        match &mut session.user {
            User::Nobody => return,
            User::Context(context) => context.lose(),
            User::Log(log) => log.lose(),
        }
        self.lost();
    }

    fn enabled(&self, pf: CoreDev) {
        self.migration.attach(pf.clone());
        self.session.lock().pf = Some(pf);
        self.wakers.set_detached(false);
    }
}
