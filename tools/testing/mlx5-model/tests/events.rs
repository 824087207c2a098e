// SPDX-License-Identifier: GPL-2.0

//! Event queues: ownership, arming, overrun; commands that complete by an event.

mod driver;

use driver::input;
use driver::Driver;
use driver::FREE;
use mlx5_model::ifc::*;

const COMMANDS: u64 = 1 << MLX5_EVENT_TYPE_CODING_COMMAND_INTERFACE_COMPLETION;
const PAGE_REQUESTS: u64 = 1 << MLX5_EVENT_TYPE_CODING_PAGE_REQUEST;
const ARM: u64 = 0x40;
const UPDATE: u64 = 0x48;

fn doorbell(driver: &mut Driver, uar: u32, eqn: u8, register: u64, consumed: u32) {
    let value = (u32::from(eqn) << 24) | consumed & 0xff_ffff;
    driver.write32(u64::from(uar) * 4096 + register, value);
}

/// The entry that `counter` stands for, if it belongs to the driver.
fn event(driver: &Driver, address: u64, log_size: u32, counter: u32) -> Option<Vec<u8>> {
    let index = counter & ((1 << log_size) - 1);
    let eqe = driver.peek(address + u64::from(index) * 64, 64);
    (eqe[63] & 1 == ((counter >> log_size) & 1) as u8).then_some(eqe)
}

fn nop(driver: &mut Driver) {
    driver.command(MLX5_CMD_OP_QUERY_ISSI, input(16, &[]), query_issi_out::SIZE);
}

#[test]
fn a_command_completes_by_an_event() {
    let mut driver = Driver::new(0);
    driver.start();
    let uar = driver.alloc_uar();
    let irq = driver.vector(3);
    let eqn = driver.create_eq(uar, FREE, 7, 3, COMMANDS);
    assert!(
        event(&driver, FREE, 7, 0).is_none(),
        "CREATE_EQ itself has no event"
    );

    doorbell(&mut driver, uar, eqn, ARM, 0);
    nop(&mut driver);
    let eqe = event(&driver, FREE, 7, 0).expect("an event");
    assert_eq!((eqe[1], &eqe[32..36]), (0xa, &[0, 0, 0, 1][..]));
    assert_eq!(irq.count(), 1);

    // It has to be armed again.
    nop(&mut driver);
    assert!(event(&driver, FREE, 7, 1).is_some());
    assert_eq!(irq.count(), 1);
    doorbell(&mut driver, uar, eqn, UPDATE, 1);
    assert_eq!(irq.count(), 1);
    // There is an event that the driver has not read: at once.
    doorbell(&mut driver, uar, eqn, ARM, 1);
    assert_eq!(irq.count(), 2);

    let destroy = input(16, &[(destroy_eq_in::eq_number, eqn.into())]);
    driver.command(MLX5_CMD_OP_DESTROY_EQ, destroy, 16);
    assert!(
        event(&driver, FREE, 7, 2).is_none(),
        "DESTROY_EQ itself has no event"
    );
}

#[test]
fn the_owner_changes_with_each_lap() {
    let mut driver = Driver::new(0);
    driver.start();
    let uar = driver.alloc_uar();
    let eqn = driver.create_eq(uar, FREE, 2, 0, COMMANDS);
    for counter in 0..13 {
        assert!(event(&driver, FREE, 2, counter).is_none());
        nop(&mut driver);
        assert!(event(&driver, FREE, 2, counter).is_some());
        doorbell(&mut driver, uar, eqn, UPDATE, counter + 1);
    }
}

#[test]
fn a_full_queue_is_not_overwritten() {
    let mut driver = Driver::new(0);
    driver.start();
    let uar = driver.alloc_uar();
    driver.create_eq(uar, FREE, 2, 0, COMMANDS);
    for _ in 0..4 {
        nop(&mut driver);
    }
    let before = driver.peek(FREE, 256);
    nop(&mut driver);
    assert_eq!(driver.peek(FREE, 256), before);
}

#[test]
fn an_interrupt_without_an_eventfd_is_pending() {
    let mut driver = Driver::new(0);
    driver.start();
    let uar = driver.alloc_uar();
    let eqn = driver.create_eq(uar, FREE, 7, 2, COMMANDS);
    doorbell(&mut driver, uar, eqn, ARM, 0);
    nop(&mut driver);
    assert_eq!(driver.device.functions[0].irqs.pending(), 1 << 2);
    assert_eq!(driver.vector(2).count(), 1);
    assert_eq!(driver.device.functions[0].irqs.pending(), 0);
}

#[test]
fn a_vf_costs_its_pf_pages() {
    let mut driver = Driver::new(2);
    driver.start();
    let uar = driver.alloc_uar();
    driver.create_eq(uar, FREE, 7, 0, PAGE_REQUESTS);
    let vf = |field| input(16, &[(field, 2)]);
    driver.command(MLX5_CMD_OP_ENABLE_HCA, vf(enable_hca_in::function_id), 16);
    let eqe = event(&driver, FREE, 7, 0).expect("a request");
    assert_eq!((eqe[1], &eqe[34..36]), (0xb, &[0, 2][..]));
    let pages = u32::from_be_bytes(eqe[36..40].try_into().expect("4 bytes"));

    let mut give = input(
        16,
        &[
            (manage_pages_in::op_mod, 1),
            (manage_pages_in::function_id, 2),
            (manage_pages_in::input_num_entries, pages.into()),
        ],
    );
    give.extend((0..u64::from(pages)).flat_map(|n| (FREE + n * 4096).to_be_bytes()));
    driver.command(MLX5_CMD_OP_MANAGE_PAGES, give, 16);

    driver.command(MLX5_CMD_OP_DISABLE_HCA, vf(disable_hca_in::function_id), 16);
    let eqe = event(&driver, FREE, 7, 1).expect("a request");
    let back = i32::from_be_bytes(eqe[36..40].try_into().expect("4 bytes"));
    assert_eq!(i64::from(back), -i64::from(pages));
}
