// SPDX-License-Identifier: GPL-2.0

//! Tells whoever polls a context that a tracker is in trouble.

use crate::abi::trace;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        poll::PollCondVar,
        Arc, //
    }, //
};

static CONTEXTS: Atomic<u32> = Atomic::new(0);

/// One for each context; shared with the trackers that are bound to it.
#[pin_data]
pub(crate) struct Waker {
    context: u32,
    /// Trackers that are in trouble of which userspace was not told.
    untold: Atomic<u32>,
    #[pin]
    wait: PollCondVar,
}

impl Waker {
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                context: CONTEXTS.fetch_add(1, Relaxed).wrapping_add(1),
                untold: Atomic::new(0),
                wait <- PollCondVar::new(
                    c"iommufd_dirty::Waker::wait",
                    kernel::static_lock_class!()
                ),
            }),
            kernel::alloc::flags::GFP_KERNEL_ACCOUNT,
        )
    }

    /// The context's number, for those who trace.
    pub(crate) fn context(&self) -> u32 {
        self.context
    }

    pub(crate) fn poll_wait(&self) -> &PollCondVar {
        &self.wait
    }

    /// Is there trouble of which userspace was not told?
    pub(crate) fn has_trouble(&self) -> bool {
        self.untold.load(Relaxed) != 0
    }
}

/// Which context a tracker is bound to.
pub(crate) struct Binding {
    waker: Arc<Waker>,
    pub(crate) who: trace::Who,
    /// Counted in `Waker::untold`.
    untold: bool,
}

impl Binding {
    pub(crate) fn new(waker: &Arc<Waker>, id: u32, cookie: u64) -> Self {
        Self {
            waker: waker.clone(),
            who: trace::Who {
                context: waker.context(),
                tracker: id,
                cookie,
            },
            untold: false,
        }
    }

    /// The tracker is in trouble. From any context.
    pub(crate) fn wake(&mut self) {
        if !self.untold {
            self.untold = true;
            self.waker.untold.fetch_add(1, Relaxed);
        }
        self.waker.wait.notify_all();
    }

    /// Userspace knows, or it does not matter any more.
    pub(crate) fn acknowledge(&mut self) {
        if self.untold {
            self.untold = false;
            self.waker.untold.fetch_sub(1, Relaxed);
        }
    }
}
