// SPDX-License-Identifier: GPL-2.0

//! The device: one PF and its VFs, each a function with an address space, interrupts and firmware
//! objects of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::time::Duration;
use std::time::Instant;

use crate::bar;
use crate::bar::InitSegment;
use crate::caps;
use crate::caps::Caps;
use crate::cmdq;
use crate::cmdq::CommandQueue;
use crate::cq::Cq;
use crate::dma::Engine;
use crate::eq::Eq;
use crate::eq::EventData;
use crate::faults::Faults;
use crate::ifc::MLX5_EVENT_TYPE_CODING_CQ_ERROR;
use crate::ifc::MLX5_EVENT_TYPE_CODING_LOCAL_WQ_CATASTROPHIC_ERROR;
use crate::ifc::MLX5_OBJ_TYPE_PAGE_TRACK;
use crate::image;
use crate::image::persist;
use crate::image::persist_enum;
use crate::irq::Irqs;
use crate::limits::Limits;
use crate::memory::Fault;
use crate::memory::Files;
use crate::memory::Memory;
use crate::mkey::Mkey;
use crate::pci;
use crate::pci::Config;
use crate::pci::Effect;
use crate::qp;
use crate::qp::Qp;
use crate::rdma;
use crate::stream::Loading;
use crate::stream::Saving;
use crate::table::Table;
use crate::tracker::Tracker;
use crate::vsc::Gateway;
use crate::written::Written;

/// The PF is function 0; VF n is function n.
pub const PF: usize = 0;

/// `MLX5_EVENT_TYPE_OBJECT_CHANGE` of include/linux/mlx5/device.h
pub const EVENT_OBJECT_CHANGE: u8 = 0x27;

/// By what the firmware knows the function with this number: not by that.
pub fn vhca_id(number: u16) -> u16 {
    0x40 + 3 * number
}

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
    /// How much there is of what all functions share.
    pub limits: Limits,
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
    /// Its port.
    pub vport: Vport,
    /// What the driver created.
    pub objects: Objects,
    /// The test's own; VFs only.
    pub engine: Engine,
    /// What it wrote, for those who ask. No reset forgets it.
    pub written: Written,
    /// It was pulled out of its slot.
    pub unplugged: bool,
    /// For migration.
    pub suspended: Suspended,
    /// Its state is being saved.
    pub saving: Option<Saving>,
    /// Pieces of a state came.
    pub loading: Option<Loading>,
    /// One that was refused left it with half a state.
    pub half_loaded: bool,
    /// The next save has to have new initial data.
    pub reinit: bool,
    /// Bytes of its state that it does not need.
    pub ballast: u64,
    /// Command entries whose doorbell was rung while it was suspended.
    pub held_commands: u32,
}

/// Which sides of a VHCA stand still: what it does of its own accord, and what others make it do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Suspended {
    /// It does no DMA.
    pub initiator: bool,
    /// It executes no commands.
    pub responder: bool,
}

impl Suspended {
    /// Whether one of them does.
    pub fn any(self) -> bool {
        self.initiator || self.responder
    }

    /// Whether both of them do.
    pub fn both(self) -> bool {
        self.initiator && self.responder
    }
}

/// What the image of a VHCA has.
#[derive(Debug)]
pub struct Saved {
    state: State,
    cmdq: CommandQueue,
    caps: Caps,
    objects: Objects,
    engine: Engine,
    held_commands: u32,
}
persist!(Saved {
    state,
    cmdq,
    caps,
    objects,
    engine,
    held_commands,
});

/// What the administrator sets of a port.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vport {
    /// Whether its link follows the port's, or is up or down.
    pub policy: u64,
    /// The port's name.
    pub port_guid: u64,
    /// The function's name.
    pub node_guid: u64,
}

/// What a driver creates.
#[derive(Debug)]
pub struct Objects {
    /// UAR pages.
    pub uars: Table<()>,
    /// Protection domains.
    pub pds: Table<()>,
    /// Event queues.
    pub eqs: Table<Eq>,
    /// Memory keys, by the index in them.
    pub mkeys: Table<Mkey>,
    /// Completion queues.
    pub cqs: Table<Cq>,
    /// Queue pairs.
    pub qps: Table<Qp>,
    /// Page trackers; the PF's only.
    pub trackers: Table<Tracker>,
}

