// SPDX-License-Identifier: GPL-2.0

//! The page tracker, used as mlx5-vfio-pci uses it: what the VF wrote is what is reported.

mod driver;

use std::collections::BTreeSet;
use std::time::Duration;

use driver::input;
use driver::Driver;
use driver::Interrupts;
use driver::BASE;
use driver::FREE;
use mlx5_model::bits::Field;
use mlx5_model::device::vhca_id;
use mlx5_model::device::EVENT_OBJECT_CHANGE;
use mlx5_model::ifc::*;
use mlx5_model::limits::Limits;
use proptest::prelude::*;

const VF: usize = 1;
const ENGINE: u64 = 0xf_f000;

/// In the free memory: queues, doorbell records, receive buffers; and what the VF writes to.
const EQ: u64 = FREE;
const ASYNC_EQ: u64 = FREE + 0x2000;
const CQ: u64 = FREE + 0x4000;
const RQ: u64 = FREE + 0x5000;
const RECORDS: u64 = FREE + 0x6000;
const BUFFERS: u64 = FREE + 0x1_0000;
const TARGET: u64 = FREE + 0x10_0000;
const TARGET_SIZE: u64 = 0x10_0000;

const LOG_RECEIVES: u32 = 2;
const RECEIVES: u32 = 1 << LOG_RECEIVES;
const LOG_MSG: u32 = 12;

const BAD_PARAM: u8 = 0x3;
const BAD_RES: u8 = 0x5;
const RES_BUSY: u8 = 0x6;
const LIMIT: u8 = 0x8;
const BAD_RES_STATE: u8 = 0x9;
const NO_RES: u8 = 0xf;

/// A driver that has all that a tracker needs.
struct Tracking {
    driver: Driver,
    irq: Interrupts,
    uar: u32,
    eqn: u8,
    cqn: u32,
    host_qpn: u32,
    fw_qpn: u32,
    posted: u16,
    consumed: u32,
}

fn enable_vf(driver: &mut Driver, vf: u64) {
    let vf = input(16, &[(enable_hca_in::function_id, vf)]);
    driver.command(MLX5_CMD_OP_ENABLE_HCA, vf, 16);
}

impl Tracking {
    fn new() -> Self {
        Self::with_limits(&Limits::default())
    }

