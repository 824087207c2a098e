// SPDX-License-Identifier: GPL-2.0

//! The command queue: entries in a page of the host, inputs and outputs in chains of mailboxes.
//!
//! C header: include/linux/mlx5/device.h, `struct mlx5_cmd_layout`, `struct mlx5_cmd_prot_block`.

use std::time::Duration;

use crate::bits::In;
use crate::bits::Out;
use crate::cmd;
use crate::device::Device;
use crate::eq::EventData;
use crate::faults::Fault;
use crate::ifc;
use crate::image::persist;
use crate::memory::Memory;

/// 2^5 entries of 2^6 bytes.
const LOG_ENTRIES: u32 = 5;
const LOG_STRIDE: u32 = 6;
const ENTRY: usize = 1 << LOG_STRIDE;

/// How the function is used: `MLX5_INITIAL_SEG_NIC_INTERFACE_DISABLED` of mlx5_ifc.h.
const NIC_DISABLED: u32 = 1 << 8;

const TYPE_PCI: u8 = 0x7;
const OWNER_HW: u8 = 1;
/// The part of an input or output that is in the entry itself.
const INLINE: usize = 16;
/// Of an input or output: the header that each has.
const MIN_LENGTH: usize = 8;
/// Of an input or output; the largest that mlx5_core has buffers for is 262160 bytes.
const MAX_LENGTH: usize = 1 << 20;

/// Why a command was not even looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Delivery {
    Signature = 0x1,
    Token = 0x2,
    BlockNumber = 0x3,
    OutPointer = 0x4,
    InPointer = 0x5,
    Firmware = 0x6,
    InLength = 0x7,
    OutLength = 0x8,
    Descriptor = 0x10,
}

/// Where the queue is.
#[derive(Debug, Default)]
pub struct CommandQueue {
    high: u32,
    low: u32,
}

impl CommandQueue {
    /// The register: the address, bits 63:32.
    pub fn address_high(&self) -> u32 {
        self.high
    }

    /// The register: the address, bits 31:12; how the function is used, bits 10:8; the queue's size.
    pub fn address_low_and_size(&self) -> u32 {
        self.low | (LOG_ENTRIES << 4) | LOG_STRIDE
    }

    /// As after a reset of the firmware: the function is not used, until a driver sets the queue.
    pub fn disabled() -> Self {
        Self {
            high: 0,
            low: NIC_DISABLED,
        }
    }

    /// Sets bits 63:32 of the address.
    pub fn set_address_high(&mut self, value: u32) {
        self.high = value;
    }

    /// Sets bits 31:12 of the address, and how the function is used.
    pub fn set_address_low(&mut self, value: u32) {
        self.low = value & 0xffff_f700;
    }

    fn entry(&self, index: u32) -> u64 {
        let base = (u64::from(self.high) << 32) | u64::from(self.low & 0xffff_f000);
        base + (u64::from(index) << LOG_STRIDE)
    }
}

/// A block of a chain: `struct mlx5_cmd_prot_block`.
struct Block([u8; Self::SIZE]);

impl Block {
    const SIZE: usize = 576;
    const DATA: usize = 512;
    const RESERVED: usize = 512;
    const NEXT: usize = 560;
    const NUMBER: usize = 568;
    const TOKEN: usize = 573;
    const CTRL_SIG: usize = 574;
    const SIG: usize = 575;

    fn read(memory: &Memory, address: u64, number: usize, token: u8) -> Result<Self, Delivery> {
        let mut block = Block([0; Self::SIZE]);
        memory
            .read(address, &mut block.0)
            .map_err(|_| Delivery::InPointer)?;
        if be32(&block.0, Self::NUMBER) as usize != number {
            return Err(Delivery::BlockNumber);
        }
        if block.0[Self::TOKEN] != token {
            return Err(Delivery::Token);
        }
        Ok(block)
    }

    fn next(&self) -> u64 {
        (u64::from(be32(&self.0, Self::NEXT)) << 32) | u64::from(be32(&self.0, Self::NEXT + 4))
    }

    fn is_signed(&self) -> bool {
        xor(&self.0[Self::RESERVED..Self::SIG]) == 0xff && xor(&self.0) == 0xff
    }

    fn sign(&mut self) {
        self.0[Self::CTRL_SIG] = !xor(&self.0[Self::RESERVED..Self::CTRL_SIG]);
        self.0[Self::SIG] = !xor(&self.0[..Self::SIG]);
    }
}

