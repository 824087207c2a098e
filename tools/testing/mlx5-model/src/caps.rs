// SPDX-License-Identifier: GPL-2.0

//! What a function says that it can do: as little as mlx5_core and mlx5-vfio-pci ask for.
//!
//! No Ethernet, no RoCE: the port is InfiniBand, because that is type 0 and asks for least.

use std::collections::BTreeMap;

use crate::bits;
use crate::bits::Field;
use crate::device::EVENT_OBJECT_CHANGE;
use crate::ifc::adv_virtualization_cap;
use crate::ifc::cmd_hca_cap;
use crate::ifc::cmd_hca_cap_2;
use crate::ifc::device_event_cap;
use crate::image::persist;
use crate::limits::Limits;

/// `enum mlx5_cap_type` of include/linux/mlx5/device.h
pub const GENERAL: u16 = 0x0;
const DEV_EVENT: u16 = 0x14;
const GENERAL_2: u16 = 0x20;
const ADV_VIRTUALIZATION: u16 = 0x26;

/// Of each type, in bytes.
const SIZE: usize = 4096;

/// Of what can be created there can be 2^n.
pub const LOG_MAX_EQ: u32 = 6;
/// As above.
pub const LOG_MAX_PD: u32 = 12;
/// As above.
pub const LOG_MAX_MKEY: u32 = 16;
/// As above.
pub const LOG_MAX_CQ: u32 = 12;
/// As above.
pub const LOG_MAX_QP: u32 = 12;

/// Two sets of capabilities by type: the most that there is, and what the driver chose.
#[derive(Clone, Debug)]
pub struct Caps {
    max: BTreeMap<u16, Vec<u8>>,
    current: BTreeMap<u16, Vec<u8>>,
}

fn page(fields: &[(Field, u64)]) -> Vec<u8> {
    let mut page = vec![0; SIZE];
    for (field, value) in fields {
        bits::set(&mut page, *field, *value);
    }
    page
}

fn general(number: u16, pf: Option<&Limits>) -> Vec<u8> {
    use cmd_hca_cap::*;

    let is_pf = pf.is_some();
    page(&[
        (vhca_id, number.into()),
        (log_max_eq, LOG_MAX_EQ.into()),
        (log_max_eq_sz, 12),
        (max_num_eqs, 1 << LOG_MAX_EQ),
        (log_max_qp, LOG_MAX_QP.into()),
        (log_max_qp_sz, 15),
        (log_max_cq, LOG_MAX_CQ.into()),
        (log_max_cq_sz, 20),
        (log_max_mkey, LOG_MAX_MKEY.into()),
        (log_max_pd, LOG_MAX_PD.into()),
        (log_max_msg, 30),
        // 128 keys.
        (pkey_table_size, 0),
        (vport_group_manager, is_pf.into()),
        (num_ports, 1),
        (cqe_version, 1),
        (rc, 1),
        (driver_version, 1),
        (log_pg_sz, 12),
        (log_bf_reg_size, 9),
        (device_frequency_mhz, 1000),
        (device_frequency_khz, 1_000_000),
        (hca_cap_2, 1),
        (event_cap, is_pf.into()),
        (migration, is_pf.into()),
        (adv_virtualization, pf.is_some_and(Limits::tracks).into()),
    ])
}

fn general_2(pf: Option<&Limits>) -> Vec<u8> {
    use cmd_hca_cap_2::*;
    page(&[
        (migratable, pf.is_none().into()),
        (migration_multi_load, 1),
        (migration_tracking_state, 1),
        (
            migration_in_chunks,
            pf.is_some_and(|limits| limits.log_chunk != 0).into(),
        ),
        (migration_state, pf.is_some().into()),
    ])
}

fn adv_virtualization(limits: &Limits) -> Vec<u8> {
    use adv_virtualization_cap::*;
    page(&[
        (pg_track_log_max_num, limits.trackers.ilog2().into()),
        (pg_track_max_num_range, limits.ranges),
        (pg_track_log_min_addr_space, limits.log_min_span),
        (pg_track_log_max_addr_space, limits.log_max_span),
        (pg_track_log_min_msg_size, limits.log_min_msg),
        (pg_track_log_max_msg_size, limits.log_max_msg),
        (pg_track_log_min_page_size, limits.log_min_page),
        (pg_track_log_max_page_size, limits.log_max_page),
    ])
}

/// The events that a driver may ask for of its own accord.
fn dev_event() -> Vec<u8> {
    let word = Field {
        at: device_event_cap::user_affiliated_events.at,
        width: 64,
    };
    page(&[(word, 1 << EVENT_OBJECT_CHANGE)])
}

impl Caps {
    /// Those of a VF; or of the PF, with its limits.
    pub fn new(vhca_id: u16, pf: Option<&Limits>) -> Self {
        let mut max = BTreeMap::from([(GENERAL, general(vhca_id, pf)), (GENERAL_2, general_2(pf))]);
        if let Some(limits) = pf {
            max.insert(DEV_EVENT, dev_event());
            if limits.tracks() {
                max.insert(ADV_VIRTUALIZATION, adv_virtualization(limits));
            }
        }
        Self {
            current: max.clone(),
            max,
        }
    }

    /// One type; `None` if there is no such.
    pub fn query(&self, kind: u16, current: bool) -> Option<&[u8]> {
        let set = if current { &self.current } else { &self.max };
        set.get(&kind).map(Vec::as_slice)
    }

    /// The driver's choice; `None` if there is no such type.
    pub fn set(&mut self, kind: u16, bytes: &[u8]) -> Option<()> {
        let current = self.current.get_mut(&kind)?;
        for (to, from) in current.iter_mut().zip(bytes) {
            *to = *from;
        }
        Some(())
    }

    /// The types that there are.
    pub fn kinds(&self) -> impl Iterator<Item = &u16> {
        self.max.keys()
    }

    /// After a migration: the number stays with the place.
    pub fn set_vhca_id(&mut self, number: u16) {
        for set in [&mut self.max, &mut self.current] {
            if let Some(page) = set.get_mut(&GENERAL) {
                bits::set(page, cmd_hca_cap::vhca_id, number.into());
            }
        }
    }

    /// Whether the mailboxes have signatures.
    pub fn checksums(&self) -> bool {
        self.query(GENERAL, true)
            .is_some_and(|page| bits::get(page, cmd_hca_cap::cmdif_checksum) != 0)
    }
}

persist!(Caps { max, current });
