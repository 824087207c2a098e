// SPDX-License-Identifier: GPL-2.0

//! The command queue and the commands with which mlx5_core begins.

mod driver;

use driver::input;
use driver::Driver;
use driver::FREE;
use mlx5_model::bits::Field;
use mlx5_model::ifc::*;
use mlx5_model::limits::Limits;
use proptest::prelude::*;

const BAD_OP: u8 = 0x2;
const BAD_PARAM: u8 = 0x3;
const BAD_SYS_STATE: u8 = 0x4;
const BAD_RES: u8 = 0x5;
const BAD_INP_LEN: u8 = 0x50;

#[test]
fn the_initialization_segment_is_there() {
    let mut driver = Driver::new(0);
    assert_eq!(
        driver.read32(0x4) >> 16,
        5,
        "the command interface's revision"
    );
    assert_eq!(driver.read32(0x1fc) >> 31, 0, "not initializing");
    assert_eq!(driver.read32(0x14) & 0xff, 0x56, "32 entries of 64 bytes");
    assert_eq!((driver.read32(0x14) >> 8) & 7, 0, "full driver");
    assert_ne!(driver.read32(0x230), u32::MAX, "the firmware's version");
}

#[test]
fn a_driver_starts_and_stops() {
    let mut driver = Driver::new(0);
    driver.command(MLX5_CMD_OP_ENABLE_HCA, input(16, &[]), 16);
    let issi = driver.command(MLX5_CMD_OP_QUERY_ISSI, input(16, &[]), query_issi_out::SIZE);
    assert_eq!(issi.get(query_issi_out::supported_issi_dw0), 3);
    let issi = input(16, &[(set_issi_in::current_issi, 1)]);
    driver.command(MLX5_CMD_OP_SET_ISSI, issi, 16);
    let caps = input(16, &[(query_hca_cap_in::op_mod, 1)]);
    let caps = driver.command(MLX5_CMD_OP_QUERY_HCA_CAP, caps, query_hca_cap_out::SIZE);
    let field = cmd_hca_cap::log_max_qp.within(query_hca_cap_out::capability);
    assert_eq!(caps.get(field), 12);
    let mut set = input(set_hca_cap_in::SIZE, &[]);
    set[16..].copy_from_slice(&caps.out[16..]);
    driver.command(MLX5_CMD_OP_SET_HCA_CAP, set, 16);
    driver.command(MLX5_CMD_OP_INIT_HCA, input(32, &[]), 16);
    let adapter = driver.command(
        MLX5_CMD_OP_QUERY_ADAPTER,
        input(16, &[]),
        query_adapter_out::SIZE,
    );
    assert_eq!(&adapter.out[256..272], b"MODEL00000000001");
    driver.command(MLX5_CMD_OP_TEARDOWN_HCA, input(16, &[]), 16);
    driver.command(MLX5_CMD_OP_DISABLE_HCA, input(16, &[]), 16);
}

/// Some of the driver's structures are shorter than what fits into the entry.
#[test]
fn a_short_output_is_enough() {
    let mut driver = Driver::new(0);
    let short = driver.command(MLX5_CMD_OP_ENABLE_HCA, input(16, &[]), enable_hca_out::SIZE);
    assert_eq!(short.out.len(), 12);
    let entry = driver.prepare(&input(16, &[]), 7);
    assert_eq!(
        driver.submit(0, &entry, 7).delivery,
        0x8,
        "no room for the status"
    );
}

#[test]
fn what_comes_too_early_is_refused() {
    let mut driver = Driver::new(0);
    let reply = driver.try_command(MLX5_CMD_OP_INIT_HCA, input(16, &[]), 16);
    assert_eq!(reply.status(), BAD_SYS_STATE);
    driver.command(MLX5_CMD_OP_ENABLE_HCA, input(16, &[]), 16);
    let reply = driver.try_command(MLX5_CMD_OP_ALLOC_UAR, input(16, &[]), 16);
    assert_eq!(reply.status(), BAD_SYS_STATE);
}

#[test]
fn an_unknown_command_is_refused() {
    let mut driver = Driver::new(0);
    let reply = driver.try_command(0xbad, input(16, &[]), 16);
    assert_eq!((reply.delivery, reply.status()), (0, BAD_OP));
    assert_ne!(reply.get(enable_hca_out::syndrome), 0);
}

