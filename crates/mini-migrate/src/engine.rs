// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Stands in for a guest's driver: the engine that makes a virtual function of mlx5-model write
//! what is asked for. Its registers are in the last page of BAR 0, big-endian.

use crate::memory::{PAGE, SIZE};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use vfio_bindings::bindings::vfio::{VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX};
use vfio_ioctls::VfioDevice;

const REGISTERS: u64 = 0xff000;
const IOVA_HIGH: u64 = 0x00;
const IOVA_LOW: u64 = 0x04;
const LENGTH: u64 = 0x08;
const PATTERN: u64 = 0x0c;
const GO: u64 = 0x18;
const FILL: u32 = 1;

/// The command register of PCI's configuration space: memory, and bus master.
const COMMAND: u64 = 4;
const COMMAND_ENABLE: u16 = 0x6;

pub struct Engine<'a> {
    device: &'a VfioDevice,
    iova: u64,
}

impl<'a> Engine<'a> {
    /// Writes from `iova` on.
    pub fn new(device: &'a VfioDevice, iova: u64) -> Self {
        let mut command = [0; 2];
        device.region_read(VFIO_PCI_CONFIG_REGION_INDEX, &mut command, COMMAND);
        let command = u16::from_le_bytes(command) | COMMAND_ENABLE;
        device.region_write(
            VFIO_PCI_CONFIG_REGION_INDEX,
            &command.to_le_bytes(),
            COMMAND,
        );
        Self { device, iova }
    }

    fn set(&self, register: u64, value: u32) {
        let bytes = value.to_be_bytes();
        self.device
            .region_write(VFIO_PCI_BAR0_REGION_INDEX, &bytes, REGISTERS + register);
    }

    /// Returns how many writes failed, or all ones if the device does not answer.
    fn fill(&self, offset: u64, length: u32, pattern: u32) -> u32 {
        let iova = self.iova + offset;
        self.set(IOVA_HIGH, (iova >> 32) as u32);
        self.set(IOVA_LOW, iova as u32);
        self.set(LENGTH, length);
        self.set(PATTERN, pattern);
        self.set(GO, FILL);
        let mut failed = [0xff; 4];
        self.device
            .region_read(VFIO_PCI_BAR0_REGION_INDEX, &mut failed, REGISTERS + GO);
        u32::from_be_bytes(failed)
    }

    /// Writes a little to pages here and there, and once more after it was asked to stop: there is
    /// always something left for the last round.
    pub fn write_until(
        &self,
        stop: &AtomicBool,
        wrote: &AtomicU64,
        mut seed: u64,
    ) -> std::result::Result<(), String> {
        loop {
            let last = stop.load(Ordering::SeqCst);
            // xorshift
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let offset = seed % (SIZE / PAGE) * PAGE + seed % 32 * 64;
            if self.fill(offset, 64, seed as u32) != 0 {
                return Err(format!("a device could not write to offset {offset:#x}"));
            }
            wrote.fetch_add(1, Ordering::SeqCst);
            if last {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}
