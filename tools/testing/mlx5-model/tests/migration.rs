// SPDX-License-Identifier: GPL-2.0

//! Suspend, save, load, resume: a VF goes on elsewhere where it stopped.

mod driver;

use driver::input;
use driver::Driver;
use driver::FREE;
use mlx5_model::control;
use mlx5_model::device;
use mlx5_model::ifc::*;
use mlx5_model::image;
use mlx5_model::limits::Limits;
use proptest::prelude::*;
use std::time::Duration;

const VF_QUEUE: u64 = driver::BASE + 0x8_0000;
const BUFFER: u64 = FREE + 0x8_0000;
const PAGES: u64 = 32;
const ENGINE: u64 = 0xf_f000;

const BAD_PARAM: u8 = 0x3;
const LIMIT: u8 = 0x8;
const BAD_RES_STATE: u8 = 0x9;

/// By what the firmware knows a VF.
fn id(vf: u64) -> u64 {
    device::vhca_id(vf as u16).into()
}

struct Migration {
    driver: Driver,
    mkey: u64,
}

impl Migration {
    /// A PF with two VFs, and a key for a buffer.
    fn new() -> Self {
        Self::with_limits(&Limits::default())
    }

    /// As above, of a device with these limits.
    fn with_limits(limits: &Limits) -> Self {
        let mut driver = Driver::with_limits(2, limits);
        driver.start();
        for vf in [1, 2] {
            let vf = input(16, &[(enable_hca_in::function_id, vf)]);
            driver.command(MLX5_CMD_OP_ENABLE_HCA, vf, 8);
        }
        let pd = driver.command(MLX5_CMD_OP_ALLOC_PD, input(16, &[]), 16);
        let m = create_mkey_in::memory_key_mkey_entry;
        let mut mkey = input(
            create_mkey_in::SIZE,
            &[
                (mkc::access_mode_1_0.within(m), 1),
                (mkc::lw.within(m), 1),
                (mkc::lr.within(m), 1),
                (mkc::pd.within(m), pd.get(alloc_pd_out::pd)),
                (mkc::len.within(m), PAGES * 4096),
                (mkc::log_page_size.within(m), 12),
                (mkc::translations_octword_size.within(m), PAGES / 2),
            ],
        );
        for n in 0..PAGES {
            mkey.extend((BUFFER + n * 4096).to_be_bytes());
        }
        let mkey = driver.command(MLX5_CMD_OP_CREATE_MKEY, mkey, 16);
        let mkey = mkey.get(create_mkey_out::mkey_index) << 8;
        Self { driver, mkey }
    }

    /// Runs `f` as the driver of a VF, with a command queue of its own.
    fn on_vf<T>(&mut self, vf: usize, f: impl FnOnce(&mut Driver) -> T) -> T {
        self.driver.function = vf;
        let result = f(&mut self.driver);
        self.driver.function = 0;
        result
    }

    fn suspend(&mut self, vf: u64) {
        for op_mod in [0, 1] {
            let fields = [
                (suspend_vhca_in::vhca_id, id(vf)),
                (suspend_vhca_in::op_mod, op_mod),
            ];
            self.driver
                .command(MLX5_CMD_OP_SUSPEND_VHCA, input(16, &fields), 8);
        }
    }

    fn try_resume(&mut self, vf: u64) -> u8 {
        let statuses = [0, 1].map(|op_mod| {
            let fields = [
                (resume_vhca_in::vhca_id, id(vf)),
                (resume_vhca_in::op_mod, op_mod),
            ];
            let resume = input(16, &fields);
            let reply = self.driver.try_command(MLX5_CMD_OP_RESUME_VHCA, resume, 8);
            reply.status()
        });
        statuses[0]
    }

    fn resume(&mut self, vf: u64) {
        assert_eq!(self.try_resume(vf), 0);
    }

    fn query(&mut self, vf: u64, flags: (u64, u64)) -> driver::Reply {
        use query_vhca_migration_state_in::*;
        let fields = [(vhca_id, id(vf)), (incremental, flags.0), (chunk, flags.1)];
        let size = query_vhca_migration_state_out::SIZE;
        let query = input(16, &fields);
        self.driver
            .try_command(MLX5_CMD_OP_QUERY_VHCA_MIGRATION_STATE, query, size)
    }

