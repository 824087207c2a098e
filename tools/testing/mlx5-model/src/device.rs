// SPDX-License-Identifier: GPL-2.0

//! The device: one PF and its VFs, each a function with an address space, interrupts and firmware
//! objects of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::time::Instant;

use crate::bar;
use crate::bar::InitSegment;
use crate::caps::Caps;
use crate::caps::LOG_MAX_EQ;
use crate::cmdq::CommandQueue;
use crate::eq::Eq;
use crate::eq::EventData;
use crate::ids::Ids;
use crate::irq::Irqs;
use crate::memory::Files;
use crate::memory::Memory;
use crate::pci;
use crate::pci::Config;
use crate::pci::Effect;
use crate::vsc::Gateway;

/// The PF is function 0; VF n is function n.
pub const PF: usize = 0;

const PF_VECTORS: u16 = 16;
const VF_VECTORS: u16 = 4;

/// How far a function's driver has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// After a reset.
    Disabled,
    /// ENABLE_HCA
    Enabled,
    /// INIT_HCA
    Initialized,
}

/// A PF or a VF.
#[derive(Debug)]
pub struct Function {
    /// As the log calls it.
    pub name: String,
    /// Its number for the firmware, in all commands that name a VHCA.
    pub vhca_id: u16,
    /// Configuration space.
    pub config: Config,
    /// The vendor's gateway in it; only the PF has one.
    pub gateway: Option<Gateway>,
    /// What it can reach.
    pub memory: Memory,
    /// Its interrupts.
    pub irqs: Irqs,
    /// A PF always is; a VF after its PF said ENABLE_HCA for it.
    pub powered: bool,
    /// All that a reset takes away.
    pub state: State,
    /// The command queue.
    pub cmdq: CommandQueue,
    /// What BAR 0 begins with.
    pub init_segment: InitSegment,
    /// Capabilities, and what the driver made of them.
    pub caps: Caps,
    /// Pages that the host gave, by the function that they are for.
    pub pages: BTreeMap<u16, Vec<u64>>,
    /// UAR pages in use.
    pub uars: Ids,
    /// EQ numbers in use.
    pub eqns: Ids,
    /// Event queues, by their number.
    pub eqs: BTreeMap<u8, Eq>,
}

impl Function {
    fn new(number: u16, vfs: u16) -> Self {
        let is_pf = number == 0;
        let vectors = if is_pf { PF_VECTORS } else { VF_VECTORS };
        let vhca_id = number;
        Self {
            name: if is_pf {
                "pf".into()
            } else {
                format!("vf{number}")
            },
            vhca_id,
            config: Config::new(is_pf.then_some(vfs), vectors),
            gateway: is_pf.then(Gateway::default),
            memory: Memory::default(),
            irqs: Irqs::new(vectors.into()),
            powered: is_pf,
            state: State::Disabled,
            cmdq: CommandQueue::default(),
            init_segment: InitSegment::default(),
            caps: Caps::new(vhca_id, is_pf),
            pages: BTreeMap::new(),
            uars: Ids::new(bar::UAR_FIRST, bar::UAR_END),
            eqns: Ids::new(1, 1 << LOG_MAX_EQ),
            eqs: BTreeMap::new(),
        }
    }

    /// Forgets what a function level reset forgets: all but the address space and the interrupts,
    /// which are the platform's, and the configuration space, which QEMU restores.
    fn reset(&mut self) {
        self.drop_objects();
        self.state = State::Disabled;
        self.cmdq = CommandQueue::default();
        self.init_segment = InitSegment::default();
        self.caps = Caps::new(self.vhca_id, self.gateway.is_some());
        self.pages.clear();
    }

    /// What the driver created and did not destroy is gone.
    pub fn drop_objects(&mut self) {
        self.uars = Ids::new(bar::UAR_FIRST, bar::UAR_END);
        self.eqns = Ids::new(1, 1 << LOG_MAX_EQ);
        self.eqs.clear();
    }

    /// The PF disables this VF: its driver finds a device that never gets ready.
    pub fn power_off(&mut self) {
        self.reset();
        self.powered = false;
    }

    /// Puts an event into the EQ that asked for its kind. Without one it is dropped, as it is by
    /// firmware.
    pub fn event(&mut self, kind: u8, data: &EventData) {
        let Some(eq) = self.eqs.values_mut().find(|eq| eq.takes(kind)) else {
            return;
        };
        if let Err(lost) = eq.post(&self.memory, &mut self.irqs, kind, data) {
            eprintln!("{}: event {kind:#x} is lost: {lost:?}", self.name);
        }
    }
}

/// All functions.
#[derive(Debug)]
pub struct Device {
    /// The PF, then the VFs.
    pub functions: Vec<Function>,
    /// The clock's zero.
    pub started: Instant,
    files: Files,
}

impl Device {
    /// A device with `vfs` VFs.
    pub fn new(vfs: u16) -> Self {
        Self {
            functions: (0..=vfs).map(|n| Function::new(n, vfs)).collect(),
            started: Instant::now(),
            files: Files::default(),
        }
    }

    /// Maps memory for a function's DMA.
    pub fn dma_map(
        &mut self,
        function: usize,
        iova: u64,
        len: u64,
        file: Option<(&File, u64)>,
        writable: bool,
    ) -> io::Result<()> {
        let f = self
            .functions
            .get_mut(function)
            .ok_or(io::ErrorKind::NotFound)?;
        f.memory.map(&mut self.files, iova, len, file, writable)
    }

    /// Unmaps it.
    pub fn dma_unmap(&mut self, function: usize, iova: u64, len: u64) -> io::Result<()> {
        let f = self
            .functions
            .get_mut(function)
            .ok_or(io::ErrorKind::NotFound)?;
        f.memory.unmap(iova, len)
    }

    /// A function level reset, or a reset of the bus.
    pub fn reset(&mut self, function: usize) {
        if let Some(f) = self.functions.get_mut(function) {
            eprintln!("{}: reset", f.name);
            f.reset();
        }
        if function == PF {
            for vf in self.functions.iter_mut().skip(1) {
                vf.power_off();
            }
        }
    }

    /// Reads from the configuration space; `None` beyond its end.
    pub fn config_read(&mut self, function: usize, offset: usize, buf: &mut [u8]) -> Option<()> {
        let f = self.functions.get_mut(function)?;
        f.config.read(offset, buf)?;
        let register = offset.checked_sub(pci::GATEWAY);
        if let (Some(gateway), Some(register), 4) = (&mut f.gateway, register, buf.len()) {
            if (4..pci::GATEWAY_SIZE).contains(&register) {
                buf.copy_from_slice(&gateway.read(register).to_le_bytes());
            }
        }
        Some(())
    }

    /// Writes to the configuration space; `None` beyond its end.
    pub fn config_write(&mut self, function: usize, offset: usize, buf: &[u8]) -> Option<()> {
        let f = self.functions.get_mut(function)?;
        let effect = f.config.write(offset, buf)?;
        let register = offset.checked_sub(pci::GATEWAY);
        let word = <[u8; 4]>::try_from(buf).map(u32::from_le_bytes);
        if let (Some(gateway), Some(register), Ok(word)) = (&mut f.gateway, register, word) {
            gateway.write(register, word);
        }
        if effect == Effect::Reset {
            self.reset(function);
        }
        Some(())
    }
}
