// SPDX-License-Identifier: GPL-2.0

//! The commands: a table of all that there are, in groups, and what they have in common.

use crate::bits::In;
use crate::bits::Out;
use crate::device::Device;
use crate::device::Function;
use crate::device::State;
use crate::device::PF;
use crate::ifc::enable_hca_out;
use crate::ifc::query_issi_in;

mod access_reg;
mod cq;
mod eq;
mod hca;
mod migration;
mod mkey;
mod object;
mod pages;
mod pd;
mod qp;
mod uar;
mod vport;

/// The status of a reply: `MLX5_CMD_STAT_*_ERR` of include/linux/mlx5/device.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Status {
    Internal = 0x1,
    BadOp = 0x2,
    BadParam = 0x3,
    BadSysState = 0x4,
    BadRes = 0x5,
    ResBusy = 0x6,
    Limit = 0x8,
    BadResState = 0x9,
    NoRes = 0xf,
    BadQpState = 0x10,
    BadInpLen = 0x50,
    BadOutpLen = 0x51,
}

impl Status {
    /// The one with this number; `None` if a command is never refused with it.
    pub fn from_number(number: u64) -> Option<Self> {
        use Status::*;
        [
            Internal,
            BadOp,
            BadParam,
            BadSysState,
            BadRes,
            ResBusy,
            Limit,
            BadResState,
            NoRes,
            BadQpState,
            BadInpLen,
            BadOutpLen,
        ]
        .into_iter()
        .find(|status| u64::from(*status as u8) == number)
    }
}

/// Why a command was refused: the status, the line of the model that did it as the syndrome, and the
/// reason for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the driver sees first.
    pub status: Status,
    /// What a vendor's support would ask for.
    pub syndrome: u32,
    /// For people.
    pub why: &'static str,
}

/// A [`Refusal`] at this line.
macro_rules! refusal {
    ($status:ident, $why:literal) => {
        $crate::cmd::Refusal {
            status: $crate::cmd::Status::$status,
            syndrome: line!(),
            why: $why,
        }
    };
}
pub(crate) use refusal;

/// What a command returns.
pub type Reply = Result<Out, Refusal>;

/// Who sent a command.
pub struct Caller<'a> {
    /// All functions.
    pub device: &'a mut Device,
    /// Its own; not out of range, because the transport has it from the device.
    function: usize,
}

impl Caller<'_> {
    /// The function that sent it.
    pub fn me(&mut self) -> &mut Function {
        &mut self.device.functions[self.function]
    }

    /// The function that `function_id` means: 0 is the caller, others are for the PF only.
    pub fn target(&mut self, function_id: u16) -> Result<&mut Function, Refusal> {
        let index = match function_id {
            0 => self.function,
            n => usize::from(n),
        };
        if index != self.function && self.function != PF {
            return Err(refusal!(BadParam, "not its function"));
        }
        let functions = &mut self.device.functions;
        functions
            .get_mut(index)
            .ok_or(refusal!(BadParam, "there is no such function"))
    }
}

/// One command.
pub struct Command {
    opcode: u64,
    name: &'static str,
    /// The least input, in bytes.
    input: usize,
    /// The least room for the output, in bytes.
    output: usize,
    /// How far the driver must have come.
    since: State,
    run: fn(&mut Caller<'_>, In<'_>) -> Reply,
}

/// The least output: status and syndrome. Some of the driver's structures have no more.
const REPLY: usize = 8;

/// A reply that has nothing to report.
fn done() -> Reply {
    Ok(Out::new(REPLY))
}

const GROUPS: &[&[Command]] = &[
    hca::COMMANDS,
    pages::COMMANDS,
    access_reg::COMMANDS,
    eq::COMMANDS,
    vport::COMMANDS,
    uar::COMMANDS,
    pd::COMMANDS,
    mkey::COMMANDS,
    cq::COMMANDS,
    qp::COMMANDS,
    object::COMMANDS,
    migration::COMMANDS,
];

fn find(opcode: u64) -> Option<&'static Command> {
    let mut commands = GROUPS.iter().copied().flatten();
    commands.find(|command| command.opcode == opcode)
}

/// Executes a command whose driver has `room` bytes for the output.
pub fn execute(device: &mut Device, function: usize, input: In<'_>, room: usize) -> Out {
    let opcode = input.get(query_issi_in::opcode);
    let command = find(opcode);
    let mut caller = Caller { device, function };
    let reply = match command {
        None => Err(refusal!(BadOp, "not in this model")),
        Some(command) => run(command, &mut caller, input, room),
    };
    reply.unwrap_or_else(|refusal| {
        eprintln!(
            "{}: {}({opcode:#x}) op_mod {:#x}: {:?}, {} (syndrome {:#x})",
            caller.me().name,
            command.map_or("?", |command| command.name),
            input.get(query_issi_in::op_mod),
            refusal.status,
            refusal.why,
            refusal.syndrome,
        );
        refused(refusal.status as u8, refusal.syndrome)
    })
}

/// The reply of a command that was refused.
pub fn refused(status: u8, syndrome: u32) -> Out {
    Out::new(REPLY)
        .set(enable_hca_out::status, status.into())
        .set(enable_hca_out::syndrome, syndrome.into())
}

fn run(command: &Command, caller: &mut Caller<'_>, input: In<'_>, room: usize) -> Reply {
    if input.0.len() < command.input {
        return Err(refusal!(BadInpLen, "the input is too short"));
    }
    if room < command.output {
        return Err(refusal!(BadOutpLen, "no room for the output"));
    }
    if caller.me().state < command.since {
        return Err(refusal!(BadSysState, "too early"));
    }
    let out = (command.run)(caller, input)?;
    if out.0.len() > room {
        return Err(refusal!(BadOutpLen, "no room for the output"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_opcode_is_there_once() {
        let all: Vec<u64> = GROUPS.iter().copied().flatten().map(|c| c.opcode).collect();
        let different: BTreeSet<u64> = all.iter().copied().collect();
        assert_eq!(all.len(), different.len());
    }
}