    fn size(&mut self, vf: u64) -> u64 {
        let out = self.query(vf, (0, 0));
        assert_eq!(out.status(), 0);
        out.get(query_vhca_migration_state_out::required_umem_size)
    }

    /// What was saved last, and loads it into another VF.
    fn carry(&mut self, saved: &driver::Reply, vf: u64) {
        assert_eq!(saved.status(), 0);
        let len = saved.get(save_vhca_state_out::actual_image_size);
        assert_eq!(self.load(vf, len), 0);
    }

    fn save(&mut self, vf: u64, room: u64, flags: (u64, u64)) -> driver::Reply {
        use save_vhca_state_in::*;
        let fields = [
            (vhca_id, id(vf)),
            (mkey, self.mkey),
            (size, room),
            (incremental, flags.0),
            (set_track, flags.1),
        ];
        let input = input(save_vhca_state_in::SIZE, &fields);
        self.driver
            .try_command(MLX5_CMD_OP_SAVE_VHCA_STATE, input, 16)
    }

    fn load(&mut self, vf: u64, len: u64) -> u8 {
        use load_vhca_state_in::*;
        let fields = [(vhca_id, id(vf)), (mkey, self.mkey), (size, len)];
        let input = input(load_vhca_state_in::SIZE, &fields);
        self.driver
            .try_command(MLX5_CMD_OP_LOAD_VHCA_STATE, input, 8)
            .status()
    }
}

/// What a driver of a VF has done before the migration. Its UAR and its EQ.
fn begin(driver: &mut Driver) -> (u32, u8) {
    driver.set_queue(driver::BASE);
    driver.start();
    let uar = driver.alloc_uar();
    let eqn = driver.create_eq(uar, FREE, 4, 1, 1 << 0xa);
    for (register, value) in [(0x08, 0x1234), (0x0c, 0xabcd), (0x14, 99)] {
        driver.write32(ENGINE + register, value);
    }
    (uar, eqn)
}

#[test]
fn a_vf_goes_on_elsewhere() {
    let mut m = Migration::new();
    let (uar, eqn) = m.on_vf(1, begin);
    let nop = |driver: &mut Driver| {
        driver.command(MLX5_CMD_OP_QUERY_ISSI, input(16, &[]), query_issi_out::SIZE);
    };
    m.on_vf(1, nop);
    m.suspend(1);
    let size = m.size(1);
    assert!(size > 0 && size <= PAGES * 4096);
    let saved = m.save(1, PAGES * 4096, (0, 0));
    assert_eq!(
        (
            saved.status(),
            saved.get(save_vhca_state_out::actual_image_size)
        ),
        (0, size)
    );
    assert_eq!(saved.get(save_vhca_state_out::next_required_umem_size), 0);

    m.suspend(2);
    assert_eq!(m.load(2, size), 0);
    m.resume(2);
    m.on_vf(2, |driver| {
        assert_eq!(driver.read32(ENGINE + 0x08), 0x1234);
        assert_eq!(driver.read32(ENGINE + 0x14), 99);
        // The EQ goes on behind the event that it had.
        nop(driver);
        let eqe = driver.peek(FREE + 64, 64);
        assert_eq!((eqe[1], eqe[63]), (0xa, 0));
        let irq = driver.vector(1);
        driver.write32(u64::from(uar) * 4096 + 0x40, (u32::from(eqn) << 24) | 2);
        nop(driver);
        assert_eq!(irq.count(), 1);
        // But its number is that of its place.
        let query = input(16, &[(query_hca_cap_in::op_mod, 1)]);
        let caps = driver.command(MLX5_CMD_OP_QUERY_HCA_CAP, query, query_hca_cap_out::SIZE);
        let field = cmd_hca_cap::vhca_id.within(query_hca_cap_out::capability);
        assert_eq!(caps.get(field), id(2));
    });
}

