// SPDX-License-Identifier: GPL-2.0

//! /dev/iommufd-dirty-mock: see iommufd_dirty_mock.h among the kselftests.

use crate::iova;
use iommufd_dirty_ioctls::{Context, Policy, Tracker};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

pub const FAIL_READ: u32 = 2;
pub const LATENCY_MS: u32 = 0;
pub const LOSE: u32 = 6;

pub const CAP_PEEK: u32 = 1;
pub const CAP_UPDATE_RANGES: u32 = 2;
pub const CAP_UNMAP_DROPS: u32 = 8;

/// `_IO('M', n)`
const fn io(n: u64) -> u64 {
    ((b'M' as u64) << 8) | n
}

const CREATE: u64 = io(0xe0);
const BIND: u64 = io(0xe1);
const DIRTY: u64 = io(0xe2);
const KNOB: u64 = io(0xe3);
const STATE: u64 = io(0xe4);
const UNREGISTER: u64 = io(0xe5);

#[repr(C)]
#[derive(Default)]
pub struct Create {
    pub size: u32,
    pub caps: u32,
    pub pgsizes: u64,
    pub block: u64,
    pub max_ranges: u32,
    pub space: u32,
    pub min_span: u64,
    pub max_span: u64,
}

#[repr(C)]
#[derive(Default)]
struct Bind {
    context_fd: i32,
    policy: u32,
    out_tracker_id: u32,
    flags: u32,
    cookie: u64,
}

#[repr(C)]
#[derive(Default)]
pub struct State {
    pub granule: u64,
    pub nr_ranges: u32,
    pub started: u32,
    pub starts: u64,
    pub stops: u64,
    pub reads: u64,
    pub final_reads: u64,
    pub dirty: u64,
    ranges: [[u64; 2]; 8],
}

pub struct Mock(File);

impl Mock {
    pub fn new() -> Self {
        Self::with(Create::default())
    }

    pub fn with(mut create: Create) -> Self {
        let path = "/dev/iommufd-dirty-mock";
        let file = OpenOptions::new().read(true).write(true).open(path);
        let mock = Self(file.unwrap());
        create.size = size_of::<Create>() as u32;
        mock.ioctl(CREATE, &mut create);
        mock
    }

    pub fn that_can(caps: u32) -> Self {
        Self::with(Create {
            caps,
            ..Default::default()
        })
    }

    fn ioctl<T>(&self, number: u64, arg: &mut T) {
        let arg: *mut T = arg;
        // SAFETY: each caller gives the structure of the ioctl, and none has a pointer.
        let ret = unsafe { libc::ioctl(self.0.as_raw_fd(), number, arg) };
        assert_ne!(ret, -1, "ioctl {number:#x}: {}", io::Error::last_os_error());
    }

    pub fn bind(&self, context: &Context, policy: Policy, cookie: u64) -> Tracker {
        let mut bind = Bind {
            context_fd: context.as_raw_fd(),
            policy: policy as u32,
            cookie,
            ..Default::default()
        };
        self.ioctl(BIND, &mut bind);
        let tracker = context.trackers().unwrap().pop().unwrap();
        assert_eq!(tracker.id(), bind.out_tracker_id);
        tracker
    }

    /// As a device's writes: these pages.
    pub fn write(&self, pages: impl IntoIterator<Item = u64>) {
        for page in pages {
            self.ioctl(DIRTY, &mut [iova(page), 4096, 0, 1]);
        }
    }

    pub fn knob(&self, knob: u32, value: u64) {
        self.ioctl(KNOB, &mut [knob.into(), value]);
    }

    pub fn state(&self) -> State {
        let mut state = State::default();
        self.ioctl(STATE, &mut state);
        state
    }

    pub fn unregister(&self) {
        self.ioctl(UNREGISTER, &mut 0u64);
    }
}
