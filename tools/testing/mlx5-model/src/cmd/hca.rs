// SPDX-License-Identifier: GPL-2.0

//! The function as a whole: its life, its capabilities, what it is.

use super::done;
use super::refusal;
use super::Caller;
use super::Command;
use super::Reply;
use super::REPLY;
use crate::bits::In;
use crate::bits::Out;
use crate::caps;
use crate::device::Objects;
use crate::device::State;
use crate::ifc::*;

pub const COMMANDS: &[Command] = &[
    Command {
        opcode: MLX5_CMD_OP_ENABLE_HCA,
        name: "ENABLE_HCA",
        input: enable_hca_in::SIZE,
        output: REPLY,
        since: State::Disabled,
        run: enable_hca,
    },
    Command {
        opcode: MLX5_CMD_OP_DISABLE_HCA,
        name: "DISABLE_HCA",
        input: disable_hca_in::SIZE,
        output: REPLY,
        since: State::Enabled,
        run: disable_hca,
    },
    Command {
        opcode: MLX5_CMD_OP_QUERY_ISSI,
        name: "QUERY_ISSI",
        input: query_issi_in::SIZE,
        output: query_issi_out::SIZE,
        since: State::Enabled,
        run: query_issi,
    },
    Command {
        opcode: MLX5_CMD_OP_SET_ISSI,
        name: "SET_ISSI",
        input: set_issi_in::SIZE,
        output: REPLY,
        since: State::Enabled,
        run: set_issi,
    },
    Command {
        opcode: MLX5_CMD_OP_INIT_HCA,
        name: "INIT_HCA",
        // Older drivers have no sw_owner_id.
        input: 16,
        output: REPLY,
        since: State::Enabled,
        run: init_hca,
    },
    Command {
        opcode: MLX5_CMD_OP_TEARDOWN_HCA,
        name: "TEARDOWN_HCA",
        input: teardown_hca_in::SIZE,
        output: REPLY,
        since: State::Initialized,
        run: teardown_hca,
    },
    Command {
        opcode: MLX5_CMD_OP_QUERY_HCA_CAP,
        name: "QUERY_HCA_CAP",
        input: query_hca_cap_in::SIZE,
        output: query_hca_cap_out::SIZE,
        since: State::Enabled,
        run: query_hca_cap,
    },
    Command {
        opcode: MLX5_CMD_OP_SET_HCA_CAP,
        name: "SET_HCA_CAP",
        input: set_hca_cap_in::SIZE,
        output: REPLY,
        since: State::Enabled,
        run: set_hca_cap,
    },
    Command {
        opcode: MLX5_CMD_OP_QUERY_ADAPTER,
        name: "QUERY_ADAPTER",
        input: 16,
        output: query_adapter_out::SIZE,
        since: State::Enabled,
        run: query_adapter,
    },
    Command {
        opcode: MLX5_CMD_OP_SET_DRIVER_VERSION,
        name: "SET_DRIVER_VERSION",
        input: set_driver_version_in::SIZE,
        output: REPLY,
        since: State::Initialized,
        run: set_driver_version,
    },
];

fn enable_hca(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let function_id = input.get(enable_hca_in::function_id) as u16;
    if function_id == 0 {
        let me = caller.me();
        if !me.powered {
            return Err(refusal!(BadSysState, "the PF has not enabled this VF"));
        }
        me.state = me.state.max(State::Enabled);
        return done();
    }
    if caller.me().state < State::Initialized {
        return Err(refusal!(BadSysState, "too early to enable a VF"));
    }
    let vf = caller.target(function_id)?;
    if vf.powered {
        return Err(refusal!(BadResState, "this VF is enabled already"));
    }
    vf.powered = true;
    super::pages::ask(caller, function_id);
    done()
}

fn disable_hca(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let function_id = input.get(disable_hca_in::function_id) as u16;
    if function_id == 0 {
        caller.me().state = State::Disabled;
        return done();
    }
    let vf = caller.target(function_id)?;
    if !vf.powered {
        return Err(refusal!(BadResState, "this VF is not enabled"));
    }
    vf.power_off();
    super::pages::give_back(caller, function_id);
    done()
}

fn query_issi(_: &mut Caller<'_>, _: In<'_>) -> Reply {
    // Versions 0 and 1.
    Ok(Out::new(query_issi_out::SIZE)
        .set(query_issi_out::current_issi, 0)
        .set(query_issi_out::supported_issi_dw0, 0b11))
}

fn set_issi(_: &mut Caller<'_>, input: In<'_>) -> Reply {
    match input.get(set_issi_in::current_issi) {
        0 | 1 => done(),
        _ => Err(refusal!(BadParam, "no such ISSI")),
    }
}

fn init_hca(caller: &mut Caller<'_>, _: In<'_>) -> Reply {
    let me = caller.me();
    if me.state == State::Initialized {
        return Err(refusal!(BadSysState, "initialized already"));
    }
    me.state = State::Initialized;
    done()
}

fn teardown_hca(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    if input.get(teardown_hca_in::profile) != 0 {
        return Err(refusal!(BadParam, "only a graceful teardown"));
    }
    let me = caller.me();
    me.objects = Objects::default();
    me.state = State::Enabled;
    done()
}

fn query_hca_cap(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let op_mod = input.get(query_hca_cap_in::op_mod) as u16;
    let (kind, current) = (op_mod >> 1, op_mod & 1 != 0);
    let function = if input.is_set(query_hca_cap_in::other_function) {
        caller.target(input.get(query_hca_cap_in::function_id) as u16)?
    } else {
        caller.me()
    };
    let page = function.caps.query(kind, current);
    let page = page.ok_or(refusal!(BadParam, "no such capabilities"))?;
    Ok(Out::new(query_hca_cap_out::SIZE).copy(query_hca_cap_out::capability, page))
}

fn set_hca_cap(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let kind = (input.get(set_hca_cap_in::op_mod) >> 1) as u16;
    if input.is_set(set_hca_cap_in::other_function) {
        return Err(refusal!(BadParam, "the capabilities of another function"));
    }
    let page = input.bytes(set_hca_cap_in::capability);
    let me = caller.me();
    if me.state != State::Enabled {
        return Err(refusal!(BadSysState, "too late"));
    }
    let set = me.caps.set(kind, page);
    set.ok_or(refusal!(BadParam, "no such capabilities"))?;
    done()
}

fn query_adapter(_: &mut Caller<'_>, _: In<'_>) -> Reply {
    use query_adapter_param_block::*;
    let block = query_adapter_out::query_adapter_struct;
    Ok(Out::new(query_adapter_out::SIZE)
        .set(ieee_vendor_id.within(block), 0x02c9)
        .set(vsd_vendor_id.within(block), 0x15b3)
        .copy(vsd_contd_psid.within(block), b"MODEL00000000001"))
}

fn set_driver_version(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    let version = input.bytes(set_driver_version_in::driver_version);
    let version = version.split(|byte| *byte == 0).next().unwrap_or(&[]);
    eprintln!("{}: driver {}", caller.me().name, version.escape_ascii());
    done()
}

// QUERY_HCA_CAP without a type is what a driver starts with.
const _: () = assert!(caps::GENERAL == 0);