persist_enum!(State {
    Disabled,
    Enabled,
    Initialized,
});
persist!(Objects {
    uars,
    pds,
    eqs,
    mkeys,
    cqs,
    qps,
    trackers,
});

impl Default for Objects {
    fn default() -> Self {
        Self {
            uars: Table::new(bar::UAR_FIRST, bar::UAR_END),
            pds: Table::new(1, 1 << caps::LOG_MAX_PD),
            eqs: Table::new(1, 1 << caps::LOG_MAX_EQ),
            mkeys: Table::new(1, 1 << caps::LOG_MAX_MKEY),
            cqs: Table::new(1, 1 << caps::LOG_MAX_CQ),
            qps: Table::new(1, 1 << caps::LOG_MAX_QP),
            // How many there can be is one of the limits.
            trackers: Table::new(1, u32::MAX),
        }
    }
}

impl Function {
    fn new(number: u16, vfs: u16, limits: &Limits) -> Self {
        let is_pf = number == 0;
        let vectors = if is_pf { PF_VECTORS } else { VF_VECTORS };
        let vhca_id = vhca_id(number);
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
            caps: Caps::new(vhca_id, is_pf.then_some(limits)),
            limits: limits.clone(),
            pages: BTreeMap::new(),
            vport: Vport::default(),
            objects: Objects::default(),
            engine: Engine::default(),
            written: Written::default(),
            unplugged: false,
            suspended: Suspended::default(),
            saving: None,
            loading: None,
            half_loaded: false,
            reinit: false,
            ballast: limits.ballast,
            held_commands: 0,
        }
    }

    /// Its objects for another VHCA of the same kind. The address space and the configuration space
    /// are the platform's.
    pub fn image(&mut self) -> Vec<u8> {
        let saved = Saved {
            state: self.state,
            cmdq: std::mem::take(&mut self.cmdq),
            caps: self.caps.clone(),
            objects: std::mem::take(&mut self.objects),
            engine: std::mem::take(&mut self.engine),
            held_commands: self.held_commands,
        };
        let image = image::save(&saved);
        self.cmdq = saved.cmdq;
        self.objects = saved.objects;
        self.engine = saved.engine;
        image
    }

    /// Becomes what the image says; `None` if it cannot, and then nothing has changed.
    pub fn take(&mut self, saved: Saved) -> Option<()> {
        let same = saved.objects.trackers.is_empty() && saved.caps.kinds().eq(self.caps.kinds());
        let vectors = saved
            .objects
            .eqs
            .iter()
            .all(|(_, eq)| eq.vector() < self.irqs.count());
        if !same || !vectors {
            return None;
        }
        self.state = saved.state;
        self.cmdq = saved.cmdq;
        self.caps = saved.caps;
        self.caps.set_vhca_id(self.vhca_id);
        self.objects = saved.objects;
        self.engine = saved.engine;
        self.held_commands = saved.held_commands;
        Some(())
    }

    /// Forgets what a function level reset forgets: all but the address space and the interrupts,
    /// which are the platform's, and the configuration space, which QEMU restores.
    fn reset(&mut self) {
        self.objects = Objects::default();
        self.engine = Engine::default();
        self.state = State::Disabled;
        self.cmdq = CommandQueue::default();
        self.init_segment = InitSegment::default();
        let is_pf = self.gateway.is_some();
        self.caps = Caps::new(self.vhca_id, is_pf.then_some(&self.limits));
        self.pages.clear();
        self.suspended = Suspended::default();
        self.saving = None;
        self.loading = None;
        self.half_loaded = false;
        self.reinit = false;
        self.ballast = self.limits.ballast;
        self.held_commands = 0;
    }

    /// A state that was refused leaves nothing of the one before.
    pub fn load_failed(&mut self) {
        self.objects = Objects::default();
        self.state = State::Disabled;
        self.loading = None;
        self.half_loaded = true;
    }

    /// The PF disables this VF: its driver finds a device that never gets ready.
    pub fn power_off(&mut self) {
        self.reset();
        self.powered = false;
    }

    /// Puts an event into the EQ that asked for its kind. Without one it is dropped, as it is by
    /// firmware.
    pub fn event(&mut self, kind: u8, data: &EventData) {
        let mut eqs = self.objects.eqs.iter_mut().map(|(_, eq)| eq);
        let Some(eq) = eqs.find(|eq| eq.takes(kind)) else {
            return;
        };
        if let Err(lost) = eq.post(&self.memory, &mut self.irqs, kind, data) {
            eprintln!("{}: event {kind:#x} is lost: {lost:?}", self.name);
        }
    }

    /// The tracker that reports by this QP cannot do that any more.
    pub fn tracker_failed(&mut self, qpn: u32) {
        let mut trackers = self.objects.trackers.iter();
        let id = trackers.find_map(|(id, tracker)| (tracker.qpn == qpn).then_some(id));
        drop(trackers);
        let Some(id) = id else {
            return;
        };
        if let Some(tracker) = self.objects.trackers.get_mut(id) {
            tracker.fail();
        }
        self.object_changed(MLX5_OBJ_TYPE_PAGE_TRACK as u16, id);
    }

    /// An event says that a general object of this type has changed.
    pub fn object_changed(&mut self, kind: u16, id: u32) {
        let mut data: EventData = [0; 28];
        data[2..4].copy_from_slice(&kind.to_be_bytes());
        data[4..8].copy_from_slice(&id.to_be_bytes());
        self.event(EVENT_OBJECT_CHANGE, &data);
    }

    /// This QP has nothing more to send: a tracker that reported by it is done.
    pub fn tracker_reported(&mut self, qpn: u32) {
        let Some(qp) = self.objects.qps.get(qpn) else {
            return;
        };
        if !qp.sends.is_empty() {
            return;
        }
        let mut failed = false;
        for (_, tracker) in self.objects.trackers.iter_mut() {
            if tracker.qpn == qpn {
                failed |= tracker.reported();
            }
        }
        if failed {
            self.tracker_failed(qpn);
        }
    }

    /// Begins the reports that are due.
    fn begin_reports(&mut self, now: Duration) {
        for (_, tracker) in self.objects.trackers.iter_mut() {
            let Some(messages) = tracker.begin(now) else {
                continue;
            };
            if let Some(qp) = self.objects.qps.get_mut(tracker.qpn) {
                qp.sends.extend(messages);
            }
        }
    }
}