#[test]
fn a_damaged_entry_is_not_delivered() {
    let mut driver = Driver::new(0);
    let enable = input(16, &[(query_issi_in::opcode, MLX5_CMD_OP_ENABLE_HCA)]);
    let long = input(600, &[(query_issi_in::opcode, MLX5_CMD_OP_ENABLE_HCA)]);

    let mut entry = driver.prepare(&enable, 16);
    entry[61] ^= 1;
    assert_eq!(driver.submit(0, &entry, 16).delivery, 0x1, "its signature");

    let sign = |entry: &mut [u8; 64]| {
        entry[61] = 0;
        entry[61] = !entry.iter().fold(0, |sum, byte| sum ^ byte);
    };
    let mut entry = driver.prepare(&enable, 16);
    entry[0] = 6;
    sign(&mut entry);
    assert_eq!(driver.submit(0, &entry, 16).delivery, 0x10, "its type");

    let mut entry = driver.prepare(&long, 16);
    entry[60] ^= 1;
    sign(&mut entry);
    assert_eq!(driver.submit(0, &entry, 16).delivery, 0x2, "its token");

    let mut entry = driver.prepare(&long, 16);
    entry[8..16].copy_from_slice(&0u64.to_be_bytes());
    sign(&mut entry);
    assert_eq!(driver.submit(0, &entry, 16).delivery, 0x5, "no blocks");

    let mut entry = driver.prepare(&enable, 16);
    entry[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    sign(&mut entry);
    assert_eq!(driver.submit(0, &entry, 16).delivery, 0x7, "too long");

    // And it still works.
    let entry = driver.prepare(&enable, 16);
    let reply = driver.submit(31, &entry, 16);
    assert_eq!((reply.delivery, reply.status()), (0, 0));
}

#[test]
fn pages_are_given_and_taken() {
    let mut driver = Driver::new(0);
    driver.command(MLX5_CMD_OP_ENABLE_HCA, input(16, &[]), 16);
    let query = input(16, &[(query_pages_in::op_mod, 1)]);
    let wanted = driver.command(MLX5_CMD_OP_QUERY_PAGES, query, 16);
    let wanted = wanted.get(query_pages_out::num_pages);
    assert!(wanted > 0);

    let pages: Vec<u64> = (0..wanted).map(|n| FREE + n * 4096).collect();
    let mut give = input(
        16,
        &[
            (manage_pages_in::op_mod, 1),
            (manage_pages_in::input_num_entries, wanted),
        ],
    );
    let short = give.clone();
    give.extend(pages.iter().flat_map(|page| page.to_be_bytes()));
    driver.command(MLX5_CMD_OP_MANAGE_PAGES, give, 16);
    let reply = driver.try_command(MLX5_CMD_OP_MANAGE_PAGES, short, 16);
    assert_eq!(reply.status(), BAD_INP_LEN);

    // In pieces, until there are no more.
    let mut back = Vec::new();
    loop {
        let take = input(
            16,
            &[
                (manage_pages_in::op_mod, 2),
                (manage_pages_in::input_num_entries, 3),
            ],
        );
        let taken = driver.command(MLX5_CMD_OP_MANAGE_PAGES, take, 16 + 3 * 8);
        let count = taken.get(manage_pages_out::output_num_entries) as usize;
        if count == 0 {
            break;
        }
        let words = taken.out[16..16 + count * 8].chunks_exact(8);
        back.extend(words.map(|word| u64::from_be_bytes(word.try_into().expect("8 bytes"))));
    }
    back.sort_unstable();
    assert_eq!(back, pages);
}

#[test]
fn uars_are_counted() {
    let mut driver = Driver::new(0);
    driver.start();
    let uar = driver.alloc_uar();
    assert_ne!(driver.alloc_uar(), uar);
    let free = input(16, &[(dealloc_uar_in::uar, uar.into())]);
    driver.command(MLX5_CMD_OP_DEALLOC_UAR, free.clone(), 16);
    let reply = driver.try_command(MLX5_CMD_OP_DEALLOC_UAR, free, 16);
    assert_eq!(reply.status(), BAD_RES);
}

#[test]
fn a_vf_waits_for_its_pf() {
    let mut driver = Driver::new(2);
    driver.function = 1;
    driver.set_queue(driver::BASE);
    assert_eq!(driver.read32(0x1fc) >> 31, 1, "the VF is not ready");
    let reply = driver.try_command(MLX5_CMD_OP_ENABLE_HCA, input(16, &[]), 16);
    assert_eq!(reply.status(), BAD_SYS_STATE);

    driver.function = 0;
    driver.start();
    let vf = input(16, &[(enable_hca_in::function_id, 1)]);
    driver.command(MLX5_CMD_OP_ENABLE_HCA, vf, 16);
    let none = input(16, &[(enable_hca_in::function_id, 3)]);
    let reply = driver.try_command(MLX5_CMD_OP_ENABLE_HCA, none, 16);
    assert_eq!(reply.status(), BAD_PARAM);

    driver.function = 1;
    assert_eq!(driver.read32(0x1fc) >> 31, 0, "the VF is ready");
    driver.start();
    let other = input(16, &[(enable_hca_in::function_id, 2)]);
    let reply = driver.try_command(MLX5_CMD_OP_ENABLE_HCA, other, 16);
    assert_eq!(reply.status(), BAD_PARAM, "a VF has no say over another");
}

#[test]
fn a_port_is_set_by_the_pf() {
    use hca_vport_context::*;
    let mut driver = Driver::new(1);
    driver.start();
    let context = modify_hca_vport_context_in::hca_vport_context;
    let fields = [
        (modify_hca_vport_context_in::other_vport, 1),
        (modify_hca_vport_context_in::vport_number, 1),
        (field_select.within(context), MLX5_HCA_VPORT_SEL_NODE_GUID),
        (node_guid.within(context), 0x1122_3344_5566_7788),
        (port_guid.within(context), 1),
    ];
    let modify = input(modify_hca_vport_context_in::SIZE, &fields);
    driver.command(MLX5_CMD_OP_MODIFY_HCA_VPORT_CONTEXT, modify, 8);
    for (other, guid) in [(0, 0), (1, 0x1122_3344_5566_7788)] {
        let query = [
            (query_hca_vport_context_in::other_vport, other),
            (query_hca_vport_context_in::vport_number, other),
        ];
        let size = query_hca_vport_context_out::SIZE;
        let out = driver.command(MLX5_CMD_OP_QUERY_HCA_VPORT_CONTEXT, input(16, &query), size);
        let context = query_hca_vport_context_out::hca_vport_context;
        assert_eq!(out.get(node_guid.within(context)), guid);
        assert_eq!(out.get(port_guid.within(context)), 0, "it was not selected");
    }
}

#[test]
fn a_reset_forgets() {
    let mut driver = Driver::new(0);
    driver.start();
    driver.device.reset(0);
    driver.set_queue(driver::BASE);
    let reply = driver.try_command(MLX5_CMD_OP_ALLOC_UAR, input(16, &[]), 16);
    assert_eq!(reply.status(), BAD_SYS_STATE);
}

proptest! {
    /// Whatever a guest puts into the queue, the model lives on.
    #[test]
    fn noise_in_the_queue(entry: [u8; 32], tail: [u8; 32], block in prop::collection::vec(any::<u8>(), 576), sign: bool) {
        let mut driver = Driver::new(1);
        driver.start();
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&entry);
        bytes[32..].copy_from_slice(&tail);
        if sign {
            bytes[0] = 7;
            bytes[4..16].copy_from_slice(&[0, 0, 2, 16, 0, 0, 0, 1, 0, 0x10, 0, 0]);
            bytes[56..60].copy_from_slice(&[0, 0, 0, 16]);
            bytes[61] = 0;
            bytes[63] = 1;
            bytes[61] = !bytes.iter().fold(0, |sum, byte| sum ^ byte);
        }
        driver.poke(driver::BASE, &bytes);
        driver.poke(driver::BASE + 0x10_0000, &block);
        driver.write32(0x18, 1);
        let reply = driver.try_command(0xbad, input(16, &[]), 16);
        prop_assert_eq!(reply.status(), BAD_OP);
    }

    /// Every command with any input.
    #[test]
    fn noise_in_a_command(opcode in 0x100..0xb40u64, mut bytes in prop::collection::vec(any::<u8>(), 16..2400), room in 16..4400usize) {
        let mut driver = Driver::new(1);
        driver.start();
        // Sizes that a driver would say, half of the time.
        if bytes[15] & 1 == 0 {
            bytes[10..14].fill(0);
        }
        let reply = driver.try_command(opcode, bytes, room);
        prop_assert_eq!(reply.delivery, 0);
    }

    /// Any access to the BAR and to the configuration space.
    #[test]
    fn noise_in_registers(accesses in prop::collection::vec((0..0x10_0010u64, any::<[u8; 8]>(), 1..=8usize, any::<bool>()), 1..40)) {
        let mut driver = Driver::new(1);
        driver.start();
        driver.alloc_uar();
        for (offset, bytes, len, config) in accesses {
            let mut buf = [0; 8];
            if config {
                let offset = (offset & 0x1fff) as usize;
                let _ = driver.device.config_write(0, offset, &bytes[..len]);
                let _ = driver.device.config_read(0, offset, &mut buf[..len]);
            } else {
                let _ = mlx5_model::bar::write(&mut driver.device, 0, offset, &bytes[..len]);
                let _ = mlx5_model::bar::read(&mut driver.device, 0, offset, &mut buf[..len]);
            }
        }
    }
}

#[test]
fn a_driver_is_told_how_long_to_wait() {
    let limits = |timeout| Limits {
        command_timeout: timeout,
        ..Limits::default()
    };
    for (timeout, health, reset) in [(1500, 1500, 1500), (3000, 0, 3000), (60_000, 0, 0)] {
        let mut driver = Driver::with_limits(0, &limits(timeout));
        assert_eq!(driver.read32(0xff8), timeout as u32);
        assert_ne!(driver.read32(0xffc), 0, "else it does not ask");
        driver.start();
        let register = input(16 + 64, &[(access_register_in::register_id, 0xc00e)]);
        let reply = driver.command(MLX5_CMD_OP_ACCESS_REG, register, 16 + 64);
        let get = |field: Field| reply.get(field.within(access_register_out::register_data));
        assert_eq!(get(dtor_reg::health_poll_to), health);
        assert_eq!(get(dtor_reg::fw_reset_to), reset);
    }
}