fn xor(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum ^ byte)
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    u32::from_be_bytes(word.unwrap_or([0; 4]))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    (u64::from(be32(bytes, at)) << 32) | u64::from(be32(bytes, at + 4))
}

/// An entry: `struct mlx5_cmd_layout`.
#[derive(Debug)]
struct Entry([u8; ENTRY]);

impl Entry {
    const IN_LEN: usize = 4;
    const IN_PTR: usize = 8;
    const IN: usize = 16;
    const OUT: usize = 32;
    const OUT_PTR: usize = 48;
    const OUT_LEN: usize = 56;
    const TOKEN: usize = 60;
    const SIG: usize = 61;
    const STATUS: usize = 63;

    fn token(&self) -> u8 {
        self.0[Self::TOKEN]
    }

    fn check(&self) -> Result<(), Delivery> {
        if self.0[0] != TYPE_PCI {
            return Err(Delivery::Descriptor);
        }
        if xor(&self.0) != 0xff {
            return Err(Delivery::Signature);
        }
        Ok(())
    }

    fn input(&self, memory: &Memory, checksums: bool) -> Result<Vec<u8>, Delivery> {
        let len = be32(&self.0, Self::IN_LEN) as usize;
        if !(MIN_LENGTH..=MAX_LENGTH).contains(&len) {
            return Err(Delivery::InLength);
        }
        let mut input = self.0[Self::IN..Self::IN + INLINE].to_vec();
        let mut next = be64(&self.0, Self::IN_PTR);
        let mut number = 0;
        while input.len() < len {
            if next == 0 || next & 0x1ff != 0 {
                return Err(Delivery::InPointer);
            }
            let block = Block::read(memory, next, number, self.token())?;
            if checksums && !block.is_signed() {
                return Err(Delivery::Signature);
            }
            let n = Block::DATA.min(len - input.len());
            input.extend_from_slice(&block.0[..n]);
            next = block.next();
            number += 1;
        }
        input.truncate(len);
        Ok(input)
    }

    fn out_len(&self) -> Result<usize, Delivery> {
        let len = be32(&self.0, Self::OUT_LEN) as usize;
        match (MIN_LENGTH..=MAX_LENGTH).contains(&len) {
            true => Ok(len),
            false => Err(Delivery::OutLength),
        }
    }

    /// Puts the output into the entry and its chain. The entry's status notifies the host later.
    fn output(&mut self, memory: &Memory, mut out: Vec<u8>) -> Result<(), Delivery> {
        out.resize(self.out_len()?.max(INLINE), 0);
        let (inline, rest) = out.split_at(INLINE);
        self.0[Self::OUT..Self::OUT + INLINE].copy_from_slice(inline);
        let mut next = be64(&self.0, Self::OUT_PTR);
        for (number, piece) in rest.chunks(Block::DATA).enumerate() {
            if next == 0 || next & 0x1ff != 0 {
                return Err(Delivery::OutPointer);
            }
            let mut block = Block::read(memory, next, number, self.token())?;
            block.0[..piece.len()].copy_from_slice(piece);
            block.sign();
            memory
                .write(next, &block.0)
                .map_err(|_| Delivery::OutPointer)?;
            next = block.next();
        }
        Ok(())
    }
}

/// The doorbell: a bit for each entry to execute.
pub fn doorbell(device: &mut Device, function: usize, entries: u32) {
    if let Some(f) = device.functions.get_mut(function) {
        if f.suspended.any() {
            f.held_commands |= entries;
            return;
        }
    }
    for index in (0..1 << LOG_ENTRIES).filter(|index| (entries >> index) & 1 != 0) {
        execute(device, function, index);
    }
    // What the commands made to be sent comes after their completion.
    device.pump();
}

/// A command that was read, and not yet executed.
#[derive(Debug)]
pub struct Late {
    /// When it is; `None` for never.
    pub due: Option<Duration>,
    /// Whose it is.
    pub function: usize,
    command: Fetched,
}

#[derive(Debug)]
struct Fetched {
    index: u32,
    address: u64,
    entry: Entry,
    input: Result<Vec<u8>, Delivery>,
    /// The status and the syndrome that a test wants.
    refused: Option<(u8, u32)>,
}

impl Late {
    /// What was sent; `None` if it could not be read.
    pub fn input(&self) -> Option<In<'_>> {
        self.command.input.as_ref().ok().map(|input| In(input))
    }
}

