// SPDX-License-Identifier: GPL-2.0

//! What the page tracker of a device can take, and what it is asked to track.
//!
//! Uses `core` only: the same source is in the host crate.

use crate::{
    abi::bindings::{
        mlx5_ifc_adv_virtualization_cap_bits as adv_virtualization_cap,
        mlx5_ifc_cmd_hca_cap_bits as cmd_hca_cap, //
    },
    ifc::{
        self,
        field,
        Field, //
    },
    range::Range, //
};

/// The smallest granule that dirty tracking knows.
const LOG_MIN_GRANULE: u8 = 12;
/// No tracker reports in larger messages: four of them are the 2 MiB that the buffers take anyway.
const LOG_USUAL_MSG: u8 = 19;
/// With a larger smallest message the buffers would be out of all proportion.
const LOG_MAX_MSG: u8 = 24;

/// What the page tracker of a device can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes for each dirty bit: bit n is 2^n bytes. Never 0.
    pub granules: u64,
    /// Ranges of one tracker; more are joined, and what is between them is tracked, too.
    pub max_ranges: u32,
    /// Bytes that the ranges must cover in all, at least.
    pub min_span: u64,
    /// Bytes that the ranges may cover in all.
    pub max_span: u64,
    /// The messages of a report have at most 2^n bytes.
    pub log_max_msg: u8,
    /// Trackers of all VFs together.
    pub max_trackers: u32,
}

fn byte(cap: &[u8], field: Field) -> Option<u8> {
    ifc::get(cap, field)?.try_into().ok()
}

impl Limits {
    /// Of the device that has these capabilities: the pages `cmd_hca_cap` and
    /// `adv_virtualization_cap`. `None` if it has no page tracker, or none that can be used.
    pub fn of(general: &[u8], virtualization: &[u8]) -> Option<Self> {
        let cap = |field| byte(virtualization, field);
        let log_span = |field| Some(1_u64.checked_shl(cap(field)?.into()));

        if ifc::get(general, field!(cmd_hca_cap, adv_virtualization))? == 0 {
            return None;
        }
        let min_page = cap(field!(adv_virtualization_cap, pg_track_log_min_page_size))?;
        let max_page = cap(field!(adv_virtualization_cap, pg_track_log_max_page_size))?;
        // The field has 5 bits: nothing is shifted out.
        let granules = (min_page.max(LOG_MIN_GRANULE)..=max_page)
            .fold(0, |granules, log| granules | 1_u64.wrapping_shl(log.into()));

        let min_msg = cap(field!(adv_virtualization_cap, pg_track_log_min_msg_size))?;
        let max_msg = cap(field!(adv_virtualization_cap, pg_track_log_max_msg_size))?;
        let log_max_msg = max_msg.min(LOG_USUAL_MSG.max(min_msg));

        let max_ranges = cap(field!(adv_virtualization_cap, pg_track_max_num_range))?;
        let max_trackers = cap(field!(adv_virtualization_cap, pg_track_log_max_num))?;
        let limits = Self {
            granules,
            max_ranges: max_ranges.into(),
            // The least number whose logarithm, rounded up, is the limit.
            min_span: match log_span(field!(adv_virtualization_cap, pg_track_log_min_addr_space))? {
                Some(span) => (span / 2).saturating_add(1),
                None => return None,
            },
            max_span: log_span(field!(adv_virtualization_cap, pg_track_log_max_addr_space))?
                .unwrap_or(u64::MAX),
            log_max_msg,
            max_trackers: 1_u32.wrapping_shl(max_trackers.into()),
        };
        let usable = limits.granules != 0
            && limits.max_ranges != 0
            && limits.min_span <= limits.max_span
            && (Self::LOG_ENTRY..=LOG_MAX_MSG).contains(&log_max_msg)
            && min_msg <= log_max_msg;
        usable.then_some(limits)
    }

    /// 2^n bytes are an entry of a report.
    const LOG_ENTRY: u8 = 3;
}

/// Why ranges cannot be tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// There are none.
    Nothing,
    /// It is no granule of the device.
    Granule,
    /// They cover less than [`Limits::min_span`].
    TooSmall,
    /// They cover more than [`Limits::max_span`], as they are or joined.
    TooLarge,
}

