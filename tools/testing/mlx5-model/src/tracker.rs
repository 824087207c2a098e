// SPDX-License-Identifier: GPL-2.0

//! The page tracker: which pages a VHCA wrote, in which ranges, and the messages that report it.

use std::time::Duration;

use crate::faults::Report;
use crate::image::Persist;
use crate::image::Reader;
use crate::pages::Pages;
use crate::qp::Message;

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
    dirty: Pages,
    /// A report that has not begun.
    asked: Option<Asked>,
    /// When the report has been sent, it fails.
    fails: bool,
}

/// A report that was asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    iova: u64,
    len: u64,
    /// When it begins; `None` for never.
    due: Option<Duration>,
    /// After how many messages it fails.
    cut: Option<usize>,
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
            dirty: Pages::default(),
            asked: None,
            fails: false,
        }
    }

    /// How many ranges there are.
    pub fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// A report of this range is asked for, and this becomes of it.
    pub fn ask(&mut self, iova: u64, len: u64, now: Duration, report: Report) {
        let (due, cut) = match report {
            Report::Whole(delay) => (Some(now.saturating_add(delay)), None),
            Report::Cut(delay, messages) => (Some(now.saturating_add(delay)), Some(messages)),
            Report::Mute => (None, None),
        };
        self.state = State::Reporting;
        self.asked = Some(Asked {
            iova,
            len,
            due,
            cut,
        });
    }

    /// Whether a report will begin.
    pub fn waiting(&self) -> bool {
        self.asked.is_some_and(|asked| asked.due.is_some())
    }

    /// Begins the report that is due: its messages.
    pub fn begin(&mut self, now: Duration) -> Option<Vec<Message>> {
        let asked = self
            .asked
            .filter(|asked| asked.due.is_some_and(|due| due <= now))?;
        self.asked = None;
        let mut messages = self.report(asked.iova, asked.len);
        if let Some(count) = asked.cut {
            messages.truncate(count);
            // An empty one only reports that it is the last.
            messages.retain(|message| !message.data.is_empty());
            messages
                .iter_mut()
                .for_each(|message| message.immediate = (State::Reporting as u32) << 28);
            self.fails = true;
        }
        Some(messages)
    }

    /// All messages are sent; true if it fails now.
    pub fn reported(&mut self) -> bool {
        if self.state != State::Reporting || self.asked.is_some() {
            return false;
        }
        self.state = State::Tracking;
        std::mem::take(&mut self.fails)
    }

    /// It does nothing any more.
    pub fn fail(&mut self) {
        self.state = State::Error;
        self.asked = None;
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
                self.dirty
                    .insert(from >> self.log_page, to >> self.log_page);
            }
        }
    }

    /// Takes the dirty pages that the range touches, as reports. The last one ends the reporting, and
    /// may be empty.
    pub fn report(&mut self, iova: u64, len: u64) -> Vec<Message> {
        let last = iova.saturating_add(len.saturating_sub(1));
        let found = match len {
            0 => Vec::new(),
            _ => self
                .dirty
                .take(iova >> self.log_page, last >> self.log_page),
        };
        let room = (1usize << self.log_msg) / REPORT_ENTRY;
        let message = |pages: &[u64], state: State| {
            let mut data = Vec::with_capacity(pages.len() * REPORT_ENTRY);
            for page in pages {
                data.extend_from_slice(&(page << self.log_page).to_be_bytes());
            }
            Message {
                immediate: (state as u32) << 28,
                data,
            }
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
