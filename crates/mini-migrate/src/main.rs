// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A live migration of nothing but memory: VFIO devices write to it while it is copied to another
//! process. This is what a VMM does with `iommufd-dirty-ioctls`, beside `vfio-ioctls` and
//! `iommufd-ioctls` from crates.io.
//!
//!     mini-migrate DEVICE...
//!
//! where each DEVICE is the directory in sysfs of a virtual function of mlx5-model, which can be
//! made to write: see engine.rs. A VMM has a guest for that.

mod engine;
mod memory;
mod receiver;

use engine::Engine;
use iommufd_dirty_ioctls::{
    Binding, Bitmaps, Context, PageSize, Policy, Range, ReadReport, Session, StartOptions,
    UntrackedPolicy,
};
use iommufd_ioctls::IommuFd;
use memory::{Memory, PAGE, SIZE};
use receiver::Receiver;
use std::env;
use std::error::Error;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;
use vfio_bindings::bindings::vfio::vfio_device_mig_state_VFIO_DEVICE_STATE_STOP as STATE_STOP;
use vfio_ioctls::{VfioDevice, VfioIommufd};

/// Where the devices see the memory.
const IOVA: u64 = 0x1_0000_0000;
/// This many pages can be sent while the devices are stopped.
const PAGES_FOR_PAUSE: u64 = 16;
const MAX_ROUNDS: usize = 12;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    if arguments.is_empty() {
        return Err("usage: mini-migrate DEVICE...: directories of sysfs".into());
    }
    if arguments[0] == receiver::ARGUMENT {
        return receiver::run();
    }

    let memory = Memory::new()?;
    let vfio = Arc::new(VfioIommufd::new(Arc::new(IommuFd::new()?), None, None)?);
    // SAFETY: the devices are gone before `memory` is, and it is accessed by volatile reads only.
    unsafe { vfio.vfio_dma_map(IOVA, SIZE as usize, memory.as_ptr()) }?;
    let mut devices = Vec::new();
    for path in &arguments {
        devices.push(VfioDevice::new(Path::new(path), vfio.clone(), true)?);
    }
    let engines: Vec<_> = devices
        .iter()
        .map(|device| Engine::new(device, IOVA))
        .collect();

    let stop = AtomicBool::new(false);
    let wrote = AtomicU64::new(0);
    thread::scope(|scope| {
        // However this ends, the threads do.
        let stopping = StopOnDrop(&stop);
        let (stop, wrote) = (&stop, &wrote);
        let running: Vec<_> = (1..)
            .zip(&engines)
            .map(|(seed, engine)| scope.spawn(move || engine.write_until(stop, wrote, seed)))
            .collect();
        migrate(&memory, &devices, || {
            drop(stopping);
            for thread in running {
                thread.join().map_err(|_| "a device's thread panicked")??;
            }
            for device in &devices {
                device.set_migration_state(STATE_STOP)?;
            }
            Ok(())
        })
    })?;
    println!("{} writes by {} devices", wrote.into_inner(), devices.len());
    Ok(())
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The types of vfio-ioctls and iommufd-ioctls only give the number of their descriptor.
fn fd_of(device: &VfioDevice) -> BorrowedFd<'_> {
    // SAFETY: the device has it open for as long as it is borrowed.
    unsafe { BorrowedFd::borrow_raw(device.as_raw_fd()) }
}

/// A context that tracks what the devices write.
fn track(devices: &[VfioDevice], ram: Range) -> Result<Session> {
    let context = Context::open()?;
    for (n, device) in devices.iter().enumerate() {
        let cookie = n as u64;
        if context.device_has_tracker(fd_of(device))? {
            context.bind_device(fd_of(device), &Binding::new(Policy::Fail).cookie(cookie))?;
        } else {
            // Nobody sees what it writes. That may be anything.
            context.bind_untracked(UntrackedPolicy::AllDirty, cookie)?;
        }
    }
    context.add_ranges(&[ram])?;
    Ok(context.start(&StartOptions::new(PageSize::KIB_4))?)
}

fn migrate(
    memory: &Memory,
    devices: &[VfioDevice],
    stop_devices: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let ram = Range::new(IOVA, SIZE)?;
    let session = track(devices, ram)?;
    let mut receiver = Receiver::start()?;

    // Tracking is on: what is written from here on will be sent again.
    memory.send(0, SIZE, &mut receiver)?;
    println!("all of {} pages sent", SIZE / PAGE);
    let bitmap: Vec<_> = (0..(SIZE / PAGE).div_ceil(64))
        .map(|_| AtomicU64::new(0))
        .collect();
    let mut request = Bitmaps::new(PageSize::KIB_4).with(ram, &bitmap)?;
    for round in 1..=MAX_ROUNDS {
        let report = session.read(&mut request)?;
        print(&format!("round {round}"), &report);
        send_dirty(memory, &bitmap, &mut receiver)?;
        if report.dirty <= PAGES_FOR_PAUSE {
            break;
        }
    }

    stop_devices()?;
    let last = session.devices_stopped();
    let report = last.read(&mut request)?;
    print("last round", &report);
    send_dirty(memory, &bitmap, &mut receiver)?;
    last.stop()?;

    let bad = memory.differences(&receiver.finish()?)?;
    if bad != 0 {
        return Err(format!("{bad} pages differ").into());
    }
    println!("the other process has the same memory, byte for byte");
    Ok(())
}

/// Sends the pages whose bits are set, and clears these: first, because a page may be found dirty
/// again while it is sent.
fn send_dirty(memory: &Memory, bitmap: &[AtomicU64], receiver: &mut Receiver) -> Result<()> {
    for (n, word) in bitmap.iter().enumerate() {
        let mut bits = word.swap(0, Ordering::SeqCst);
        while bits != 0 {
            let page = n as u64 * 64 + u64::from(bits.trailing_zeros());
            memory.send(page * PAGE, PAGE, receiver)?;
            bits &= bits - 1;
        }
    }
    Ok(())
}

fn print(round: &str, report: &ReadReport) {
    let each: Vec<_> = report
        .trackers
        .iter()
        .map(|tracker| format!("device {}: {}", tracker.cookie, tracker.bytes / PAGE))
        .collect();
    println!(
        "{round}: {} pages dirty ({}) {:?}",
        report.dirty,
        each.join(", "),
        report.status
    );
}
