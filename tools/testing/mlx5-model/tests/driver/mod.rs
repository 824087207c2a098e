// SPDX-License-Identifier: GPL-2.0

//! What a driver does, without a kernel: memory, the command queue with its mailboxes, EQs.

#![allow(dead_code)]

use std::env;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::process;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use mlx5_model::abi::SharedFile;
use mlx5_model::bar;
use mlx5_model::bits;
use mlx5_model::bits::Field;
use mlx5_model::bits::In;
use mlx5_model::device::Device;
use mlx5_model::ifc::*;
use mlx5_model::limits::Limits;

/// The host's memory is at this address for the device.
pub const BASE: u64 = 0x1_0000_0000;
/// Its size.
pub const SIZE: u64 = 4 << 20;

/// In it: the command queue, the blocks of inputs and of outputs. The rest is the test's.
const QUEUE: u64 = BASE;
const IN_BLOCKS: u64 = BASE + 0x10_0000;
const OUT_BLOCKS: u64 = BASE + 0x18_0000;
pub const FREE: u64 = BASE + 0x20_0000;

const STRIDE: u64 = 1024;
const POLLED: u32 = 0;

/// A file that nobody can find, of `len` zeroes.
pub fn unlinked(len: u64) -> File {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let n = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = env::temp_dir().join(format!("mlx5-model-{}-{n}", process::id()));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .expect("a file in the temporary directory");
    fs::remove_file(&path).expect("it is ours");
    file.set_len(len).expect("room");
    file
}

/// The reply of a command, as a driver sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Of the command queue's entry.
    pub delivery: u8,
    /// The output.
    pub out: Vec<u8>,
}

impl Reply {
    pub fn status(&self) -> u8 {
        self.get(enable_hca_out::status) as u8
    }

    pub fn get(&self, field: Field) -> u64 {
        In(&self.out).get(field)
    }
}

/// A driver of one function.
pub struct Driver {
    pub device: Device,
    pub function: usize,
    memory: SharedFile,
    token: u8,
}

/// An input of `size` bytes.
pub fn input(size: usize, fields: &[(Field, u64)]) -> Vec<u8> {
    let mut input = vec![0; size];
    for (field, value) in fields {
        bits::set(&mut input, *field, *value);
    }
    input
}

impl Driver {
    /// Attached to the PF of a device with `vfs` VFs; nothing was sent yet.
    pub fn new(vfs: u16) -> Self {
        Self::with_limits(vfs, &Limits::default())
    }

    /// As above, of a device with these limits.
    pub fn with_limits(vfs: u16, limits: &Limits) -> Self {
        let mut device = Device::new(vfs, limits);
        let file = unlinked(SIZE);
        for function in 0..=usize::from(vfs) {
            device
                .dma_map(function, BASE, SIZE, Some((&file, 0)), true)
                .expect("it is mapped");
        }
        let mut driver = Self {
            device,
            function: 0,
            memory: SharedFile::map(&file).expect("it is mapped"),
            token: 0,
        };
        driver.set_queue(QUEUE);
        driver
    }

    pub fn set_queue(&mut self, address: u64) {
        self.write32(0x10, (address >> 32) as u32);
        self.write32(0x14, address as u32);
    }

    pub fn read32(&mut self, offset: u64) -> u32 {
        let mut word = [0; 4];
        bar::read(&mut self.device, self.function, offset, &mut word).expect("in the BAR");
        u32::from_be_bytes(word)
    }

    pub fn write32(&mut self, offset: u64, value: u32) {
        let word = value.to_be_bytes();
        bar::write(&mut self.device, self.function, offset, &word).expect("in the BAR");
    }

    pub fn peek(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let offset = (address - BASE) as usize;
        self.memory.read(offset, &mut bytes).expect("in memory");
        bytes
    }

    pub fn poke(&self, address: u64, bytes: &[u8]) {
        let offset = (address - BASE) as usize;
        self.memory.write(offset, bytes).expect("in memory");
    }

    fn blocks(&self, base: u64, data: &[u8], count: usize) {
        for n in 0..count {
            let mut block = vec![0; 576];
            let piece = data.chunks(512).nth(n).unwrap_or(&[]);
            block[..piece.len()].copy_from_slice(piece);
            let next = if n + 1 < count {
                base + (n as u64 + 1) * STRIDE
            } else {
                0
            };
            block[560..568].copy_from_slice(&next.to_be_bytes());
            block[568..572].copy_from_slice(&(n as u32).to_be_bytes());
            block[573] = self.token;
            self.poke(base + n as u64 * STRIDE, &block);
        }
    }

