// SPDX-License-Identifier: GPL-2.0

//! The page tracker: which pages a VHCA wrote, in which ranges, and the messages that tell.

use std::collections::BTreeSet;

use crate::image::Persist;
use crate::image::Reader;
use crate::qp::Message;

/// The limits, as the capabilities tell them.
pub mod limit {
    /// Trackers of all VHCAs together, 2^n.
    pub const LOG_MAX_NUM: u64 = 2;
    /// Ranges of one tracker.
    pub const MAX_RANGES: u64 = 16;
    /// The sum of the ranges' lengths.
    pub const LOG_ADDR_SPACE: std::ops::RangeInclusive<u64> = 12..=42;
    /// Of a report.
    pub const LOG_MSG_SIZE: std::ops::RangeInclusive<u64> = 12..=20;
    /// Of a tracked page.
    pub const LOG_PAGE_SIZE: std::ops::RangeInclusive<u64> = 12..=21;
}

/// An entry of a report is a big-endian address.
const REPORT_ENTRY: usize = 8;

/// What a tracker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum State {
    Tracking = 0,
    Reporting = 1,
    Error = 2,
}

/// A tracker.
#[derive(Debug)]
pub struct Tracker {
    /// Whose pages.
    pub vhca_id: u16,
    /// Who sends the reports.
    pub qpn: u32,
    /// What it does.
    pub state: State,
    /// 2^n bytes a page.
    pub log_page: u32,
    /// 2^n bytes a report, at most.
    pub log_msg: u32,
    /// First and last address of each.
    ranges: Vec<(u64, u64)>,
    /// Dirty pages, by their number.
    dirty: BTreeSet<u64>,
}

impl Tracker {
    /// Clean. The ranges are (start, length).
    pub fn new(vhca_id: u16, qpn: u32, log_page: u32, log_msg: u32, ranges: &[(u64, u64)]) -> Self {
        let last = |start: u64, len: u64| start.saturating_add(len.saturating_sub(1));
        let ranges = ranges.iter().filter(|range| range.1 > 0);
        Self {
            vhca_id,
            qpn,
            state: State::Tracking,
            log_page,
            log_msg,
            ranges: ranges
                .map(|(start, len)| (*start, last(*start, *len)))
                .collect(),
            dirty: BTreeSet::new(),
        }
    }

    /// The VHCA wrote `len` bytes at `iova`.
    pub fn written(&mut self, iova: u64, len: u64) {
        if len == 0 || self.state == State::Error {
            return;
        }
        let last = iova.saturating_add(len - 1);
        for (first, end) in &self.ranges {
            let (from, to) = (iova.max(*first), last.min(*end));
            if from <= to {
                let pages = from >> self.log_page..=to >> self.log_page;
                self.dirty.extend(pages);
            }
        }
    }

    /// How many pages are dirty.
    pub fn dirty(&self) -> usize {
        self.dirty.len()
    }

    /// Takes the dirty pages that the range touches, as reports. The last one ends the reporting, and
    /// may be empty.
    pub fn report(&mut self, iova: u64, len: u64) -> Vec<Message> {
        let last = iova.saturating_add(len.saturating_sub(1));
        let pages = iova >> self.log_page..=last >> self.log_page;
        let found: Vec<u64> = match len {
            0 => Vec::new(),
            _ => self.dirty.range(pages).copied().collect(),
        };
        for page in &found {
            self.dirty.remove(page);
        }
        let room = (1usize << self.log_msg) / REPORT_ENTRY;
        let message = |pages: &[u64], state: State| Message {
            immediate: (state as u32) << 28,
            data: pages
                .iter()
                .flat_map(|page| (page << self.log_page).to_be_bytes())
                .collect(),
        };
        let mut messages: Vec<Message> = found
            .chunks(room)
            .map(|pages| message(pages, State::Reporting))
            .collect();
        match messages.last_mut() {
            Some(last) => last.immediate = (State::Tracking as u32) << 28,
            None => messages.push(message(&[], State::Tracking)),
        }
        messages
    }
}

/// The PF has the trackers, and is not migrated: no image has one.
impl Persist for Tracker {
    fn save(&self, _: &mut Vec<u8>) {}

    fn load(_: &mut Reader<'_>) -> Option<Self> {
        None
    }
}
