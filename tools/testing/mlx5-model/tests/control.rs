// SPDX-License-Identifier: GPL-2.0

//! The control socket: the truth, and faults of commands. Those of trackers are in tracker.rs.

mod driver;

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use driver::input;
use driver::Driver;
use driver::BASE;
use driver::FREE;
use mlx5_model::control::execute;
use mlx5_model::control::serve;
use mlx5_model::device::Device;
use mlx5_model::ifc::*;
use mlx5_model::limits::Limits;
use proptest::prelude::*;

fn started() -> Driver {
    let mut driver = Driver::new(1);
    driver.start();
    driver
}

fn ask(driver: &mut Driver, line: &str) -> String {
    execute(&mut driver.device, line)
}

#[test]
fn commands_are_refused_as_often_as_asked() {
    let mut driver = started();
    assert_eq!(ask(&mut driver, "pass 802 1"), "ok");
    assert_eq!(ask(&mut driver, "refuse 802 f 2 abcd"), "ok");
    for (status, syndrome) in [(0, 0), (0xf, 0xabcd), (0xf, 0xabcd), (0, 0)] {
        let reply = driver.try_command(MLX5_CMD_OP_ALLOC_UAR, input(16, &[]), 16);
        assert_eq!(reply.status(), status);
        assert_eq!(reply.get(enable_hca_out::syndrome), syndrome);
        driver.command(MLX5_CMD_OP_ALLOC_PD, input(16, &[]), 16);
    }
}

/// Puts ALLOC_UAR into the queue and rings; what is in the queue then.
fn ring(driver: &mut Driver) -> ([u8; 64], Vec<u8>) {
    let uar = input(16, &[(query_issi_in::opcode, MLX5_CMD_OP_ALLOC_UAR)]);
    let entry = driver.prepare(&uar, 16);
    driver.poke(BASE, &entry);
    driver.write32(0x18, 1);
    (entry, driver.peek(BASE, 64))
}

#[test]
fn a_command_can_get_lost() {
    let mut driver = started();
    assert_eq!(ask(&mut driver, "swallow 802 1"), "ok");
    let (sent, found) = ring(&mut driver);
    assert_eq!(found, sent, "nothing came back");
    assert!(!driver.device.waiting(), "and nothing will");
    let first = driver.alloc_uar();
    let mut other = started();
    assert_eq!(first, other.alloc_uar(), "it was not executed");

    // Given back, it is not either.
    assert_eq!(ask(&mut driver, "swallow 802 1"), "ok");
    ring(&mut driver);
    assert_eq!(ask(&mut driver, "forget"), "ok");
    let entry = driver.peek(BASE, 64);
    assert_eq!((entry[63], entry[32]), (6 << 1, 0));
    assert_eq!(driver.alloc_uar(), other.alloc_uar());
}

/// An hour passes.
fn pass(driver: &mut Driver) {
    let hour = Duration::from_secs(3600);
    driver.device.started = driver.device.started.checked_sub(hour).expect("uptime");
    driver.device.pump();
}

#[test]
fn a_command_can_be_slow() {
    let mut driver = started();
    assert_eq!(ask(&mut driver, "slow 802 36ee80 1"), "ok");
    let (sent, found) = ring(&mut driver);
    assert_eq!(found, sent, "nothing came back yet");
    // Others go on.
    assert!(driver.device.waiting());
    let entry = driver.prepare(&input(16, &[(query_issi_in::opcode, 0x800)]), 16);
    let reply = driver.submit(1, &entry, 16);
    assert_eq!((reply.delivery, reply.status()), (0, 0));
    driver.device.pump();
    assert_eq!(driver.peek(BASE, 64), sent);

    pass(&mut driver);
    assert!(!driver.device.waiting());
    let entry = driver.peek(BASE, 64);
    assert_eq!((entry[63], entry[32]), (0, 0), "it came back, and well");
}