    fn with_limits(limits: &Limits) -> Self {
        let mut driver = Driver::with_limits(2, limits);
        driver.start();
        enable_vf(&mut driver, 1);
        // The VF may do DMA.
        driver
            .device
            .config_write(VF, 4, &[6, 0])
            .expect("a register");
        let uar = driver.alloc_uar();
        let irq = driver.vector(1);
        let eqn = driver.create_eq(uar, EQ, 6, 1, 0);
        let events = (1 << EVENT_OBJECT_CHANGE)
            | (1 << 0x5)
            | (1 << 0x11)
            | (1 << MLX5_EVENT_TYPE_CODING_CQ_ERROR);
        driver.create_eq(uar, ASYNC_EQ, 6, 0, events);
        let pd = driver.command(MLX5_CMD_OP_ALLOC_PD, input(16, &[]), 16);
        let pd = pd.get(alloc_pd_out::pd);

        let c = create_cq_in::cq_context;
        let mut cq = input(
            create_cq_in::SIZE,
            &[
                (cqc::log_cq_size.within(c), LOG_RECEIVES.into()),
                (cqc::c_eqn_or_apu_element.within(c), eqn.into()),
                (cqc::uar_page.within(c), uar.into()),
                (cqc::dbr_addr.within(c), RECORDS),
            ],
        );
        cq.extend(CQ.to_be_bytes());
        driver.poke(CQ, &[0xf1; 64 * RECEIVES as usize]);
        let cqn = driver
            .command(MLX5_CMD_OP_CREATE_CQ, cq, 16)
            .get(create_cq_out::cqn) as u32;

        let m = create_mkey_in::memory_key_mkey_entry;
        let pages = u64::from(RECEIVES) << (LOG_MSG - 12);
        let mut mkey = input(
            create_mkey_in::SIZE,
            &[
                (mkc::access_mode_1_0.within(m), 1),
                (mkc::lw.within(m), 1),
                (mkc::mkey_7_0.within(m), 0x5a),
                (mkc::pd.within(m), pd),
                (mkc::len.within(m), pages << 12),
                (mkc::log_page_size.within(m), 12),
                (mkc::translations_octword_size.within(m), pages.div_ceil(2)),
            ],
        );
        for n in 0..pages.next_multiple_of(2) {
            mkey.extend((BUFFERS + n * 4096).to_be_bytes());
        }
        let mkey = driver.command(MLX5_CMD_OP_CREATE_MKEY, mkey, 16);
        let mkey = mkey.get(create_mkey_out::mkey_index) as u32;

        let q = create_qp_in::qpc;
        let common = [
            (qpc::no_sq.within(q), 1),
            (qpc::pd.within(q), pd),
            (qpc::uar_page.within(q), uar.into()),
        ];
        let receiver = [
            (qpc::log_rq_size.within(q), LOG_RECEIVES.into()),
            (qpc::cqn_rcv.within(q), cqn.into()),
            (qpc::dbr_addr.within(q), RECORDS + 64),
        ];
        let mut host = input(create_qp_in::SIZE, &[&common[..], &receiver[..]].concat());
        host.extend(RQ.to_be_bytes());
        let sender = [(qpc::rq_type.within(q), 3)];
        let fw = input(create_qp_in::SIZE, &[&common[..], &sender[..]].concat());
        let mut qpns = [host, fw].map(|qp| {
            let qp = driver.command(MLX5_CMD_OP_CREATE_QP, qp, 16);
            qp.get(create_qp_out::qpn)
        });
        for turn in 0..2 {
            let [qpn, remote] = qpns;
            let qp = |remote| {
                let remote = (qpc::remote_qpn.within(init2rtr_qp_in::qpc), remote);
                input(rst2init_qp_in::SIZE, &[(rst2init_qp_in::qpn, qpn), remote])
            };
            driver.command(MLX5_CMD_OP_RST2INIT_QP, qp(0), 16);
            driver.command(MLX5_CMD_OP_INIT2RTR_QP, qp(remote), 16);
            if turn == 1 {
                driver.command(MLX5_CMD_OP_RTR2RTS_QP, qp(0), 16);
            }
            qpns.reverse();
        }
        let [host_qpn, fw_qpn] = qpns.map(|qpn| qpn as u32);
        let mut tracking = Self {
            driver,
            irq,
            uar,
            eqn,
            cqn,
            host_qpn,
            fw_qpn,
            posted: 0,
            consumed: 0,
        };
        for n in 0..RECEIVES {
            let mut wqe = (1u32 << LOG_MSG).to_be_bytes().to_vec();
            wqe.extend(((mkey << 8) | 0x5a).to_be_bytes());
            wqe.extend((u64::from(n) << LOG_MSG).to_be_bytes());
            tracking.driver.poke(RQ + u64::from(n) * 16, &wqe);
            tracking.post();
        }
        tracking
    }

    fn post(&mut self) {
        self.posted += 1;
        let record = u32::from(self.posted).to_be_bytes();
        self.driver.poke(RECORDS + 64, &record);
    }

    fn tracker(&self, log_page: u64, ranges: &[(u64, u64)]) -> Vec<u8> {
        let o = create_page_track_obj_in::obj_context;
        let total: u64 = ranges.iter().map(|range| range.1).sum();
        let mut object = input(
            create_page_track_obj_in::SIZE,
            &[
                (general_obj_in_cmd_hdr::obj_type, MLX5_OBJ_TYPE_PAGE_TRACK),
                (page_track::vhca_id.within(o), vhca_id(1).into()),
                (page_track::track_type.within(o), 1),
                (page_track::log_page_size.within(o), log_page),
                (page_track::log_msg_size.within(o), LOG_MSG.into()),
                (page_track::reporting_qpn.within(o), self.fw_qpn.into()),
                (page_track::num_ranges.within(o), ranges.len() as u64),
                (
                    page_track::log_addr_space_size.within(o),
                    total.next_power_of_two().trailing_zeros().into(),
                ),
            ],
        );
        for (start, len) in ranges {
            object.extend(start.to_be_bytes());
            object.extend(len.to_be_bytes());
        }
        object
    }

    fn create(&mut self, log_page: u64, ranges: &[(u64, u64)]) -> u32 {
        let object = self.tracker(log_page, ranges);
        let reply = self
            .driver
            .command(MLX5_CMD_OP_CREATE_GENERAL_OBJECT, object, 16);
        reply.get(general_obj_out_cmd_hdr::obj_id) as u32
    }