/// Executes what was delayed and is due.
pub fn late(device: &mut Device) {
    let now = device.now();
    let all = std::mem::take(&mut device.late);
    let (due, later): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|late| late.due.is_some_and(|due| due <= now));
    device.late = later;
    for late in due {
        finish(device, late.function, late.command);
    }
}

fn execute(device: &mut Device, function: usize, index: u32) {
    let Some(mut command) = fetch(device, function, index) else {
        return;
    };
    let opcode = (be32(&command.entry.0, Entry::IN) >> 16) as u16;
    let due = match device.faults.command(opcode) {
        Fault::Pass => return finish(device, function, command),
        Fault::Refuse { status, syndrome } => {
            command.refused = Some((status, syndrome));
            return finish(device, function, command);
        }
        Fault::Swallow => None,
        Fault::Slow(time) => Some(device.now().saturating_add(time)),
    };
    device.late.push(Late {
        due,
        function,
        command,
    });
}

/// Gives back the commands that were swallowed, not executed. Until then a driver cannot use their
/// entries again.
pub fn give_back(device: &mut Device) {
    let all = std::mem::take(&mut device.late);
    let (later, lost): (Vec<_>, Vec<_>) = all.into_iter().partition(|late| late.due.is_some());
    device.late = later;
    for mut late in lost {
        late.command.input = Err(Delivery::Firmware);
        finish(device, late.function, late.command);
    }
}

fn fetch(device: &Device, function: usize, index: u32) -> Option<Fetched> {
    let f = device.functions.get(function)?;
    let address = f.cmdq.entry(index);
    let mut entry = Entry([0; ENTRY]);
    if f.memory.read(address, &mut entry.0).is_err() {
        eprintln!("{}: no command entry at {address:#x}", f.name);
        return None;
    }
    if entry.0[Entry::STATUS] & OWNER_HW == 0 {
        eprintln!("{}: command entry {index} is not ours", f.name);
        return None;
    }
    let checked = entry.check();
    let input = checked.and_then(|()| entry.input(&f.memory, f.caps.checksums()));
    Some(Fetched {
        index,
        address,
        entry,
        input,
        refused: None,
    })
}

fn finish(device: &mut Device, function: usize, command: Fetched) {
    let Fetched {
        index,
        address,
        mut entry,
        input,
        refused,
    } = command;
    let Some(f) = device.functions.get(function) else {
        return;
    };
    device.counts.commands += 1;
    const COMPLETION: u8 = ifc::MLX5_EVENT_TYPE_CODING_COMMAND_INTERFACE_COMPLETION as u8;
    // Whoever creates the EQ, or destroys it, has to poll.
    let events = f.objects.eqs.iter().any(|(_, eq)| eq.takes(COMPLETION));

    let done = input.and_then(|input| run(device, function, &mut entry, &input, refused));
    let status = match done {
        Ok(()) => 0,
        Err(delivery) => {
            eprintln!("command entry {index}: {delivery:?}");
            delivery as u8
        }
    };

    let Some(f) = device.functions.get_mut(function) else {
        return;
    };
    entry.0[Entry::STATUS] = status << 1;
    entry.0[Entry::SIG] = 0;
    entry.0[Entry::SIG] = !xor(&entry.0);
    // The last word has the owner: what is before it has to be seen before it.
    let (body, last) = entry.0.split_at(Entry::TOKEN);
    let body = f.memory.write(
        address + Entry::OUT as u64,
        body.get(Entry::OUT..).unwrap_or(&[]),
    );
    let last = f.memory.write(address + Entry::TOKEN as u64, last);
    if body.and(last).is_err() {
        eprintln!("{}: the command entry at {address:#x} is gone", f.name);
        return;
    }
    if events {
        let mut data: EventData = [0; 28];
        data[..4].copy_from_slice(&(1u32 << index).to_be_bytes());
        f.event(COMPLETION, &data);
    }
}

fn run(
    device: &mut Device,
    function: usize,
    entry: &mut Entry,
    input: &[u8],
    refused: Option<(u8, u32)>,
) -> Result<(), Delivery> {
    let room = entry.out_len()?;
    let Out(out) = match refused {
        Some((status, syndrome)) => cmd::refused(status, syndrome),
        None => cmd::execute(device, function, In(input), room),
    };
    match device.functions.get(function) {
        Some(f) => entry.output(&f.memory, out),
        None => Ok(()),
    }
}

persist!(CommandQueue { high, low });