#[test]
fn a_suspended_vf_stands_still() {
    let mut m = Migration::new();
    m.on_vf(1, begin);
    m.driver
        .device
        .config_write(1, 4, &[6, 0])
        .expect("a register");
    m.driver.device.dma_write(1, BUFFER, &[1]).expect("it runs");
    m.suspend(1);
    m.driver
        .device
        .dma_write(1, BUFFER, &[2])
        .expect_err("it is suspended");
    assert_eq!(m.driver.peek(BUFFER, 1), [1]);

    // A command waits until it is resumed.
    let entry = m.on_vf(1, |driver| {
        driver.set_queue(VF_QUEUE);
        let issi = input(16, &[(query_issi_in::opcode, MLX5_CMD_OP_QUERY_ISSI)]);
        let entry = driver.prepare(&issi, query_issi_out::SIZE);
        driver.poke(VF_QUEUE, &entry);
        driver.write32(0x18, 1);
        driver.peek(VF_QUEUE, 64)
    });
    assert_eq!(entry[63] & 1, 1, "the entry is the hardware's");
    m.resume(1);
    assert_eq!(m.driver.peek(VF_QUEUE + 63, 1)[0] & 1, 0, "it came back");
}

#[test]
fn the_order_is_kept() {
    let mut m = Migration::new();
    assert_eq!(m.save(1, 4096, (0, 0)).status(), BAD_RES_STATE, "it runs");
    assert_eq!(
        m.save(1, 4096, (1, 0)).status(),
        BAD_RES_STATE,
        "it is not tracked"
    );
    assert_eq!(m.load(1, 4096), BAD_RES_STATE, "it runs");
    m.suspend(1);
    assert_eq!(m.save(1, 16, (0, 0)).status(), LIMIT, "no room");
    m.driver.poke(BUFFER, &[0; 4096]);
    assert_eq!(m.load(1, 4096), BAD_PARAM, "not an image");
    m.driver.device.reset(1);
    m.suspend(1);
    let suspend = input(16, &[(suspend_vhca_in::vhca_id, id(1))]);
    let reply = m.driver.try_command(MLX5_CMD_OP_SUSPEND_VHCA, suspend, 8);
    assert_eq!(reply.status(), BAD_RES_STATE, "suspended already");
    m.resume(1);
}

#[test]
fn a_running_vf_is_saved_in_rounds() {
    let mut m = Migration::new();
    m.on_vf(1, begin);
    m.suspend(2);
    let size = m.size(1);
    let first = m.save(1, PAGES * 4096, (0, 1));
    m.carry(&first, 2);
    let query = m.query(1, (1, 0));
    let needed = query_vhca_migration_state_out::required_umem_size;
    assert_eq!(query.get(needed), 0, "nothing has changed");
    assert_eq!(m.try_resume(2), BAD_RES_STATE, "it is not whole");

    m.on_vf(1, |driver| driver.write32(ENGINE + 0x08, 0x77));
    let query = m.query(1, (1, 0));
    assert!((1..size).contains(&query.get(needed)), "less than all");
    let delta = m.save(1, PAGES * 4096, (1, 1));
    m.carry(&delta, 2);
    m.suspend(1);
    assert_eq!(m.query(1, (1, 0)).status(), 0);
    let last = m.save(1, PAGES * 4096, (1, 0));
    m.carry(&last, 2);
    m.resume(2);
    m.on_vf(2, |driver| assert_eq!(driver.read32(ENGINE + 0x08), 0x77));
    assert_eq!(
        m.save(1, PAGES * 4096, (1, 0)).status(),
        BAD_RES_STATE,
        "that was the last"
    );
}