    fn report_of(id: u32, start: u64, len: u64) -> Vec<u8> {
        let o = create_page_track_obj_in::obj_context;
        input(
            create_page_track_obj_in::SIZE,
            &[
                (general_obj_in_cmd_hdr::obj_type, MLX5_OBJ_TYPE_PAGE_TRACK),
                (general_obj_in_cmd_hdr::obj_id, id.into()),
                (page_track::modify_field_select.within(o), 3),
                (page_track::state.within(o), MLX5_PAGE_TRACK_STATE_REPORTING),
                (page_track::range_start_address.within(o), start),
                (page_track::length.within(o), len),
            ],
        )
    }

    fn state(&mut self, id: u32) -> u64 {
        let query = [
            (general_obj_in_cmd_hdr::obj_type, MLX5_OBJ_TYPE_PAGE_TRACK),
            (general_obj_in_cmd_hdr::obj_id, id.into()),
        ];
        let reply = self.driver.command(
            MLX5_CMD_OP_QUERY_GENERAL_OBJECT,
            input(16, &query),
            query_page_track_obj_out::SIZE,
        );
        reply.get(page_track::state.within(query_page_track_obj_out::obj_context))
    }

    /// The next completion: the state that it tells, and the addresses.
    fn poll(&mut self) -> Option<(u64, Vec<u64>)> {
        let index = self.consumed & (RECEIVES - 1);
        let cqe = self.driver.peek(CQ + u64::from(index) * 64, 64);
        let lap = ((self.consumed >> LOG_RECEIVES) & 1) as u8;
        if cqe[63] >> 4 == 0xf || cqe[63] & 1 != lap {
            return None;
        }
        assert_eq!(cqe[63] >> 4, 3, "a send with immediate");
        let word = |at: usize| u32::from_be_bytes(cqe[at..at + 4].try_into().expect("4 bytes"));
        let counter = u16::from_be_bytes([cqe[60], cqe[61]]);
        let buffer = u64::from(counter & (RECEIVES as u16 - 1)) << LOG_MSG;
        let data = self.driver.peek(BUFFERS + buffer, word(44) as usize);
        let addresses = data
            .chunks_exact(8)
            .map(|address| u64::from_be_bytes(address.try_into().expect("8 bytes")));
        self.consumed += 1;
        self.driver.poke(RECORDS, &self.consumed.to_be_bytes());
        Some(((word(36) >> 28).into(), addresses.collect()))
    }

    /// Reads as the driver does: until a message says that it is the last.
    fn read(&mut self, id: u32, start: u64, len: u64) -> BTreeSet<u64> {
        let report = Self::report_of(id, start, len);
        self.driver
            .command(MLX5_CMD_OP_MODIFY_GENERAL_OBJECT, report, 16);
        let mut found = BTreeSet::new();
        loop {
            let Some((state, addresses)) = self.poll() else {
                assert!(self.driver.device.waiting(), "there is more to come");
                self.driver.device.pump();
                continue;
            };
            assert!(state != MLX5_PAGE_TRACK_STATE_REPORTING || !addresses.is_empty());
            for address in addresses {
                assert!(found.insert(address), "{address:#x} is told twice");
            }
            self.post();
            if state != MLX5_PAGE_TRACK_STATE_REPORTING {
                assert_eq!(state, MLX5_PAGE_TRACK_STATE_TRACKING);
                return found;
            }
        }
    }

    fn vf_writes(&mut self, iova: u64, len: usize) {
        let written = self.driver.device.dma_write(VF, iova, &vec![0x5a; len]);
        written.expect("the VF can write");
    }

    fn arm(&mut self) {
        let at = u64::from(self.uar) * 4096 + 0x20;
        let mut doorbell = self.consumed.to_be_bytes().to_vec();
        doorbell.extend(self.cqn.to_be_bytes());
        mlx5_model::bar::write(&mut self.driver.device, 0, at, &doorbell).expect("in the BAR");
    }
}

fn pages(addresses: &[u64]) -> BTreeSet<u64> {
    addresses.iter().map(|page| TARGET + page * 4096).collect()
}

