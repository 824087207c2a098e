// SPDX-License-Identifier: GPL-2.0

//! An engine in the last page of a VF's BAR with which a test makes the VF write. No ConnectX has
//! it. The registers are big-endian words, as all others.

use crate::device::Device;
use crate::image::persist;

const IOVA_H: u64 = 0x00;
const IOVA_L: u64 = 0x04;
const LENGTH: u64 = 0x08;
const PATTERN: u64 = 0x0c;
const COUNT: u64 = 0x10;
const SEED: u64 = 0x14;
/// Written: [`FILL`] or [`STORM`]. Read: how many writes failed.
const GO: u64 = 0x18;

/// Writes the pattern over the whole range.
const FILL: u32 = 1;
/// Writes the pattern COUNT times to a random aligned word of the range.
const STORM: u32 = 2;

/// Of one go.
const MAX_LENGTH: u32 = 64 << 20;
const MAX_COUNT: u32 = 1 << 17;
const PAGE: u64 = 4096;

/// The engine's registers.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    iova: u64,
    length: u32,
    pattern: u32,
    count: u32,
    seed: u32,
    failed: u32,
}

impl Engine {
    /// Reads a register.
    pub fn read(&self, offset: u64) -> u32 {
        match offset {
            IOVA_H => (self.iova >> 32) as u32,
            IOVA_L => self.iova as u32,
            LENGTH => self.length,
            PATTERN => self.pattern,
            COUNT => self.count,
            SEED => self.seed,
            GO => self.failed,
            _ => 0,
        }
    }
}

/// Writes a register of a function's engine. When the write to GO returns, the DMA is done.
pub fn write(device: &mut Device, function: usize, offset: u64, value: u32) {
    let Some(f) = device.functions.get_mut(function) else {
        return;
    };
    let engine = &mut f.engine;
    match offset {
        IOVA_H => engine.iova = engine.iova & 0xffff_ffff | (u64::from(value) << 32),
        IOVA_L => engine.iova = engine.iova & !0xffff_ffff | u64::from(value),
        LENGTH => engine.length = value,
        PATTERN => engine.pattern = value,
        COUNT => engine.count = value,
        SEED => engine.seed = value,
        GO => {
            let engine = engine.clone();
            let failed = run(device, function, &engine, value);
            if let Some(f) = device.functions.get_mut(function) {
                f.engine.failed = failed;
            }
        }
        _ => {}
    }
}

fn run(device: &mut Device, function: usize, engine: &Engine, what: u32) -> u32 {
    let pattern = engine.pattern.to_be_bytes();
    let length = u64::from(engine.length.min(MAX_LENGTH));
    let mut failed = 0;
    match what {
        FILL => {
            let data = pattern.repeat(PAGE as usize / pattern.len());
            let mut done = 0;
            while done < length {
                let iova = engine.iova.wrapping_add(done);
                let n = (PAGE - iova % PAGE).min(length - done);
                let piece = data.get(..n as usize).unwrap_or(&[]);
                failed += u32::from(device.dma_write(function, iova, piece).is_err());
                done += n;
            }
        }
        STORM => {
            let mut random = u64::from(engine.seed).max(1);
            for _ in 0..engine.count.min(MAX_COUNT) {
                // xorshift64
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let offset = random % (length / 4).max(1) * 4;
                let iova = engine.iova.wrapping_add(offset);
                failed += u32::from(device.dma_write(function, iova, &pattern).is_err());
            }
        }
        _ => {}
    }
    failed
}

persist!(Engine {
    iova,
    length,
    pattern,
    count,
    seed,
    failed,
});
