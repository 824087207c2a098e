// SPDX-License-Identifier: GPL-2.0

//! Suspend, save, load, resume: a VF goes on elsewhere where it stopped.

mod driver;

use driver::input;
use driver::Driver;
use driver::FREE;
use mlx5_model::ifc::*;
use mlx5_model::image;
use proptest::prelude::*;

const VF_QUEUE: u64 = driver::BASE + 0x8_0000;
const BUFFER: u64 = FREE + 0x8_0000;
const PAGES: u64 = 32;
const ENGINE: u64 = 0xf_f000;

const BAD_PARAM: u8 = 0x3;
const LIMIT: u8 = 0x8;
const BAD_RES_STATE: u8 = 0x9;

struct Migration {
    driver: Driver,
    mkey: u64,
}

impl Migration {
    /// A PF with two VFs, and a key for a buffer.
    fn new() -> Self {
        let mut driver = Driver::new(2);
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
                (suspend_vhca_in::vhca_id, vf),
                (suspend_vhca_in::op_mod, op_mod),
            ];
            self.driver
                .command(MLX5_CMD_OP_SUSPEND_VHCA, input(16, &fields), 8);
        }
    }

    fn resume(&mut self, vf: u64) {
        for op_mod in [0, 1] {
            let fields = [
                (resume_vhca_in::vhca_id, vf),
                (resume_vhca_in::op_mod, op_mod),
            ];
            self.driver
                .command(MLX5_CMD_OP_RESUME_VHCA, input(16, &fields), 8);
        }
    }

    fn size(&mut self, vf: u64) -> u64 {
        let query = input(16, &[(query_vhca_migration_state_in::vhca_id, vf)]);
        let size = query_vhca_migration_state_out::SIZE;
        let out = self
            .driver
            .command(MLX5_CMD_OP_QUERY_VHCA_MIGRATION_STATE, query, size);
        out.get(query_vhca_migration_state_out::required_umem_size)
    }

    fn save(&mut self, vf: u64, room: u64, flags: (u64, u64)) -> driver::Reply {
        use save_vhca_state_in::*;
        let fields = [
            (vhca_id, vf),
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
        let fields = [(vhca_id, vf), (mkey, self.mkey), (size, len)];
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
        let id = cmd_hca_cap::vhca_id.within(query_hca_cap_out::capability);
        assert_eq!(caps.get(id), 2);
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
    let suspend = input(16, &[(suspend_vhca_in::vhca_id, 1)]);
    let reply = m.driver.try_command(MLX5_CMD_OP_SUSPEND_VHCA, suspend, 8);
    assert_eq!(reply.status(), BAD_RES_STATE, "suspended already");
    m.resume(1);
}

#[test]
fn a_running_vf_is_saved_in_rounds() {
    let mut m = Migration::new();
    m.on_vf(1, begin);
    assert_eq!(m.save(1, PAGES * 4096, (0, 1)).status(), 0);
    m.on_vf(1, |driver| driver.write32(ENGINE + 0x08, 0x77));
    assert_eq!(m.save(1, PAGES * 4096, (1, 1)).status(), 0);
    m.suspend(1);
    let last = m.save(1, PAGES * 4096, (1, 0));
    assert_eq!(last.status(), 0);
    m.suspend(2);
    assert_eq!(
        m.load(2, last.get(save_vhca_state_out::actual_image_size)),
        0
    );
    m.on_vf(2, |driver| assert_eq!(driver.read32(ENGINE + 0x08), 0x77));
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
        m.load(2, size - cut % size);
        m.resume(2);
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