#[test]
fn what_was_written_is_reported_once() {
    let mut t = Tracking::new();
    let id = t.create(12, &[(TARGET, TARGET_SIZE)]);
    t.vf_writes(TARGET + 4096 - 2, 4);
    t.vf_writes(TARGET + 7 * 4096, 4096);
    assert_eq!(t.read(id, TARGET, TARGET_SIZE), pages(&[0, 1, 7]));
    assert_eq!(t.read(id, TARGET, TARGET_SIZE), pages(&[]));
    assert_eq!(t.state(id), MLX5_PAGE_TRACK_STATE_TRACKING);
}

#[test]
fn only_the_range_is_read() {
    let mut t = Tracking::new();
    let id = t.create(12, &[(TARGET, 16 * 4096), (TARGET + 32 * 4096, 4096)]);
    for page in [0, 5, 15, 16, 31, 32, 33] {
        t.vf_writes(TARGET + page * 4096, 1);
    }
    assert_eq!(t.read(id, TARGET + 5 * 4096, 4096), pages(&[5]));
    assert_eq!(
        t.read(id, TARGET, TARGET_SIZE),
        pages(&[0, 15, 32]),
        "what is not tracked is clean"
    );
}

/// Up to a fault, a write is one.
#[test]
fn half_a_write_is_reported() {
    let mut t = Tracking::new();
    let end = BASE + driver::SIZE;
    let id = t.create(12, &[(end - 0x4000, 0x8000)]);
    let data = [1; 0x2000];
    let written = t.driver.device.dma_write(VF, end - 0x1800, &data);
    written.expect_err("nothing is mapped behind the end");
    let half = BTreeSet::from([end - 0x2000, end - 0x1000]);
    assert_eq!(t.read(id, end - 0x4000, 0x8000), half);
    let truth = format!("ok {:x}-{:x}", end - 0x1800, end - 1);
    assert_eq!(ask(&mut t, "written 1"), truth);
}

#[test]
fn another_function_is_not_tracked() {
    let mut t = Tracking::new();
    let id = t.create(12, &[(TARGET, TARGET_SIZE)]);
    t.driver
        .device
        .config_write(2, 4, &[6, 0])
        .expect("a register");
    t.driver
        .device
        .dma_write(2, TARGET, &[1])
        .expect("it can write");
    t.driver
        .device
        .config_write(VF, 4, &[2, 0])
        .expect("a register");
    t.driver
        .device
        .dma_write(VF, TARGET, &[1])
        .expect_err("it is no bus master");
    assert_eq!(t.read(id, TARGET, TARGET_SIZE), pages(&[]));
}

#[test]
fn a_long_report_waits_for_receives() {
    let mut t = Tracking::new();
    let id = t.create(12, &[(0, 1 << 40)]);
    // More pages than the receives that are posted can hold.
    let many = u64::from(RECEIVES) * 512 + 100;
    let trackers = &mut t.driver.device.functions[0].objects.trackers;
    let tracker = trackers.get_mut(id).expect("the tracker");
    (0..many).for_each(|page| tracker.written(page << 13, 1));
    let all: BTreeSet<u64> = (0..many).map(|page| page << 13).collect();
    assert_eq!(t.read(id, 0, 1 << 40), all);
}

#[test]
fn a_report_ends_before_the_next_one() {
    let mut t = Tracking::new();
    let id = t.create(12, &[(0, 1 << 40)]);
    let trackers = &mut t.driver.device.functions[0].objects.trackers;
    let tracker = trackers.get_mut(id).expect("the tracker");
    (0..4096).for_each(|page| tracker.written(page << 12, 1));
    let report = Tracking::report_of(id, 0, 1 << 40);
    t.driver
        .command(MLX5_CMD_OP_MODIFY_GENERAL_OBJECT, report.clone(), 16);
    assert_eq!(t.state(id), MLX5_PAGE_TRACK_STATE_REPORTING);
    let reply = t
        .driver
        .try_command(MLX5_CMD_OP_MODIFY_GENERAL_OBJECT, report, 16);
    assert_eq!(reply.status(), BAD_RES_STATE);
}

#[test]
fn a_completion_interrupts_if_it_is_asked_for() {
    let mut t = Tracking::new();
    let id = t.create(12, &[(TARGET, TARGET_SIZE)]);
    let eq = u64::from(t.uar) * 4096 + 0x40;
    t.driver.write32(eq, u32::from(t.eqn) << 24);
    t.read(id, TARGET, TARGET_SIZE);
    assert_eq!(t.irq.count(), 0, "the CQ is not armed");
    t.arm();
    t.read(id, TARGET, TARGET_SIZE);
    assert_eq!(t.irq.count(), 1);
    let eqe = t.driver.peek(EQ, 64);
    assert_eq!((eqe[1], &eqe[56..60]), (0, &t.cqn.to_be_bytes()[..]));

    // What is there already counts.
    t.driver.write32(eq, (u32::from(t.eqn) << 24) | 1);
    t.consumed -= 1;
    t.arm();
    assert_eq!(t.irq.count(), 2);
}