/// What was done since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Commands that were executed.
    pub commands: u64,
    /// Reports that were asked for.
    pub reports: u64,
    /// Messages that were received.
    pub messages: u64,
    /// Parts of states that were saved.
    pub saves: u64,
    /// Memory keys that were created.
    pub keys: u64,
}

/// All functions.
#[derive(Debug)]
pub struct Device {
    /// The PF, then the VFs.
    pub functions: Vec<Function>,
    /// The clock's zero.
    pub started: Instant,
    /// What shall go wrong.
    pub faults: Faults,
    /// Commands that were delayed.
    pub late: Vec<cmdq::Late>,
    /// For measurements.
    pub counts: Counts,
    /// Streams that states were saved to.
    pub streams: u64,
    files: Files,
}

impl Device {
    /// A device with `vfs` VFs.
    pub fn new(vfs: u16, limits: &Limits) -> Self {
        let function = |number| Function::new(number, vfs, limits);
        Self {
            functions: (0..=vfs).map(function).collect(),
            started: Instant::now(),
            faults: Faults::default(),
            late: Vec::new(),
            counts: Counts::default(),
            streams: 0,
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

    /// The number of the function that the firmware knows by this.
    pub fn number(&self, vhca_id: u16) -> Option<usize> {
        self.functions.iter().position(|f| f.vhca_id == vhca_id)
    }

    /// A DMA write of a function, seen by whoever tracks it.
    pub fn dma_write(&mut self, function: usize, iova: u64, bytes: &[u8]) -> Result<(), Fault> {
        let f = self.functions.get_mut(function).ok_or(Fault { iova })?;
        if !f.config.is_bus_master() || f.suspended.initiator || f.unplugged {
            return Err(Fault { iova });
        }
        let result = f.memory.write(iova, bytes);
        // What is before a fault was written.
        let len = match result {
            Ok(()) => bytes.len() as u64,
            Err(fault) => fault.iova.wrapping_sub(iova),
        };
        f.written.record(iova, len);
        let vhca_id = f.vhca_id;
        let pf = self.functions.get_mut(PF).ok_or(Fault { iova })?;
        for (_, tracker) in pf.objects.trackers.iter_mut() {
            if tracker.vhca_id == vhca_id {
                tracker.written(iova, len);
            }
        }
        result
    }

    /// The time since the start.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Does what is due, and sends what can be sent; to be called from time to time as long as
    /// something is [`waiting`].
    ///
    /// [`waiting`]: Self::waiting
    pub fn pump(&mut self) {
        cmdq::late(self);
        let now = self.now();
        for f in &mut self.functions {
            f.begin_reports(now);
            self.counts.messages += rdma::pump(f);
        }
    }

    /// Whether a command or a report is delayed, or a message waits for its receiver.
    pub fn waiting(&self) -> bool {
        let reports = |f: &Function| f.objects.trackers.iter().any(|(_, t)| t.waiting());
        let waits = |f: &Function| rdma::waiting(f) || reports(f);
        self.late.iter().any(|late| late.due.is_some()) || self.functions.iter().any(waits)
    }

    /// The firmware starts anew, which the driver finds out when it looks after its health.
    pub fn firmware_reset(&mut self) {
        self.reset(PF);
        if let Some(pf) = self.functions.get_mut(PF) {
            pf.cmdq = CommandQueue::disabled();
        }
    }

    /// Pulls a function out of its slot; with the PF go the VFs. The platform's mappings and
    /// interrupts stay, and nothing gets there.
    pub fn unplug(&mut self, function: usize) {
        self.reset(function);
        let all = self.functions.iter_mut().enumerate();
        for (_, f) in all.filter(|(index, _)| function == PF || *index == function) {
            f.unplugged = true;
        }
    }

    /// Puts it back, as it is after a reset.
    pub fn plug(&mut self, function: usize) {
        let all = self.functions.iter_mut().enumerate();
        for (_, f) in all.filter(|(index, _)| function == PF || *index == function) {
            f.unplugged = false;
        }
    }

    /// The tracker that reports by this QP of the PF fails of itself.
    pub fn fail_tracker(&mut self, qpn: u32) {
        if let Some(pf) = self.functions.get_mut(PF) {
            // What it has not sent yet is lost.
            if let Some(qp) = pf.objects.qps.get_mut(qpn) {
                qp.sends.clear();
            }
            pf.tracker_failed(qpn);
        }
    }

    /// The CQ for the messages of this QP overruns. Only the event shows it, until the next
    /// message.
    pub fn overrun(&mut self, qpn: u32) {
        let Some((pf, remote)) = self.receiver(qpn) else {
            return;
        };
        let receive = pf
            .objects
            .qps
            .get(remote)
            .and_then(|qp| qp.receive.as_ref());
        let Some(cqn) = receive.map(|receive| receive.cqn) else {
            return;
        };
        if let Some(cq) = pf.objects.cqs.get_mut(cqn) {
            cq.fail();
        }
        let mut data: EventData = [0; 28];
        data[..4].copy_from_slice(&cqn.to_be_bytes());
        data[11] = 1;
        pf.event(MLX5_EVENT_TYPE_CODING_CQ_ERROR as u8, &data);
    }

    /// The QP that receives the messages of this one fails, and it is as above.
    pub fn qp_error(&mut self, qpn: u32) {
        let Some((pf, remote)) = self.receiver(qpn) else {
            return;
        };
        if let Some(qp) = pf.objects.qps.get_mut(remote) {
            qp.state = qp::State::Error;
        }
        let mut data: EventData = [0; 28];
        data[24..].copy_from_slice(&remote.to_be_bytes());
        pf.event(
            MLX5_EVENT_TYPE_CODING_LOCAL_WQ_CATASTROPHIC_ERROR as u8,
            &data,
        );
    }

    fn receiver(&mut self, qpn: u32) -> Option<(&mut Function, u32)> {
        let pf = self.functions.get_mut(PF)?;
        let remote = pf.objects.qps.get(qpn)?.remote;
        Some((pf, remote))
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
        self.late
            .retain(|late| function != PF && late.function != function);
    }

    /// Reads from the configuration space; `None` beyond its end.
    pub fn config_read(&mut self, function: usize, offset: usize, buf: &mut [u8]) -> Option<()> {
        let f = self.functions.get_mut(function)?;
        f.config.read(offset, buf)?;
        if f.unplugged {
            buf.fill(0xff);
            return Some(());
        }
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
        if f.unplugged {
            return Some(());
        }
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
