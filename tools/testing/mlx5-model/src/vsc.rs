// SPDX-License-Identifier: GPL-2.0

//! The gateway in the PF's vendor-specific capability: semaphores that the drivers of several
//! functions share. There is no space with the device's own registers (a crdump).
//!
//! C file: drivers/net/ethernet/mellanox/mlx5/core/lib/pci_vsc.c

use std::collections::BTreeMap;

const CTRL: usize = 0x04;
const COUNTER: usize = 0x08;
const SEMAPHORE: usize = 0x0c;
const ADDRESS: usize = 0x10;
const DATA: usize = 0x14;

/// The space of the semaphores.
const SPACE_SEMAPHORE: u32 = 0xa;
/// In CTRL: the space exists.
const STATUS_OK: u32 = 1 << 29;
/// In ADDRESS: set to write, and when a read is done.
const FLAG: u32 = 1 << 31;
/// More than any driver uses.
const MAX_SEMAPHORES: usize = 64;

/// The gateway's registers.
#[derive(Debug, Default)]
pub struct Gateway {
    space: u32,
    counter: u32,
    owner: u32,
    address: u32,
    data: u32,
    semaphores: BTreeMap<u32, u32>,
}

impl Gateway {
    /// Reads the register at `offset` of the capability.
    pub fn read(&mut self, offset: usize) -> u32 {
        match offset {
            CTRL if self.space == SPACE_SEMAPHORE => STATUS_OK | self.space,
            CTRL => self.space,
            COUNTER => {
                // A number that nobody else gets, and not 0.
                self.counter = self.counter.wrapping_add(1).max(1);
                self.counter
            }
            SEMAPHORE => self.owner,
            ADDRESS => self.address,
            DATA => self.data,
            _ => 0,
        }
    }

    /// Writes the register at `offset` of the capability.
    pub fn write(&mut self, offset: usize, value: u32) {
        match offset {
            CTRL => self.space = value & 0xffff,
            SEMAPHORE if value == 0 || self.owner == 0 => self.owner = value,
            DATA => self.data = value,
            ADDRESS => self.transfer(value),
            _ => {}
        }
    }

    fn transfer(&mut self, address: u32) {
        // The flag changes when it is done, and that is now.
        self.address = address ^ FLAG;
        if self.space != SPACE_SEMAPHORE {
            return;
        }
        let index = address & !FLAG;
        let held = self.semaphores.get(&index).copied().unwrap_or(0);
        if address & FLAG == 0 {
            self.data = held;
        } else if self.data == 0 {
            self.semaphores.remove(&index);
        } else if held == 0 && self.semaphores.len() < MAX_SEMAPHORES {
            self.semaphores.insert(index, self.data);
        }
    }
}
