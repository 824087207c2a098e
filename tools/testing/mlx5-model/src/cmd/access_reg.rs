// SPDX-License-Identifier: GPL-2.0

//! Registers that are reached by a command.

use super::refusal;
use super::Caller;
use super::Command;
use super::Reply;
use crate::bits::Field;
use crate::bits::In;
use crate::bits::Out;
use crate::device::State;
use crate::ifc::*;

/// `MLX5_REG_HOST_ENDIANNESS` of include/linux/mlx5/driver.h
const HOST_ENDIANNESS: u64 = 0x7004;
/// As long as the driver's structure is.
const HOST_ENDIANNESS_SIZE: usize = 16;
/// `MLX5_REG_DTOR` of the same: timeouts of other things than commands.
const DTOR: u64 = 0xc00e;

pub const COMMANDS: &[Command] = &[Command {
    opcode: MLX5_CMD_OP_ACCESS_REG,
    name: "ACCESS_REG",
    input: access_register_in::SIZE,
    output: access_register_out::SIZE,
    since: State::Enabled,
    run: access_reg,
}];

/// What the driver waits for other than commands, and how many milliseconds of its own accord.
const TIMEOUTS: [(Field, u64); 4] = [
    (dtor_reg::health_poll_to, 2_000),
    (dtor_reg::fw_reset_to, 60_000),
    (dtor_reg::reclaim_pages_to, 5_000),
    (dtor_reg::reclaim_vfs_pages_to, 120_000),
];

/// Nothing of it takes longer than a command. A number is milliseconds, 0 the driver's own.
fn timeouts(command: u64) -> Out {
    let data = Field {
        at: access_register_out::register_data.at,
        width: 8 * dtor_reg::SIZE,
    };
    let out = Out::new(access_register_out::SIZE + dtor_reg::SIZE);
    let shorter = TIMEOUTS.into_iter().filter(|(_, own)| command < *own);
    shorter.fold(out, |out, (field, _)| out.set(field.within(data), command))
}

fn access_reg(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    match input.get(access_register_in::register_id) {
        HOST_ENDIANNESS => Ok(Out::new(access_register_out::SIZE + HOST_ENDIANNESS_SIZE)),
        DTOR => Ok(timeouts(caller.me().limits.command_timeout)),
        _ => Err(refusal!(BadParam, "no such register")),
    }
}