/// What a tracker is created with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// 2^n bytes for each dirty bit.
    pub log_page_size: u8,
    /// 2^n bytes are enough for the sum of the ranges.
    pub log_addr_space_size: u8,
    /// How many of the ranges are left.
    pub count: usize,
}

/// Makes `ranges` such that a tracker can take them, and tells with what else to create it.
///
/// They may be in any order and overlap. Afterwards the first [`Plan::count`] of them are
/// ascending, whole granules and at least one granule apart, and have in them all that there was:
/// where there are too many, those with the smallest gap between them have become one. Tracking too
/// much only costs time, tracking too little loses dirt.
pub fn plan(limits: &Limits, granule: u64, ranges: &mut [Range]) -> Result<Plan, Misfit> {
    if !granule.is_power_of_two() || limits.granules & granule == 0 {
        return Err(Misfit::Granule);
    }
    for range in ranges.iter_mut() {
        *range = range.aligned_out(granule);
    }
    sort(ranges);

    let mut count = join_touching(ranges);
    if count == 0 {
        return Err(Misfit::Nothing);
    }
    while count > limits.max_ranges as usize {
        count = join_nearest(ranges.get_mut(..count).unwrap_or_default());
    }

    let ranges = ranges.get(..count).unwrap_or_default();
    let span = ranges.iter().try_fold(0_u64, |sum, range| {
        let more = range.last().checked_sub(range.first())?.checked_add(1)?;
        sum.checked_add(more)
    });
    let span = span
        .filter(|span| *span <= limits.max_span)
        .ok_or(Misfit::TooLarge)?;
    if span < limits.min_span {
        return Err(Misfit::TooSmall);
    }
    Ok(Plan {
        // CAST: Logarithms are below 64.
        log_page_size: granule.trailing_zeros() as u8,
        log_addr_space_size: ceil_log2(span),
        count,
    })
}

/// The least n with 2^n >= `value`.
fn ceil_log2(value: u64) -> u8 {
    let below = value.saturating_sub(1).checked_ilog2();
    // CAST: A logarithm is below 64.
    below.map_or(0, |log| log as u8 + 1)
}

/// Sorts `ranges` by where they begin. There are few, and most often they are sorted.
fn sort(ranges: &mut [Range]) {
    for count in 1..=ranges.len() {
        let Some([sorted @ .., next]) = ranges.get(..count) else {
            break;
        };
        let at = sorted.partition_point(|range| range.first() <= next.first());
        if let Some(moved) = ranges.get_mut(at..count) {
            moved.rotate_right(usize::from(!moved.is_empty()));
        }
    }
}

/// Joins those of the ascending `ranges` that overlap or have nothing between them. Returns how
/// many are left.
fn join_touching(ranges: &mut [Range]) -> usize {
    let mut count = 0_usize;
    for at in 0..ranges.len() {
        let Some(next) = ranges.get(at).copied() else {
            break;
        };
        let last = count.checked_sub(1).and_then(|n| ranges.get_mut(n));
        match last {
            Some(last) if last.touches(next) => *last = last.hull(next),
            _ => {
                if let Some(slot) = ranges.get_mut(count) {
                    *slot = next;
                }
                count = count.saturating_add(1);
            }
        }
    }
    count
}

/// Joins the two of the ascending `ranges`, two or more, that are nearest to each other. Returns
/// how many are left.
fn join_nearest(ranges: &mut [Range]) -> usize {
    let gap = |pair: &[Range]| match pair {
        [low, high] => high.first().saturating_sub(low.last()),
        _ => u64::MAX,
    };
    let nearest = ranges
        .windows(2)
        .enumerate()
        .min_by_key(|(_, pair)| gap(pair))
        .map_or(0, |(at, _)| at);
    if let Some([low, rest @ ..]) = ranges.get_mut(nearest..) {
        if let Some(high) = rest.first() {
            *low = low.hull(*high);
            rest.rotate_left(1);
        }
    }
    ranges.len().saturating_sub(1)
}

/// 2^n bytes are the most that a message of any queue pair may have, of the page `cmd_hca_cap`.
pub fn log_max_msg(general: &[u8]) -> Option<u8> {
    byte(general, field!(cmd_hca_cap, log_max_msg))
}

/// Which version the entries of completion queues have, of the page `cmd_hca_cap`.
pub fn cqe_version(general: &[u8]) -> Option<u8> {
    byte(general, field!(cmd_hca_cap, cqe_version))
}