/// What is left out, comes twice, or is of another stream.
#[test]
fn a_delta_has_its_place() {
    let mut m = Migration::new();
    m.on_vf(1, begin);
    m.suspend(2);
    let change = |m: &mut Migration, value| {
        m.on_vf(1, |driver| driver.write32(ENGINE + 0x08, value));
    };
    for what in ["a gap", "again", "of another", "no base"] {
        let first = m.save(1, PAGES * 4096, (0, 1));
        if what != "no base" {
            m.carry(&first, 2);
        }
        change(&mut m, 1);
        let mut delta = m.save(1, PAGES * 4096, (1, 1));
        match what {
            "a gap" => {
                change(&mut m, 2);
                delta = m.save(1, PAGES * 4096, (1, 1));
            }
            "again" => m.carry(&delta, 2),
            "of another" => {
                m.save(1, PAGES * 4096, (0, 1));
                change(&mut m, 3);
                delta = m.save(1, PAGES * 4096, (1, 1));
            }
            _ => (),
        }
        let len = delta.get(save_vhca_state_out::actual_image_size);
        assert_eq!(m.load(2, len), BAD_PARAM, "{what}");
        // It has half a state, until it is reset.
        assert_eq!(m.try_resume(2), BAD_RES_STATE, "{what}");
        assert_eq!(m.load(2, len), BAD_RES_STATE, "{what}");
        m.driver.device.reset(2);
        m.suspend(2);
    }
}

#[test]
fn what_is_suspended_is_not_tracked() {
    let mut m = Migration::new();
    m.on_vf(1, begin);
    assert_eq!(m.query(1, (1, 0)).status(), BAD_RES_STATE, "not tracked");
    m.suspend(1);
    assert_eq!(m.save(1, PAGES * 4096, (0, 1)).status(), BAD_RES_STATE);
    m.resume(1);
    assert_eq!(m.save(1, PAGES * 4096, (0, 1)).status(), 0);
    // That ends it, and takes no memory.
    m.mkey = 0;
    let end = m.save(1, 0, (0, 0));
    assert_eq!(end.status(), 0);
    assert_eq!(end.get(save_vhca_state_out::actual_image_size), 0);
    assert_eq!(m.query(1, (1, 0)).status(), BAD_RES_STATE, "not tracked");
}

#[test]
fn a_state_in_chunks() {
    const CHUNK: u64 = 1 << 12;
    let mut m = Migration::with_limits(&Limits {
        log_chunk: 12,
        ballast: 100_000,
        ..Limits::default()
    });
    m.on_vf(1, begin);
    m.suspend(2);
    let query = m.query(1, (0, 1));
    let total = query.get(query_vhca_migration_state_out::remaining_total_size);
    assert!(total > 100_000);
    let needed = query_vhca_migration_state_out::required_umem_size;
    assert_eq!(query.get(needed), CHUNK);

    // The first while it runs, and it is not all. The rest when it is stopped, and what changed.
    let first = m.save(1, CHUNK, (0, 1));
    m.carry(&first, 2);
    let query = m.query(1, (1, 1));
    assert_eq!(query.get(needed), CHUNK);
    m.on_vf(1, |driver| driver.write32(ENGINE + 0x08, 0x99));
    m.driver.device.functions[1].ballast += 50_000;
    m.suspend(1);
    let mut chunks = 0;
    loop {
        let chunk = m.save(1, CHUNK, (1, 0));
        m.carry(&chunk, 2);
        chunks += 1;
        match chunk.get(save_vhca_state_out::next_required_umem_size) {
            0 => break,
            next => assert!(next <= CHUNK),
        }
        assert_eq!(m.try_resume(2), BAD_RES_STATE, "it is not whole");
    }
    assert!(chunks > 150_000 / CHUNK);
    m.resume(2);
    m.on_vf(2, |driver| assert_eq!(driver.read32(ENGINE + 0x08), 0x99));
    assert_eq!(m.driver.device.functions[2].ballast, 150_000);
}