#[test]
fn a_cq_that_nobody_reads_ends_the_tracking() {
    let mut t = Tracking::new();
    let id = t.create(12, &[(TARGET, TARGET_SIZE)]);
    for _ in 0..=RECEIVES {
        let report = Tracking::report_of(id, TARGET, TARGET_SIZE);
        t.driver
            .command(MLX5_CMD_OP_MODIFY_GENERAL_OBJECT, report, 16);
        t.post();
    }
    assert_eq!(t.state(id), MLX5_PAGE_TRACK_STATE_ERROR);
    let kinds: Vec<u8> = (0..3)
        .map(|n| t.driver.peek(ASYNC_EQ + n * 64, 64)[1])
        .collect();
    assert_eq!(kinds, [0x4, 0x11, EVENT_OBJECT_CHANGE]);
    let object = t.driver.peek(ASYNC_EQ + 2 * 64 + 32, 8);
    assert_eq!(object, [0, 0, 0, 0x46, 0, 0, 0, id as u8]);
    let report = Tracking::report_of(id, TARGET, TARGET_SIZE);
    let reply = t
        .driver
        .try_command(MLX5_CMD_OP_MODIFY_GENERAL_OBJECT, report, 16);
    assert_eq!(reply.status(), BAD_RES_STATE);
}

fn ask(t: &mut Tracking, line: &str) -> String {
    mlx5_model::control::execute(&mut t.driver.device, line)
}

/// An hour passes.
fn pass(t: &mut Tracking) {
    let started = &mut t.driver.device.started;
    *started = started
        .checked_sub(Duration::from_secs(3600))
        .expect("uptime");
    t.driver.device.pump();
}

fn ask_for_report(t: &mut Tracking, id: u32) -> u8 {
    let report = Tracking::report_of(id, TARGET, TARGET_SIZE);
    let reply = t
        .driver
        .try_command(MLX5_CMD_OP_MODIFY_GENERAL_OBJECT, report, 16);
    reply.status()
}

#[test]
fn a_report_can_be_late() {
    let mut t = Tracking::new();
    let id = t.create(12, &[(TARGET, TARGET_SIZE)]);
    assert_eq!(ask(&mut t, "report-delay 36ee80"), "ok");
    t.vf_writes(TARGET, 1);
    assert_eq!(ask_for_report(&mut t, id), 0);
    t.driver.device.pump();
    assert!(t.driver.device.waiting());
    assert_eq!(t.poll(), None);
    assert_eq!(ask_for_report(&mut t, id), BAD_RES_STATE);
    assert_eq!(ask(&mut t, "trackers"), "ok 1:c:1:1");
    // What is written before it begins is in it.
    t.vf_writes(TARGET + 4096, 1);
    pass(&mut t);
    let all = vec![TARGET, TARGET + 4096];
    assert_eq!(t.poll(), Some((MLX5_PAGE_TRACK_STATE_TRACKING, all)));
    assert_eq!(ask(&mut t, "trackers"), "ok 1:c:0:1");
    let counts = ask(&mut t, "count");
    assert!(counts.ends_with(" reports=1 messages=1"), "{counts}");
}

#[test]
fn a_report_can_be_mute() {
    let mut t = Tracking::new();
    let id = t.create(12, &[(TARGET, TARGET_SIZE)]);
    assert_eq!(ask(&mut t, "mute 1"), "ok");
    assert_eq!(ask_for_report(&mut t, id), 0);
    pass(&mut t);
    assert!(!t.driver.device.waiting());
    assert_eq!(t.poll(), None);
    assert_eq!(t.state(id), MLX5_PAGE_TRACK_STATE_REPORTING);
    let tracker = input(
        16,
        &[
            (general_obj_in_cmd_hdr::obj_type, MLX5_OBJ_TYPE_PAGE_TRACK),
            (general_obj_in_cmd_hdr::obj_id, id.into()),
        ],
    );
    t.driver
        .command(MLX5_CMD_OP_DESTROY_GENERAL_OBJECT, tracker, 16);
    let id = t.create(12, &[(TARGET, TARGET_SIZE)]);
    assert_eq!(t.read(id, TARGET, TARGET_SIZE), pages(&[]));
}

