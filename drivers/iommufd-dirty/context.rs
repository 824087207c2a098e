// SPDX-License-Identifier: GPL-2.0

//! A context: one open of /dev/iommufd-dirty.
//!
//! One system call at a time has the context's [`State`]: it takes it out and puts it back, so that
//! no lock is held while it faults in user memory or waits for hardware, and those who wait can be
//! interrupted. `poll()`, and a tracker that is lost or unregistered, never need the state.
//!
//! Locks: none of the module's is taken while another is held.

use crate::{
    abi::memcg::Memcg,
    bind::Bind,
    bound::Bound,
    state::State,
    tracker::Tracker,
    waker::Waker, //
};
use kernel::{
    new_condvar,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        CondVar,
        Mutex, //
    }, //
};

#[pin_data]
pub(crate) struct Context {
    waker: Arc<Waker>,
    memcg: Arc<Memcg>,
    /// `None` while a system call has it, or once the context is closed.
    #[pin]
    state: Mutex<Option<KBox<State>>>,
    #[pin]
    free: CondVar,
}

impl Context {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let memcg = Arc::new(Memcg::current(), GFP_KERNEL)?;
        let waker = Waker::new()?;
        let state = State::new(waker.clone(), memcg.clone())?;
        Arc::pin_init(
            pin_init!(Self {
                waker,
                memcg,
                state <- new_mutex!(Some(state), "iommufd_dirty::Context::state"),
                free <- new_condvar!("iommufd_dirty::Context::free"),
            }),
            kernel::alloc::flags::GFP_KERNEL_ACCOUNT,
        )
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Calls `f` with the state, when no other system call has it, and with memory charged to
    /// whoever opened the context. `EINTR`.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut State) -> Result<R>) -> Result<R> {
        let mut state = {
            let mut slot = self.state.lock();
            loop {
                if let Some(state) = slot.take() {
                    break state;
                }
                let signal = self.free.wait_interruptible(&mut slot);
                // A wake-up that came at the same time must not be lost for those who wait, too.
                if signal && slot.is_none() {
                    return Err(EINTR);
                }
            }
        };
        let result = {
            let _charge = self.memcg.charge();
            f(&mut state)
        };
        self.put_back(state);
        result
    }

    /// Calls `f` with the state; with `None` if a system call has it.
    pub(crate) fn peek<R>(&self, f: impl FnOnce(Option<&State>) -> R) -> R {
        let state = self.state.lock().take();
        let result = f(state.as_deref());
        if let Some(state) = state {
            self.put_back(state);
        }
        result
    }

    fn put_back(&self, state: KBox<State>) {
        *self.state.lock() = Some(state);
        self.free.notify_one();
    }

    /// The file is closed: no system call is under way or can begin. Stops and unbinds all.
    pub(crate) fn close(&self) {
        let state = self.state.lock().take();
        drop(state);
    }
}

/// Puts a tracker into a context: `iommufd_dirty_bind()`. Returns its id there.
pub(crate) fn bind(
    context: &Context,
    tracker: Arc<Tracker>,
    flags: u32,
    policy: u32,
    cookie: u64,
) -> Result<u32> {
    let how = Bind::new(flags, policy, cookie)?;
    context.with(|state| state.bind(how, |binding| Bound::registered(binding, tracker).map(Some)))
}
