// SPDX-License-Identifier: GPL-2.0

//! Page tables and an emulated device, alone and together.

use crate::devices::{Emulated, Iommu};
use crate::mock::Mock;
use crate::{binding, errno_of, options, pages, ram, read, tests, Bits, PAGES};
use iommufd_dirty_ioctls::{Context, Error, Kind, Policy};
use std::fs::File;

tests! {
    a_page_table,
    an_emulated_device,
    all_of_them_merged,
    what_has_no_tracker,
}

fn a_page_table() {
    let iommu = Iommu::new();
    let context = Context::open().unwrap();
    let hwpt = context
        .bind_hwpt(iommu.fd(), iommu.hwpt_id(), &binding(7))
        .unwrap();
    let info = hwpt.info().unwrap();
    assert_eq!((info.kind, info.cookie), (Kind::IommuDomain, 7));
    context.add_ranges(&[ram()]).unwrap();
    let session = context.start(&options()).unwrap();
    for round in 0..3 {
        let written = pages((0..PAGES).filter(|page| page % 11 == round));
        iommu.write(written.iter().copied());
        assert_eq!(read(&session), written);
        assert!(read(&session).is_empty());
    }
    // Bound it cannot go, and no other context can have it.
    let again = Context::open().unwrap();
    let twice = again.bind_hwpt(iommu.fd(), iommu.hwpt_id(), &binding(8));
    assert_eq!(errno_of(twice), libc::EBUSY);
    iommu.write([1]);
    let last = session.devices_stopped();
    let bits = Bits::new();
    last.read(&mut bits.request()).unwrap();
    assert_eq!(bits.take(), pages([1]));
    last.stop().unwrap();
}

fn an_emulated_device() {
    let iommu = Iommu::new();
    let device = Emulated::new(&iommu);
    let context = Context::open().unwrap();
    assert!(context.device_has_tracker(&device.0).unwrap());
    let tracker = context.bind_device(&device.0, &binding(3)).unwrap();
    assert_eq!(tracker.info().unwrap().kind, Kind::Software);
    context.add_ranges(&[ram()]).unwrap();
    let session = context.start(&options()).unwrap();
    device.write([0, 9, PAGES - 1]);
    assert_eq!(read(&session), pages([0, 9, PAGES - 1]));
    assert!(read(&session).is_empty());
    // It goes, and its tracker with it.
    drop(device);
    assert!(context.has_trouble().unwrap());
}

fn all_of_them_merged() {
    let iommu = Iommu::new();
    let device = Emulated::new(&iommu);
    let mock = Mock::new();
    let context = Context::open().unwrap();
    context
        .bind_hwpt(iommu.fd(), iommu.hwpt_id(), &binding(1))
        .unwrap();
    context.bind_device(&device.0, &binding(2)).unwrap();
    mock.bind(&context, Policy::Fail, 3);
    context.add_ranges(&[ram()]).unwrap();
    let session = context.start(&options()).unwrap();
    for round in 0..10u64 {
        let by = |n: u64| (0..20u64).map(move |i| (round * 401 + n * 97 + i * 53) % PAGES);
        iommu.write(by(1));
        device.write(by(2));
        mock.write(by(3));
        let all = by(1).chain(by(2)).chain(by(3));
        assert_eq!(read(&session), pages(all));
    }
}

fn what_has_no_tracker() {
    let context = Context::open().unwrap();
    let null = File::open("/dev/null").unwrap();
    assert!(!context.device_has_tracker(&null).unwrap());
    let bound = context.bind_device(&null, &binding(1));
    assert!(matches!(bound, Err(Error::BindDevice(e)) if e.raw() == libc::ENOTTY));
    let bound = context.bind_hwpt(&null, 1, &binding(1));
    assert!(matches!(bound, Err(Error::BindHwpt(e)) if e.raw() == libc::EBADFD));
}
