// SPDX-License-Identifier: GPL-2.0

//! Replies to commands and capabilities as a firmware may send them that means ill, or is broken.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vfio_mlx5_logic::{
    cmd::{
        mkey::{
            self,
            Mkey, //
        },
        object::{
            self,
            Id, //
        },
        qp::{
            self,
            Qpn, //
        },
        Command,
        Reply, //
    },
    limits::{
        cqe_version,
        log_max_msg,
        plan,
        Limits, //
    },
    range::Range,
    report::State, //
};

/// What the firmware has named, it is given back: no number of it may be too large for that.
fn give_back(command: &impl Command) {
    let mut mailbox = vec![0; command.size()];
    let encoded = vfio_mlx5_logic::cmd::encode(command, &mut mailbox);
    assert!(encoded.is_some());
}

fuzz_target!(|data: &[u8]| {
    let _ = vfio_mlx5_logic::cmd::status(data);
    let _ = (<() as Reply>::decode(data), State::decode(data));
    if let Some(id) = Id::decode(data) {
        give_back(&object::Destroy(id));
        give_back(&object::Query(id));
    }
    if let Some(qpn) = Qpn::decode(data) {
        give_back(&qp::Destroy { qpn });
    }
    if let Some(key) = Mkey::decode(data) {
        let _ = key.lkey();
        give_back(&mkey::Destroy(key));
    }

    let (virtualization, general) = data.split_at(data.len().min(8));
    let _ = (cqe_version(general), log_max_msg(general));
    let mut page = general.to_vec();
    // Most devices that are asked have a tracker.
    page.resize(256, 0xff);
    let Some(limits) = Limits::of(&page, virtualization) else {
        return;
    };
    assert!(limits.granules != 0 && limits.max_ranges != 0);
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n, b| (n << 8) | u64::from(*b));
    let mut ranges: Vec<Range> = general
        .chunks(16)
        .map(|both| both.split_at(both.len() / 2))
        .filter_map(|(a, b)| Range::new(number(a), number(b)).ok())
        .collect();
    let wanted = ranges.clone();
    let granule = 1 << limits.granules.trailing_zeros();
    if let Ok(plan) = plan(&limits, granule, &mut ranges) {
        assert!(plan.count <= limits.max_ranges as usize);
        let tracked = &ranges[..plan.count];
        for range in wanted {
            assert!(
                tracked.iter().any(|r| r.contains(&range)),
                "{range:?} is lost"
            );
        }
        give_back(&object::Create {
            vhca_id: 0,
            log_page_size: plan.log_page_size,
            log_msg_size: limits.log_max_msg,
            log_addr_space_size: plan.log_addr_space_size,
            reporting_qpn: 0,
            ranges: tracked,
        });
    }
});
