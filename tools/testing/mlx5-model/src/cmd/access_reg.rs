// SPDX-License-Identifier: GPL-2.0

//! Registers that are reached by a command.

use super::refusal;
use super::Caller;
use super::Command;
use super::Reply;
use crate::bits::In;
use crate::bits::Out;
use crate::device::State;
use crate::ifc::*;

/// `MLX5_REG_HOST_ENDIANNESS` of include/linux/mlx5/driver.h
const HOST_ENDIANNESS: u64 = 0x7004;
/// As long as the driver's structure is.
const HOST_ENDIANNESS_SIZE: usize = 16;

pub const COMMANDS: &[Command] = &[Command {
    opcode: MLX5_CMD_OP_ACCESS_REG,
    name: "ACCESS_REG",
    input: access_register_in::SIZE,
    output: access_register_out::SIZE,
    since: State::Enabled,
    run: access_reg,
}];

fn access_reg(_: &mut Caller<'_>, input: In<'_>) -> Reply {
    match input.get(access_register_in::register_id) {
        HOST_ENDIANNESS => Ok(Out::new(access_register_out::SIZE + HOST_ENDIANNESS_SIZE)),
        _ => Err(refusal!(BadParam, "no such register")),
    }
}