#[test]
fn a_report_can_be_cut() {
    for messages in [0, 1, 2, 9] {
        let mut t = Tracking::new();
        let id = t.create(12, &[(0, 1 << 40)]);
        let trackers = &mut t.driver.device.functions[0].objects.trackers;
        let tracker = trackers.get_mut(id).expect("the tracker");
        (0..2000).for_each(|page| tracker.written(TARGET + (page << 12), 1));
        assert_eq!(ask(&mut t, &format!("cut 1 {messages:x}")), "ok");
        let report = Tracking::report_of(id, 0, 1 << 40);
        t.driver
            .command(MLX5_CMD_OP_MODIFY_GENERAL_OBJECT, report, 16);
        // There are four: less than nine.
        for _ in 0..messages.min(4) {
            let (state, pages) = t.poll().expect("a message");
            assert_eq!(state, MLX5_PAGE_TRACK_STATE_REPORTING);
            assert!(!pages.is_empty());
        }
        assert_eq!(t.poll(), None);
        assert_eq!(t.state(id), MLX5_PAGE_TRACK_STATE_ERROR);
        assert_eq!(t.driver.peek(ASYNC_EQ, 64)[1], EVENT_OBJECT_CHANGE);
    }
}

#[test]
fn a_report_of_nothing_can_be_cut() {
    let mut t = Tracking::new();
    let id = t.create(12, &[(TARGET, TARGET_SIZE)]);
    assert_eq!(ask(&mut t, "cut 1 1"), "ok");
    assert_eq!(ask_for_report(&mut t, id), 0);
    assert_eq!(t.poll(), None);
    assert_eq!(t.state(id), MLX5_PAGE_TRACK_STATE_ERROR);
}

#[test]
fn what_a_tracker_uses_can_fail() {
    // The event, and what a report comes to then.
    for (what, event, status) in [
        ("fail-tracker 1", EVENT_OBJECT_CHANGE, BAD_RES_STATE),
        ("overrun 1", 0x4, 0),
        ("qp-error 1", 0x5, 0),
    ] {
        let mut t = Tracking::new();
        let id = t.create(12, &[(TARGET, TARGET_SIZE)]);
        t.vf_writes(TARGET, 1);
        assert_eq!(ask(&mut t, what), "ok");
        assert_eq!(t.driver.peek(ASYNC_EQ, 64)[1], event, "{what}");
        assert_eq!(ask_for_report(&mut t, id), status, "{what}");
        assert_eq!(t.poll(), None, "{what}");
        assert_eq!(t.state(id), MLX5_PAGE_TRACK_STATE_ERROR, "{what}");
    }
}

/// The status.
fn try_create(t: &mut Tracking, log_page: u64, ranges: &[(u64, u64)]) -> u8 {
    let object = t.tracker(log_page, ranges);
    let reply = t
        .driver
        .try_command(MLX5_CMD_OP_CREATE_GENERAL_OBJECT, object, 16);
    reply.status()
}

#[test]
fn limits_are_kept() {
    let mut t = Tracking::new();
    assert_eq!(try_create(&mut t, 11, &[(0, 4096)]), BAD_PARAM);
    assert_eq!(try_create(&mut t, 22, &[(0, 4096)]), BAD_PARAM);
    assert_eq!(try_create(&mut t, 12, &[(0, 1 << 43)]), BAD_PARAM);
    assert_eq!(try_create(&mut t, 12, &[(0, 0), (0, 4096)]), BAD_PARAM);
    assert_eq!(try_create(&mut t, 12, &[(u64::MAX, 4096)]), BAD_PARAM);
    assert_eq!(try_create(&mut t, 12, &[(0, 4096); 17]), LIMIT);
    t.fw_qpn = 99;
    assert_eq!(try_create(&mut t, 12, &[(0, 4096)]), BAD_RES);
    t.fw_qpn = t.host_qpn + 1;
    for _ in 0..4 {
        assert_eq!(try_create(&mut t, 12, &[(0, 4096); 16]), 0);
    }
    assert_eq!(try_create(&mut t, 12, &[(0, 4096)]), NO_RES);

    let limits = Limits {
        trackers: 1,
        ranges: 2,
        log_min_span: 13,
        log_max_span: 14,
        log_min_page: 13,
        log_max_page: 13,
        ..Limits::default()
    };
    let mut t = Tracking::with_limits(&limits);
    assert_eq!(try_create(&mut t, 12, &[(0, 8192)]), BAD_PARAM);
    assert_eq!(try_create(&mut t, 14, &[(0, 8192)]), BAD_PARAM);
    assert_eq!(try_create(&mut t, 13, &[(0, 4096)]), BAD_PARAM);
    assert_eq!(try_create(&mut t, 13, &[(0, 32768)]), BAD_PARAM);
    assert_eq!(try_create(&mut t, 13, &[(0, 4096); 3]), LIMIT);
    assert_eq!(try_create(&mut t, 13, &[(0, 8192); 2]), 0);
    assert_eq!(try_create(&mut t, 13, &[(0, 8192); 2]), NO_RES);
}