#[test]
fn how_far_it_is() {
    let state = query_vhca_migration_state_out::migration_state;
    let mut m = Migration::new();
    m.on_vf(1, begin);
    let ask = |m: &mut Migration, line: &str| control::execute(&mut m.driver.device, line);
    assert_eq!(
        m.query(1, (0, 0)).get(state),
        MLX5_QUERY_VHCA_MIG_STATE_OPER_MIGRATION_IDLE
    );
    m.save(1, PAGES * 4096, (0, 1));
    assert_eq!(
        m.query(1, (1, 0)).get(state),
        MLX5_QUERY_VHCA_MIG_STATE_OPER_MIGRATION_READY
    );
    assert_eq!(ask(&mut m, "grow 1 100"), "ok");
    assert_eq!(
        m.query(1, (1, 0)).get(state),
        MLX5_QUERY_VHCA_MIG_STATE_OPER_MIGRATION_DIRTY
    );
    assert_eq!(ask(&mut m, "migration"), "ok saves=1 keys=1 tracked=1");
    assert_eq!(ask(&mut m, "reinit 1"), "ok");
    assert_eq!(
        m.query(1, (1, 0)).get(state),
        MLX5_QUERY_VHCA_MIG_STATE_OPER_MIGRATION_INIT
    );
    m.save(1, PAGES * 4096, (1, 1));
    assert_eq!(
        m.query(1, (1, 0)).get(state),
        MLX5_QUERY_VHCA_MIG_STATE_OPER_MIGRATION_READY
    );
    m.save(1, PAGES * 4096, (0, 0));
    assert_eq!(ask(&mut m, "migration"), "ok saves=2 keys=1 tracked=0");
    for line in ["grow 0 1", "grow 3 1", "grow 1 10000000001", "reinit 0"] {
        assert!(ask(&mut m, line).starts_with("error:"), "{line}");
    }
}

#[test]
fn one_save_at_a_time() {
    let mut m = Migration::new();
    m.on_vf(1, begin);
    assert_eq!(m.save(1, PAGES * 4096, (0, 1)).status(), 0);
    m.on_vf(1, |driver| driver.write32(ENGINE + 0x08, 0x77));
    // It takes an hour.
    let slow = format!("slow {MLX5_CMD_OP_SAVE_VHCA_STATE:x} 36ee80 1");
    assert_eq!(control::execute(&mut m.driver.device, &slow), "ok");
    use save_vhca_state_in::*;
    let fields = [
        (opcode, MLX5_CMD_OP_SAVE_VHCA_STATE),
        (vhca_id, id(1)),
        (mkey, m.mkey),
        (size, PAGES * 4096),
        (incremental, 1),
        (set_track, 1),
    ];
    let save = input(save_vhca_state_in::SIZE, &fields);
    let entry = m.driver.prepare(&save, 16);
    m.driver.poke(driver::BASE + 64, &entry);
    m.driver.write32(0x18, 1 << 1);

    assert_eq!(m.query(1, (1, 0)).status(), BAD_RES_STATE);
    assert_eq!(m.query(1, (0, 0)).status(), 0);
    assert_eq!(m.save(1, PAGES * 4096, (1, 1)).status(), BAD_RES_STATE);
    // It fails if it is suspended before it is done.
    m.suspend(1);
    m.driver.device.late[0].due = Some(Duration::ZERO);
    m.driver.device.pump();
    let entry = m.driver.peek(driver::BASE + 64, 64);
    assert_eq!(entry[63] & 1, 0, "it came back");
    assert_eq!(entry[32], BAD_RES_STATE);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A damaged image is refused or loaded, and the VF lives on.
    #[test]
    fn damaged_images(changes in prop::collection::vec((0..9000usize, any::<u8>()), 1..8), cut in 0..9000u64) {
        let mut m = Migration::new();
        m.on_vf(1, begin);
        m.suspend(1);
        let size = m.size(1);
        m.save(1, PAGES * 4096, (0, 0));
        for (at, byte) in changes {
            m.driver.poke(BUFFER + at as u64 % size, &[byte]);
        }
        m.suspend(2);
        if m.load(2, size - cut % size) == 0 {
            m.resume(2);
        } else {
            assert_eq!(m.try_resume(2), BAD_RES_STATE);
            m.driver.device.reset(2);
        }
        m.on_vf(2, |driver| {
            driver.write32(0x18, u32::MAX);
            driver.write32(0x10 * 4096 + 0x40, 1 << 24);
        });
        m.driver.device.pump();
    }

    /// The same in the other direction: what is loaded is what was saved.
    #[test]
    fn images_are_exact(values: Vec<(u8, u64)>, flag: Option<bool>) {
        let values: std::collections::BTreeMap<u8, u64> = values.into_iter().collect();
        prop_assert_eq!(image::load(&image::save(&values)), Some(values));
        prop_assert_eq!(image::load(&image::save(&flag)), Some(flag));
    }
}
