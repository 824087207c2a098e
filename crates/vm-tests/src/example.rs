// SPDX-License-Identifier: GPL-2.0

//! The example of the crate, which is also in Documentation/.

#[path = "../../iommufd-dirty-ioctls/examples/dirty_log.rs"]
#[allow(dead_code)]
mod dirty_log;

use crate::devices::{Emulated, Iommu};
use crate::mock::{Mock, CAP_UPDATE_RANGES};
use crate::{iova, tests, PAGE};
use dirty_log::{DeviceLog, GuestBits};
use iommufd_dirty_ioctls::{Context, Policy};
use std::fs::File;
use std::os::fd::AsFd;

tests! {
    the_log_of_a_guest_with_a_virtual_iommu,
    the_log_of_a_device,
}

const GUEST: u64 = 1 << 20;

fn the_log_of_a_guest_with_a_virtual_iommu() {
    let mock = Mock::that_can(CAP_UPDATE_RANGES);
    let context = Context::open().unwrap();
    mock.bind(&context, Policy::Fail, 1);
    let bits = GuestBits::new(GUEST);
    let mut log = DeviceLog::new(context);
    log.map(iova(100), 10 * PAGE, 5 * PAGE).unwrap();
    log.start().unwrap();
    mock.write([100, 101, 105]);
    log.collect(&bits).unwrap();
    assert_eq!(bits.take(), [(5 * PAGE, 2 * PAGE), (10 * PAGE, PAGE)]);

    // The same page by another way, and a page that is mapped for a moment.
    log.map(iova(300), PAGE, 5 * PAGE).unwrap();
    log.map(iova(500), PAGE, 70 * PAGE).unwrap();
    mock.write([300, 100, 500]);
    let mut unmapped = false;
    log.unmap(iova(500), &bits, || unmapped = true).unwrap();
    assert!(unmapped);
    log.map(iova(500), PAGE, 80 * PAGE).unwrap();
    log.collect(&bits).unwrap();
    assert_eq!(bits.take(), [(5 * PAGE, PAGE), (70 * PAGE, PAGE)]);

    mock.write([500]);
    log.paused();
    log.collect(&bits).unwrap();
    assert_eq!(bits.take(), [(80 * PAGE, PAGE)]);
    let state = mock.state();
    assert!(state.final_reads > 0 && state.starts == 1);
    log.stop().unwrap();
    assert_eq!(mock.state().started, 0);
}

fn the_log_of_a_device() {
    let iommu = Iommu::new();
    let device = Emulated::new(&iommu);
    let bits = GuestBits::new(GUEST);
    let mut log = DeviceLog::new(Context::open().unwrap());
    log.map(iova(0), GUEST, 0).unwrap();
    log.start().unwrap();
    log.add_device(device.0.as_fd(), 1).unwrap();
    device.write([7, 8]);
    log.collect(&bits).unwrap();
    assert_eq!(bits.take(), [(7 * PAGE, 2 * PAGE)]);
    // One that nobody tracks may write anywhere.
    let null = File::open("/dev/null").unwrap();
    log.add_device(null.as_fd(), 2).unwrap();
    log.collect(&bits).unwrap();
    assert_eq!(bits.take(), [(0, GUEST)]);
    log.stop().unwrap();
}
