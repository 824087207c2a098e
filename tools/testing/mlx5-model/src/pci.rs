// SPDX-License-Identifier: GPL-2.0

//! The configuration space of a function. C header: include/uapi/linux/pci_regs.h.
//!
//! QEMU emulates the BARs and MSI-X on top of it, and hides the SR-IOV capability from the list; its
//! registers can still be reached.

use crate::bar;

/// Its size.
pub const SIZE: usize = 4096;

const VENDOR_MELLANOX: u16 = 0x15b3;
/// ConnectX-7
const DEVICE_PF: u16 = 0x1021;
/// "ConnectX Family mlx5Gen Virtual Function"
const DEVICE_VF: u16 = 0x101e;

const COMMAND: usize = 0x04;
const COMMAND_MASTER: u8 = 1 << 2;
const STATUS: usize = 0x06;
const CLASS: usize = 0x08;
const BAR0: usize = 0x10;
const SUBSYSTEM: usize = 0x2c;
const CAPABILITIES: usize = 0x34;

const EXPRESS: usize = 0x60;
const DEVCTL: usize = EXPRESS + 0x08;
const DEVCTL_FLR: u16 = 1 << 15;
const MSIX: usize = 0x9c;
/// The vendor's gateway: vsc.rs.
pub const GATEWAY: usize = 0xc0;
/// The gateway's size.
pub const GATEWAY_SIZE: usize = 0x18;

const SERIAL_NUMBER: usize = 0x100;
/// Where the SR-IOV capability of the PF is.
pub const SRIOV: usize = 0x180;

/// What a write to the configuration space asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It was stored.
    None,
    /// A function level reset.
    Reset,
}

/// The configuration space.
#[derive(Clone, Debug)]
pub struct Config {
    bytes: Vec<u8>,
    writable: Vec<u8>,
}

impl Config {
    /// A PF with `vfs` VFs, or a VF; with `vectors` MSI-X vectors.
    pub fn new(vfs: Option<u16>, vectors: u16) -> Self {
        let is_pf = vfs.is_some();
        let mut config = Self {
            bytes: vec![0; SIZE],
            writable: vec![0; SIZE],
        };
        let device = if is_pf { DEVICE_PF } else { DEVICE_VF };
        config.put16(0x00, VENDOR_MELLANOX);
        config.put16(0x02, device);
        config.allow16(COMMAND, 0x0546);
        // There is a list of capabilities.
        config.put16(STATUS, 1 << 4);
        // An Ethernet controller: mlx5_core does not care, people do.
        config.put32(CLASS, 0x0200_0000);
        config.put_bar(BAR0, bar::SIZE);
        config.put16(SUBSYSTEM, VENDOR_MELLANOX);
        config.put16(SUBSYSTEM + 2, 0x0001);
        config.put8(CAPABILITIES, EXPRESS as u8);

        // PCI Express endpoint, version 2, with function level reset, 16 GT/s x8.
        config.put16(EXPRESS, ((MSIX as u16) << 8) | 0x10);
        config.put16(EXPRESS + 0x02, 0x0002);
        config.put32(EXPRESS + 0x04, (1 << 28) | (1 << 15) | 0x1);
        config.allow16(DEVCTL, 0x7fff);
        config.put32(EXPRESS + 0x0c, 0x84);
        config.allow16(EXPRESS + 0x10, 0x0fc3);
        config.put16(EXPRESS + 0x12, 0x84);
        config.allow16(EXPRESS + 0x28, 0xffff);
        config.put32(EXPRESS + 0x2c, 0x1e);
        config.put16(EXPRESS + 0x30, 0x4);

        let next = if is_pf { GATEWAY as u16 } else { 0 };
        config.put16(MSIX, (next << 8) | 0x11);
        config.put16(MSIX + 2, vectors.saturating_sub(1));
        config.allow16(MSIX + 2, 0xc000);
        config.put32(MSIX + 4, bar::MSIX_TABLE as u32);
        config.put32(MSIX + 8, bar::MSIX_PBA as u32);

        if let Some(vfs) = vfs {
            config.put16(GATEWAY, 0x09);
            config.put8(GATEWAY + 2, GATEWAY_SIZE as u8);
            config.put32(SERIAL_NUMBER, ((SRIOV as u32) << 20) | (1 << 16) | 0x0003);
            config.put32(SERIAL_NUMBER + 4, 0x6d6f_6465);
            config.put_sriov(vfs);
        }
        config
    }

    fn put_sriov(&mut self, vfs: u16) {
        self.put32(SRIOV, (1 << 16) | 0x0010);
        // VF Enable, VF Memory Space Enable, ARI.
        self.allow16(SRIOV + 0x08, (1 << 0) | (1 << 3) | (1 << 4));
        self.put16(SRIOV + 0x0c, vfs);
        self.put16(SRIOV + 0x0e, vfs);
        self.allow16(SRIOV + 0x10, 0xffff);
        // The VFs follow the PF, one after the other.
        self.put16(SRIOV + 0x14, 1);
        self.put16(SRIOV + 0x16, 1);
        self.put16(SRIOV + 0x1a, DEVICE_VF);
        // Page sizes: those that every device has.
        self.put32(SRIOV + 0x1c, 0x553);
        self.put32(SRIOV + 0x20, 0x1);
        self.allow16(SRIOV + 0x20, 0x553);
        self.put_bar(SRIOV + 0x24, bar::SIZE);
    }

    /// A 64-bit prefetchable BAR.
    fn put_bar(&mut self, at: usize, size: u64) {
        let mask = !(size - 1);
        self.put32(at, 0xc);
        self.allow16(at, mask as u16);
        self.allow16(at + 2, (mask >> 16) as u16);
        self.allow16(at + 4, (mask >> 32) as u16);
        self.allow16(at + 6, (mask >> 48) as u16);
    }

    fn put8(&mut self, at: usize, value: u8) {
        self.bytes[at] = value;
    }

    fn put16(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn put32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn allow16(&mut self, at: usize, bits: u16) {
        self.writable[at..at + 2].copy_from_slice(&bits.to_le_bytes());
    }

    /// Whether the function may do DMA.
    pub fn is_bus_master(&self) -> bool {
        self.bytes[COMMAND] & COMMAND_MASTER != 0
    }

    /// Reads; `None` beyond the end.
    pub fn read(&self, offset: usize, buf: &mut [u8]) -> Option<()> {
        let end = offset.checked_add(buf.len())?;
        buf.copy_from_slice(self.bytes.get(offset..end)?);
        Some(())
    }

    /// Writes the bits that can be written; `None` beyond the end.
    pub fn write(&mut self, offset: usize, buf: &[u8]) -> Option<Effect> {
        let end = offset.checked_add(buf.len())?;
        let bytes = self.bytes.get_mut(offset..end)?;
        let writable = self.writable.get(offset..end)?;
        for ((byte, mask), new) in bytes.iter_mut().zip(writable).zip(buf) {
            *byte = *byte & !mask | new & mask;
        }
        // The byte that has the bit for the reset, if it is among those written.
        let asked = (DEVCTL + 1).checked_sub(offset).and_then(|i| buf.get(i));
        let reset = asked.is_some_and(|byte| (u16::from(*byte) << 8) & DEVCTL_FLR != 0);
        Some(if reset { Effect::Reset } else { Effect::None })
    }
}
