// SPDX-License-Identifier: GPL-2.0

//! BIND, UNBIND and SET_POLICY: which trackers a context has.

use crate::{
    abi::{
        bindings::*,
        uapi,
        worker::Worker, //
    },
    bound::Bound,
    logic::range::Range,
    member::Member,
    outcome::Outcome,
    policy::Policy,
    scan::{
        Resume,
        Which, //
    },
    state::{
        Session,
        State,
        MAX_MEMBERS, //
    },
    waker::Binding, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*, //
};

/// What userspace says when it binds a tracker.
#[derive(Clone, Copy)]
pub(crate) struct Bind {
    pub(crate) policy: Policy,
    cookie: u64,
    /// What was written before does not matter.
    clean: bool,
}

impl Bind {
    /// `EOPNOTSUPP` for an unknown flag or policy.
    pub(crate) fn new(flags: u32, policy: u32, cookie: u64) -> Result<Self> {
        if flags & !IOMMUFD_DIRTY_BIND_ASSUME_CLEAN != 0 {
            return Err(EOPNOTSUPP);
        }
        Ok(Self {
            policy: Policy::from_uapi(policy)?,
            cookie,
            clean: flags != 0,
        })
    }
}

/// `ioctl(IOMMUFD_DIRTY_BIND_HWPT)`
#[cfg(CONFIG_IOMMUFD_DIRTY_HWPT)]
pub(crate) fn bind_hwpt(state: &mut State, cmd: &mut uapi::BindHwpt) -> Result {
    let how = Bind::new(cmd.flags, cmd.policy, cmd.cookie)?;
    let tracker = crate::hwpt::tracker(cmd.iommufd, cmd.hwpt_id)?;
    cmd.out_tracker_id = state.bind(how, |binding| Bound::own(binding, tracker).map(Some))?;
    Ok(())
}

/// There are no HWPTs to bind.
#[cfg(not(CONFIG_IOMMUFD_DIRTY_HWPT))]
pub(crate) fn bind_hwpt(_: &mut State, _: &mut uapi::BindHwpt) -> Result {
    Err(EOPNOTSUPP)
}

/// `ioctl(IOMMUFD_DIRTY_BIND_UNTRACKED)`
pub(crate) fn bind_untracked(state: &mut State, cmd: &mut uapi::BindUntracked) -> Result {
    if cmd.flags != 0 {
        return Err(EOPNOTSUPP);
    }
    let how = Bind::new(0, cmd.policy, cmd.cookie)?;
    if how.policy == Policy::Fail {
        return Err(EINVAL);
    }
    cmd.out_tracker_id = state.bind(how, |_| Ok(None))?;
    Ok(())
}

/// `ioctl(IOMMUFD_DIRTY_UNBIND)`
pub(crate) fn unbind(state: &mut State, cmd: &mut uapi::Unbind) -> Result {
    let keep = IOMMUFD_DIRTY_UNBIND_KEEP;
    if cmd.flags & !keep != 0 || cmd.__reserved != 0 {
        return Err(EOPNOTSUPP);
    }
    if cmd.flags & keep == 0 && cmd.next_iova != 0 {
        return Err(EINVAL);
    }
    state.unbind(cmd.tracker_id, cmd.flags & keep != 0, &mut cmd.next_iova)
}

/// `ioctl(IOMMUFD_DIRTY_SET_POLICY)`
pub(crate) fn set_policy(state: &mut State, cmd: &mut uapi::SetPolicy) -> Result {
    if cmd.flags != 0 {
        return Err(EOPNOTSUPP);
    }
    let policy = Policy::from_uapi(cmd.policy)?;
    let m = state.member(cmd.tracker_id)?;
    if m.tracker().is_none() && policy == Policy::Fail {
        return Err(EINVAL);
    }
    m.acknowledge();
    m.policy = policy;
    Ok(())
}

impl State {
    /// Adds a member for the tracker that `f` binds, if any. While tracking it is started at once.
    /// Returns its id.
    pub(crate) fn bind(
        &mut self,
        how: Bind,
        f: impl FnOnce(Binding) -> Result<Option<Bound>>,
    ) -> Result<u32> {
        if self.members.len() >= MAX_MEMBERS {
            return Err(ENOSPC);
        }
        let id = self.last_id.checked_add(1).ok_or(ENOSPC)?;
        self.members.reserve(1, GFP_KERNEL_ACCOUNT)?;
        self.workers.reserve(1, GFP_KERNEL_ACCOUNT)?;
        self.outcomes.reserve(1, GFP_KERNEL_ACCOUNT)?;
        self.results.reserve(1, GFP_KERNEL_ACCOUNT)?;
        let binding = Binding::new(&self.waker, id, how.cookie);
        let who = binding.who;
        let mut member = Member::new(who, f(binding)?, how.policy);
        let other = |m: &Member| m.space != 0 && m.space != member.space;
        if member.space != 0 && self.members.iter().any(other) {
            return Err(EXDEV);
        }
        let worker = if member.waits() {
            Some(Worker::new()?)
        } else {
            None
        };
        if let Some(session) = self.session {
            self.join(&mut member, session, how.clean)?;
        }
        // There is room for all.
        let _ = self.workers.push_within_capacity(worker);
        let _ = self.outcomes.push_within_capacity(Outcome::default());
        let _ = self.results.push_within_capacity(Outcome::default());
        let _ = self.members.push_within_capacity(member);
        self.last_id = id;
        Ok(id)
    }

    /// Starts a member in a session that is under way.
    fn join(&mut self, member: &mut Member, session: Session, clean: bool) -> Result {
        let started = member.join(&self.tracked, session);
        if let Err(e) = started {
            if member.policy == Policy::Fail {
                return Err(e);
            }
            member.failed = Some(e);
        } else if !clean {
            member.mark_all(&self.tracked);
        }
        Ok(())
    }

    /// Takes member `id` out. With `keep`, what it holds dirty from `*next` on moves to what the
    /// context keeps; `EINTR` if a signal comes, and `*next` is where to go on.
    pub(crate) fn unbind(&mut self, id: u32, keep: bool, next: &mut u64) -> Result {
        let at = self.members.iter().position(|m| m.id() == id);
        let at = at.ok_or(ENOENT)?;
        if keep && self.session.is_some() {
            if let Some(left) = Range::inclusive(*next, u64::MAX) {
                let resume = Resume::default();
                if let Some(place) = self.harvest(left, Which::One(id), resume).interrupted {
                    *next = place.address;
                    return Err(EINTR);
                }
            }
        }
        *next = 0;
        let mut member = self.members.remove(at).map_err(|_| ENOENT)?;
        let _ = self.workers.remove(at);
        let _ = self.outcomes.remove(at);
        let _ = self.results.remove(at);
        if keep {
            for held in member.undelivered() {
                self.kept.absorb(held);
            }
        }
        let _ = member.stop();
        Ok(())
    }

    /// The id could not be told: nobody has used it.
    pub(crate) fn undo_bind(&mut self, id: u32, done: bool) {
        if done {
            let _ = self.unbind(id, false, &mut 0);
        }
    }
}