    /// The entry of a command with its blocks in place, to be put into the queue.
    pub fn prepare(&mut self, input: &[u8], room: usize) -> [u8; 64] {
        self.token = self.token % 255 + 1;
        let mut entry = [0; 64];
        entry[0] = 7;
        entry[4..8].copy_from_slice(&(input.len() as u32).to_be_bytes());
        entry[16..32].copy_from_slice(&input[..16]);
        if input.len() > 16 {
            self.blocks(IN_BLOCKS, &input[16..], (input.len() - 16).div_ceil(512));
            entry[8..16].copy_from_slice(&IN_BLOCKS.to_be_bytes());
        }
        if room > 16 {
            self.blocks(OUT_BLOCKS, &[], (room - 16).div_ceil(512));
            entry[48..56].copy_from_slice(&OUT_BLOCKS.to_be_bytes());
        }
        entry[56..60].copy_from_slice(&(room as u32).to_be_bytes());
        entry[60] = self.token;
        entry[63] = 1;
        entry[61] = !entry.iter().fold(0, |sum, byte| sum ^ byte);
        entry
    }

    /// Puts an entry into the queue, rings, and takes the reply.
    pub fn submit(&mut self, index: u32, entry: &[u8; 64], room: usize) -> Reply {
        let at = QUEUE + u64::from(index) * 64;
        self.poke(at, entry);
        self.write32(0x18, 1 << index);
        let entry = self.peek(at, 64);
        assert_eq!(entry[63] & 1, 0, "the entry came back");
        assert_eq!(
            entry.iter().fold(0, |sum, byte| sum ^ byte),
            0xff,
            "its signature"
        );
        let mut out = entry[32..48].to_vec();
        for n in 0..room.saturating_sub(16).div_ceil(512) {
            out.extend(self.peek(OUT_BLOCKS + n as u64 * STRIDE, 512));
        }
        out.truncate(room);
        Reply {
            delivery: entry[63] >> 1,
            out,
        }
    }

    /// Executes a command whatever comes of it. The opcode is put into the input.
    pub fn try_command(&mut self, opcode: u64, mut input: Vec<u8>, room: usize) -> Reply {
        bits::set(&mut input, query_issi_in::opcode, opcode);
        let entry = self.prepare(&input, room);
        self.submit(POLLED, &entry, room)
    }

    /// Executes a command that succeeds.
    pub fn command(&mut self, opcode: u64, input: Vec<u8>, room: usize) -> Reply {
        let reply = self.try_command(opcode, input, room);
        assert_eq!(
            (reply.delivery, reply.status()),
            (0, 0),
            "opcode {opcode:#x}"
        );
        reply
    }

    /// As far as INIT_HCA.
    pub fn start(&mut self) {
        self.command(MLX5_CMD_OP_ENABLE_HCA, input(16, &[]), 16);
        self.command(MLX5_CMD_OP_INIT_HCA, input(16, &[]), 16);
    }

    pub fn alloc_uar(&mut self) -> u32 {
        let reply = self.command(MLX5_CMD_OP_ALLOC_UAR, input(16, &[]), 16);
        reply.get(alloc_uar_out::uar) as u32
    }

    /// An EQ of 2^log_size entries at `address`, for the events of a mask. Its number.
    pub fn create_eq(
        &mut self,
        uar: u32,
        address: u64,
        log_size: u32,
        vector: u32,
        events: u64,
    ) -> u8 {
        let context = create_eq_in::eq_context_entry;
        let mut input = input(
            create_eq_in::SIZE,
            &[
                (eqc::log_eq_size.within(context), log_size.into()),
                (eqc::intr.within(context), vector.into()),
                (eqc::uar_page.within(context), uar.into()),
                (
                    Field {
                        at: create_eq_in::event_bitmask.at,
                        width: 64,
                    },
                    events,
                ),
            ],
        );
        for page in 0..(64u64 << log_size).div_ceil(4096) {
            input.extend((address + page * 4096).to_be_bytes());
        }
        for n in 0..1u64 << log_size {
            // The owner of the lap before the first.
            self.poke(address + n * 64 + 60, &[0, 0, 0, 1]);
        }
        let reply = self.command(MLX5_CMD_OP_CREATE_EQ, input, 16);
        reply.get(create_eq_out::eq_number) as u8
    }

    /// An eventfd's stand-in: what was written to it.
    pub fn vector(&mut self, index: usize) -> Interrupts {
        let file = unlinked(0);
        let ours = file.try_clone().expect("a descriptor");
        let irqs = &mut self.device.functions[self.function].irqs;
        irqs.set(index, Some(file)).expect("such a vector");
        Interrupts(ours)
    }
}

/// Counts the interrupts of a vector.
pub struct Interrupts(File);

impl Interrupts {
    pub fn count(&self) -> u64 {
        self.0.metadata().expect("it is open").len() / 8
    }
}