#[test]
fn a_reset_forgets_slow_commands() {
    let mut driver = started();
    assert_eq!(ask(&mut driver, "slow 802 36ee80 1"), "ok");
    let (sent, _) = ring(&mut driver);
    driver.device.reset(0);
    pass(&mut driver);
    assert_eq!(driver.peek(BASE, 64), sent);
}

#[test]
fn the_truth_is_told_once() {
    let mut driver = Driver::new(1);
    driver
        .device
        .config_write(1, 4, &[6, 0])
        .expect("a register");
    for (at, len) in [(0, 16), (16, 4), (0x1000, 1)] {
        let written = driver.device.dma_write(1, FREE + at, &vec![1; len]);
        written.expect("the VF can write");
    }
    driver
        .device
        .dma_write(1, 0, &[1])
        .expect_err("nothing is mapped there");
    let truth = format!(
        "ok {:x}-{:x} {:x}-{:x}",
        FREE,
        FREE + 19,
        FREE + 0x1000,
        FREE + 0x1000
    );
    // A reset does not forget it.
    driver.device.reset(1);
    assert_eq!(ask(&mut driver, "written 0"), "ok");
    assert_eq!(ask(&mut driver, "written 1"), truth);
    assert_eq!(ask(&mut driver, "written 1"), "ok");
}

#[test]
fn the_firmware_can_be_ill() {
    let mut driver = Driver::new(0);
    for (line, syndrome) in [("health 8", 8), ("health 0", 0)] {
        assert_eq!(ask(&mut driver, line), "ok");
        assert_eq!((driver.read32(0x23c) >> 16) & 0xff, syndrome);
    }
}

#[test]
fn a_function_can_be_pulled_out() {
    let mut driver = started();
    driver.alloc_uar();
    assert_eq!(ask(&mut driver, "unplug 0"), "ok");
    let mut id = [0; 4];
    for function in [0, 1] {
        driver
            .device
            .config_read(function, 0, &mut id)
            .expect("in the space");
        assert_eq!(id, [0xff; 4]);
    }
    assert_eq!(driver.read32(0), u32::MAX);
    let (sent, found) = ring(&mut driver);
    assert_eq!(found, sent, "nobody listens");
    driver
        .device
        .config_write(1, 4, &[6, 0])
        .expect("in the space");
    driver
        .device
        .dma_write(1, FREE, &[1])
        .expect_err("it is not there");

    assert_eq!(ask(&mut driver, "plug 0"), "ok");
    driver
        .device
        .config_read(0, 0, &mut id)
        .expect("in the space");
    assert_eq!(id[..2], [0xb3, 0x15]);
    assert_eq!(driver.read32(0x14) & 0xffff_f000, 0, "as after a reset");
}

#[test]
fn the_firmware_can_start_anew() {
    let mut driver = started();
    let vf = input(16, &[(enable_hca_in::function_id, 1)]);
    driver.command(MLX5_CMD_OP_ENABLE_HCA, vf, 16);
    driver.alloc_uar();
    assert_eq!(ask(&mut driver, "reset-pf"), "ok");
    assert_eq!(driver.read32(0x14) & 0xffff_ff00, 1 << 8, "disabled");
    let (sent, found) = ring(&mut driver);
    assert_eq!(found, sent, "nobody listens");
    driver.function = 1;
    assert_ne!(driver.read32(0x1fc), 0, "the VF waits for its PF");
    driver.function = 0;
    driver.set_queue(BASE);
    assert_eq!(driver.read32(0x14) & 0xffff_ff00, BASE as u32, "enabled");
    driver.start();
    driver.alloc_uar();
}

#[test]
fn a_vf_can_be_pulled_out() {
    let mut driver = started();
    assert_eq!(ask(&mut driver, "unplug 1"), "ok");
    driver.alloc_uar();
    driver.function = 1;
    assert_eq!(driver.read32(0), u32::MAX);
}

#[test]
fn what_was_done_is_counted() {
    let mut driver = started();
    driver.alloc_uar();
    let counts = ask(&mut driver, "count");
    assert_eq!(counts, "ok commands=3 interrupts=0 reports=0 messages=0");
}