/// Firmware that has one tracker for each VHCA, however many there are for all.
#[test]
fn one_tracker_for_each_vhca() {
    let limits = Limits {
        one_per_vhca: RES_BUSY.into(),
        ..Limits::default()
    };
    let mut t = Tracking::with_limits(&limits);
    let id = t.create(12, &[(TARGET, TARGET_SIZE)]);
    assert_eq!(try_create(&mut t, 12, &[(0, 4096)]), RES_BUSY);
    // Also as a fault, which has the last word.
    assert_eq!(ask(&mut t, "one-per-vhca 5"), "ok");
    assert_eq!(try_create(&mut t, 12, &[(0, 4096)]), BAD_RES);
    assert_eq!(ask(&mut t, "forget"), "ok");
    assert_eq!(try_create(&mut t, 12, &[(0, 4096)]), RES_BUSY);
    // The first one does not care.
    t.vf_writes(TARGET, 1);
    assert_eq!(ask_for_report(&mut t, id), 0);

    let mut t = Tracking::new();
    t.create(12, &[(TARGET, TARGET_SIZE)]);
    assert_eq!(try_create(&mut t, 12, &[(0, 4096)]), 0);
    assert_eq!(ask(&mut t, "one-per-vhca f"), "ok");
    assert_eq!(try_create(&mut t, 12, &[(0, 4096)]), NO_RES);
    assert!(ask(&mut t, "one-per-vhca 7").starts_with("error"));
}

#[test]
fn events_of_other_objects() {
    let mut t = Tracking::new();
    let id = t.create(12, &[(TARGET, TARGET_SIZE)]) as u8;
    assert_eq!(ask(&mut t, "object-event 22 1"), "ok");
    let event = t.driver.peek(ASYNC_EQ, 64);
    assert_eq!(event[1], EVENT_OBJECT_CHANGE);
    assert_eq!(event[32..40], [0, 0, 0, 0x22, 0, 0, 0, id]);
}

#[test]
fn what_is_in_use_stays() {
    let mut t = Tracking::new();
    let id = t.create(12, &[(TARGET, TARGET_SIZE)]);
    let object = |field: Field, id: u32| input(16, &[(field, id.into())]);
    let (qp, cq, eq) = (
        destroy_qp_in::qpn,
        destroy_cq_in::cqn,
        destroy_eq_in::eq_number,
    );
    let tracker = input(
        16,
        &[
            (general_obj_in_cmd_hdr::obj_type, MLX5_OBJ_TYPE_PAGE_TRACK),
            (general_obj_in_cmd_hdr::obj_id, id.into()),
        ],
    );
    // In the order in which the driver has to go.
    let steps = [
        (MLX5_CMD_OP_DESTROY_GENERAL_OBJECT, tracker),
        (MLX5_CMD_OP_DESTROY_QP, object(qp, t.fw_qpn)),
        (MLX5_CMD_OP_DESTROY_QP, object(qp, t.host_qpn)),
        (MLX5_CMD_OP_DESTROY_CQ, object(cq, t.cqn)),
        (MLX5_CMD_OP_DESTROY_EQ, object(eq, t.eqn.into())),
    ];
    for (opcode, object) in [&steps[1], &steps[3], &steps[4]] {
        let reply = t.driver.try_command(*opcode, object.clone(), 16);
        assert_eq!(reply.status(), RES_BUSY, "opcode {opcode:#x}");
    }
    for (opcode, object) in steps {
        t.driver.command(opcode, object.clone(), 16);
        let reply = t.driver.try_command(opcode, object, 16);
        assert_eq!(reply.status(), BAD_RES, "opcode {opcode:#x}");
    }
}

