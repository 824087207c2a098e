// SPDX-License-Identifier: GPL-2.0

//! The InfiniBand port of a function, as its administrator sets it. Nothing is connected to it.

use super::done;
use super::refusal;
use super::Caller;
use super::Command;
use super::Refusal;
use super::Reply;
use super::REPLY;
use crate::bits::In;
use crate::bits::Out;
use crate::device::Function;
use crate::device::State;
use crate::device::Vport;
use crate::ifc::*;

pub const COMMANDS: &[Command] = &[
    Command {
        opcode: MLX5_CMD_OP_QUERY_HCA_VPORT_CONTEXT,
        name: "QUERY_HCA_VPORT_CONTEXT",
        input: query_hca_vport_context_in::SIZE,
        output: query_hca_vport_context_out::SIZE,
        since: State::Initialized,
        run: query,
    },
    Command {
        opcode: MLX5_CMD_OP_MODIFY_HCA_VPORT_CONTEXT,
        name: "MODIFY_HCA_VPORT_CONTEXT",
        input: modify_hca_vport_context_in::SIZE,
        output: REPLY,
        since: State::Initialized,
        run: modify,
    },
];

/// The function whose port is meant.
fn target<'a>(caller: &'a mut Caller<'_>, input: In<'_>) -> Result<&'a mut Function, Refusal> {
    if input.is_set(query_hca_vport_context_in::other_vport) {
        caller.target(input.get(query_hca_vport_context_in::vport_number) as u16)
    } else {
        Ok(caller.me())
    }
}

fn query(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    use hca_vport_context::*;
    let context = query_hca_vport_context_out::hca_vport_context;
    let vport = target(caller, input)?.vport;
    Ok(Out::new(query_hca_vport_context_out::SIZE)
        .set(vport_state_policy.within(context), vport.policy)
        .set(port_guid.within(context), vport.port_guid)
        .set(node_guid.within(context), vport.node_guid))
}

fn modify(caller: &mut Caller<'_>, input: In<'_>) -> Reply {
    use hca_vport_context::*;
    let context = modify_hca_vport_context_in::hca_vport_context;
    let get = |field: crate::bits::Field| input.get(field.within(context));
    let select = get(field_select);
    let all = MLX5_HCA_VPORT_SEL_PORT_GUID
        | MLX5_HCA_VPORT_SEL_NODE_GUID
        | MLX5_HCA_VPORT_SEL_STATE_POLICY;
    if select & !all != 0 {
        return Err(refusal!(BadParam, "a field that cannot be set"));
    }
    let pick = |bit: u64, new: u64, old: u64| if select & bit != 0 { new } else { old };
    let vport = &mut target(caller, input)?.vport;
    *vport = Vport {
        policy: pick(
            MLX5_HCA_VPORT_SEL_STATE_POLICY,
            get(vport_state_policy),
            vport.policy,
        ),
        port_guid: pick(
            MLX5_HCA_VPORT_SEL_PORT_GUID,
            get(port_guid),
            vport.port_guid,
        ),
        node_guid: pick(
            MLX5_HCA_VPORT_SEL_NODE_GUID,
            get(node_guid),
            vport.node_guid,
        ),
    };
    done()
}