#[test]
fn nonsense_is_an_error_and_changes_nothing() {
    let mut driver = started();
    for line in [
        "",
        "refuse",
        "refuse 802",
        "refuse 802 0 1",
        "refuse 802 100 1",
        "refuse 10000 1 1",
        "refuse x 1 1",
        "refuse 802 -1 1",
        "refuse 802 1 1 100000000",
        "refuse 802 1 1 1 1",
        "swallow 802 1 1",
        "slow 802 36ee81 1",
        "report-delay ffffffffffffffff",
        "health 100",
        "written 2",
        "written ffffffffffffffff",
        "fail-tracker 0",
        "fail-tracker 1",
        "overrun 1",
        "qp-error 2",
        "unplug 2",
        "plug 2",
        "REFUSE 802 1 1",
        "ok",
    ] {
        assert!(ask(&mut driver, line).starts_with("error: "), "{line}");
    }
    driver.alloc_uar();
    for n in 0..65 {
        let answer = ask(&mut driver, "refuse 802 1 1");
        assert_eq!(answer == "ok", n < 64);
    }
    assert_eq!(ask(&mut driver, "forget"), "ok");
    driver.alloc_uar();
}

/// Sends this; the lines that come back.
fn talk(sent: &[u8]) -> Vec<String> {
    let device = Mutex::new(Device::new(1, &Limits::default()));
    let (mut ours, theirs) = UnixStream::pair().expect("sockets");
    thread::scope(|scope| {
        let server = scope.spawn(|| serve(&device, theirs));
        ours.write_all(sent).expect("it listens");
        ours.shutdown(Shutdown::Write).expect("it is open");
        let _ = server.join().expect("no panic");
        let lines = BufReader::new(&ours).lines();
        lines.map(|line| line.expect("a line")).collect()
    })
}

#[test]
fn lines_are_answered() {
    assert_eq!(talk(b"trackers\nhealth 0\r\n"), ["ok", "ok"]);
    let answers = talk(b"\n\xff\xfe\nnonsense\nforget\nno end");
    assert_eq!(answers.len(), 4);
    assert!(answers[..3].iter().all(|line| line.starts_with("error: ")));
    assert_eq!(answers[3], "ok");
}

#[test]
fn a_long_line_is_one_error() {
    let mut lines = b"forget ".repeat(1000);
    lines.extend(b"\nforget\n");
    let answers = talk(&lines);
    assert_eq!(answers.len(), 2);
    assert!(answers[0].starts_with("error: "));
    assert_eq!(answers[1], "ok");
}

/// Else a terminal that echoes would make it talk to itself.
#[test]
fn an_answer_is_not_answered() {
    assert_eq!(talk(b"ok\nerror: no\nforget\n"), ["ok"]);
}

proptest! {
    #[test]
    fn noise_in_a_line(line: String) {
        execute(&mut Device::new(1, &Limits::default()), &line);
    }

    #[test]
    fn noise_in_the_numbers(
        name in prop::sample::select(&[
            "refuse", "pass", "swallow", "slow", "report-delay", "mute", "cut", "fail-tracker", "overrun",
            "qp-error", "health", "reset-pf", "unplug", "plug", "written", "count", "trackers",
            "forget", "one-per-vhca", "object-event", "migration", "grow", "reinit",
        ][..]),
        numbers in prop::collection::vec(prop_oneof![0..10u64, any::<u64>()], 0..5),
    ) {
        let mut driver = started();
        let line = numbers.iter().fold(name.to_string(), |line, n| format!("{line} {n:x}"));
        let answer = ask(&mut driver, &line);
        prop_assert!(answer.starts_with("ok") || answer.starts_with("error: "));
        driver.device.pump();
    }

    #[test]
    fn noise_in_the_socket(noise in prop::collection::vec(any::<u8>(), 0..600)) {
        talk(&noise);
    }
}