#[test]
fn the_engine_writes_what_it_says() {
    let mut t = Tracking::new();
    let id = t.create(12, &[(TARGET, TARGET_SIZE)]);
    let registers = [(0x00, (TARGET >> 32) as u32), (0x04, TARGET as u32 + 0x800)];
    let fill = [(0x08, 0x1804), (0x0c, 0xdead_beef), (0x18, 1)];
    t.driver.function = VF;
    for (register, value) in registers.into_iter().chain(fill) {
        t.driver.write32(ENGINE + register, value);
    }
    assert_eq!(t.driver.read32(ENGINE + 0x18), 0, "no write failed");
    assert_eq!(t.driver.peek(TARGET + 0x7fc, 4), [0; 4]);
    assert_eq!(
        t.driver.peek(TARGET + 0x2000, 8),
        [0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 0]
    );

    // A storm: what it changed in memory is what it wrote.
    let storm = [
        (0x04, (TARGET + 0x1_0000) as u32),
        (0x08, 0x8_0000),
        (0x10, 40),
        (0x14, 7),
        (0x18, 2),
    ];
    for (register, value) in storm {
        t.driver.write32(ENGINE + register, value);
    }
    t.driver.function = 0;
    let memory = t.driver.peek(TARGET, TARGET_SIZE as usize);
    let truth = memory.chunks(4096).enumerate();
    let truth: Vec<u64> = truth
        .filter(|(_, page)| page.iter().any(|byte| *byte != 0))
        .map(|(page, _)| page as u64)
        .collect();
    assert!(truth.len() > 20);
    assert_eq!(t.read(id, TARGET, TARGET_SIZE), pages(&truth));

    // Where nothing is mapped.
    t.driver.function = VF;
    t.driver.write32(ENGINE, (BASE >> 32) as u32 + 1);
    t.driver.write32(ENGINE + 0x18, 2);
    assert_eq!(t.driver.read32(ENGINE + 0x18), 40, "every write failed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Writes and reads of any range, with pages of any size, against a set of pages.
    #[test]
    fn any_writes_any_reads(
        log_page in 12..=16u64,
        steps in prop::collection::vec((0..TARGET_SIZE, 1..0x8000u64, 0..4u8), 1..40),
    ) {
        let mut t = Tracking::new();
        let id = t.create(log_page, &[(TARGET, TARGET_SIZE)]);
        let mut truth = BTreeSet::new();
        for (offset, len, what) in steps {
            let len = len.min(TARGET_SIZE - offset);
            let iova = TARGET + offset;
            let touched = iova >> log_page..=(iova + len - 1) >> log_page;
            if what > 0 {
                t.vf_writes(iova, len as usize);
                truth.extend(touched.map(|page| page << log_page));
            } else {
                let expected: BTreeSet<u64> = touched
                    .map(|page| page << log_page)
                    .filter(|page| truth.remove(page))
                    .collect();
                prop_assert_eq!(t.read(id, iova, len), expected);
            }
        }
        prop_assert_eq!(t.read(id, TARGET, TARGET_SIZE), truth);
    }

    /// The objects' commands with contexts of noise, and the doorbells for what came of it.
    #[test]
    fn noise_in_the_objects(
        opcode in prop::sample::select(&[0x200u64, 0x400, 0x500, 0x502, 0x503, 0x504, 0xa00, 0xa01, 0xa02, 0xa03][..]),
        mut context in prop::collection::vec(any::<u8>(), 16..700),
        keep in any::<[bool; 4]>(),
    ) {
        let mut t = Tracking::new();
        let id = t.create(12, &[(TARGET, TARGET_SIZE)]);
        t.vf_writes(TARGET, 9000);
        // Half of the time what leads further.
        if keep[0] {
            context[6..8].copy_from_slice(&[0, 0x46]);
        }
        if keep[1] {
            context[8..12].copy_from_slice(&id.to_be_bytes());
        }
        if keep[2] {
            context.resize(304, 0);
        }
        t.driver.try_command(opcode, context, 16);
        t.arm();
        let _ = t.driver.try_command(MLX5_CMD_OP_MODIFY_GENERAL_OBJECT, Tracking::report_of(id, 0, u64::MAX), 16);
        t.driver.device.pump();
    }
}
