// SPDX-License-Identifier: GPL-2.0

//! BAR 0: the initialization segment, the MSI-X tables, the UAR pages with their doorbells.
//!
//! C header: include/linux/mlx5/device.h, `struct mlx5_init_seg`. All registers are big-endian.

use crate::device::Device;
use crate::device::PF;
use crate::dma;
use crate::rdma;

/// The size of the BAR.
pub const SIZE: u64 = 0x10_0000;
/// Where the MSI-X table is; QEMU has its own.
pub const MSIX_TABLE: u64 = 0x2000;
/// Where the pending bits are.
pub const MSIX_PBA: u64 = 0x3000;

/// A UAR is a page, and its number counts pages from the start of the BAR.
pub const UAR_SIZE: u64 = 0x1000;
/// The first UAR.
pub const UAR_FIRST: u32 = 0x10;
/// Behind the last UAR.
pub const UAR_END: u32 = 0xff;
/// The last page: a VF's engine for tests.
pub const ENGINE: u64 = SIZE - 0x1000;

const FW_REV: u64 = 0x00;
const CMDIF_REV_FW_SUB: u64 = 0x04;
const CMDQ_ADDR_H: u64 = 0x10;
const CMDQ_ADDR_L_SZ: u64 = 0x14;
const CMD_DBELL: u64 = 0x18;
const INITIALIZING: u64 = 0x1fc;
const HEALTH_FW_VER: u64 = 0x230;
const HEALTH_HW_ID: u64 = 0x234;
const HEALTH_SYND: u64 = 0x23c;
const CMD_EXEC_TO: u64 = 0xff8;
const CMD_Q_INIT_TO: u64 = 0xffc;
const INTERNAL_TIMER_H: u64 = 0x1000;
const INTERNAL_TIMER_L: u64 = 0x1004;
const HEALTH_COUNTER: u64 = 0x1010;

/// In a UAR: an EQ's consumer index, with and without arming it.
const EQ_ARM: u64 = 0x40;
const EQ_UPDATE: u64 = 0x48;

/// In a UAR: arms a CQ; the second word says which.
const CQ_ARM: u64 = 0x20;
const CQ_ARM_CQN: u64 = 0x24;

/// 28.40.1000
const FW_MAJOR: u32 = 28;
const FW_MINOR: u32 = 40;
const FW_SUB: u32 = 1000;
const CMDIF_REV: u32 = 5;
/// As long as mlx5_core waits of its own accord.
const CMD_Q_INIT_MS: u32 = 2000;

/// The initialization segment's own state.
#[derive(Debug, Default)]
pub struct InitSegment {
    /// The health buffer's syndrome: 0 is healthy.
    pub syndrome: u8,
    /// The first word of a CQ's doorbell.
    cq_arm: u32,
}

fn register(device: &Device, function: usize, offset: u64) -> u32 {
    let Some(f) = device.functions.get(function) else {
        return 0;
    };
    let elapsed = device.started.elapsed();
    match offset {
        FW_REV => (FW_MINOR << 16) | FW_MAJOR,
        CMDIF_REV_FW_SUB => (CMDIF_REV << 16) | FW_SUB,
        CMDQ_ADDR_H => f.cmdq.address_high(),
        CMDQ_ADDR_L_SZ => f.cmdq.address_low_and_size(),
        // A VF has to wait until its PF enables it.
        INITIALIZING => u32::from(!f.powered) << 31,
        HEALTH_FW_VER => (FW_MAJOR << 24) | (FW_MINOR << 16) | FW_SUB,
        HEALTH_HW_ID => 0x218,
        HEALTH_SYND => u32::from(f.init_segment.syndrome) << 16,
        // A number of milliseconds. That there is one means that there is the register DTOR too.
        CMD_EXEC_TO => f.limits.command_timeout as u32,
        CMD_Q_INIT_TO => CMD_Q_INIT_MS,
        // device_frequency_khz says 1 GHz: nanoseconds.
        INTERNAL_TIMER_H => (elapsed.as_nanos() >> 32) as u32,
        INTERNAL_TIMER_L => elapsed.as_nanos() as u32,
        // The driver looks every two seconds whether it moves.
        HEALTH_COUNTER => (elapsed.as_millis() / 10) as u32,
        ENGINE.. if function != PF => f.engine.read(offset - ENGINE),
        _ => 0,
    }
}

/// Reads from the BAR; `None` beyond its end.
pub fn read(device: &mut Device, function: usize, offset: u64, buf: &mut [u8]) -> Option<()> {
    offset
        .checked_add(buf.len() as u64)
        .filter(|end| *end <= SIZE)?;
    if device.functions.get(function)?.unplugged {
        buf.fill(0xff);
        return Some(());
    }
    if offset == MSIX_PBA {
        let pending = device.functions.get(function)?.irqs.pending().to_le_bytes();
        buf.iter_mut()
            .zip(pending)
            .for_each(|(to, from)| *to = from);
        return Some(());
    }
    for (at, byte) in (offset..).zip(buf) {
        let word = register(device, function, at & !3).to_be_bytes();
        *byte = word[(at & 3) as usize];
    }
    Some(())
}

/// Writes to the BAR; `None` beyond its end. Registers are written as whole words.
pub fn write(device: &mut Device, function: usize, offset: u64, buf: &[u8]) -> Option<()> {
    offset
        .checked_add(buf.len() as u64)
        .filter(|end| *end <= SIZE)?;
    if device.functions.get(function)?.unplugged {
        return Some(());
    }
    for (at, word) in (offset..).step_by(4).zip(buf.chunks_exact(4)) {
        let word = u32::from_be_bytes(word.try_into().ok()?);
        write_word(device, function, at, word);
    }
    Some(())
}

fn write_word(device: &mut Device, function: usize, offset: u64, value: u32) {
    let Some(f) = device.functions.get_mut(function) else {
        return;
    };
    match offset {
        CMDQ_ADDR_H => f.cmdq.set_address_high(value),
        CMDQ_ADDR_L_SZ => f.cmdq.set_address_low(value),
        CMD_DBELL => crate::cmdq::doorbell(device, function, value),
        ENGINE.. if function != PF => dma::write(device, function, offset - ENGINE, value),
        _ => {
            let uar = (offset / UAR_SIZE) as u32;
            // Only a UAR that was allocated has doorbells.
            if f.objects.uars.contains(uar) {
                doorbell(device, function, offset % UAR_SIZE, value);
            }
        }
    }
}

fn doorbell(device: &mut Device, function: usize, offset: u64, value: u32) {
    let Some(f) = device.functions.get_mut(function) else {
        return;
    };
    match offset {
        EQ_ARM | EQ_UPDATE => {
            if let Some(eq) = f.objects.eqs.get_mut(value >> 24) {
                eq.doorbell(&mut f.irqs, value, offset == EQ_ARM);
            }
        }
        CQ_ARM => f.init_segment.cq_arm = value,
        CQ_ARM_CQN => {
            let cqn = value & 0xff_ffff;
            let Some(cq) = f.objects.cqs.get_mut(cqn) else {
                return;
            };
            let eqn = cq.eqn;
            if cq.arm(f.init_segment.cq_arm) {
                rdma::completion_event(f, eqn, cqn);
            }
        }
        _ => {}
    }
}
