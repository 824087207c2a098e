// SPDX-License-Identifier: GPL-2.0

//! What the page tracker reports: addresses of dirty pages, in messages, until one says that it was
//! the last.
//!
//! Nothing that a message says is taken for granted: one that makes no sense ends the report, and
//! the tracker with it, because nobody knows then what it would have said.
//!
//! Uses `core` only: the same source is in the host crate. C header:
//! `include/linux/mlx5/mlx5_ifc.h`, `page_track_report_entry`.

use crate::{
    abi::bindings::{
        self,
        mlx5_ifc_page_track_report_entry_bits as page_track_report_entry, //
    },
    cqe::Receive,
    ifc::{
        self,
        field, //
    },
    range::Range, //
};

/// Bytes of an entry of a message.
pub const ENTRY_LEN: usize = ifc::bytes::<page_track_report_entry>();

/// What a tracker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It tracks.
    Tracking,
    /// It tracks, and is about to report.
    Reporting,
    /// It does not track any more.
    Error,
    /// None of these: it cannot be relied on.
    Unknown,
}

impl State {
    /// `MLX5_PAGE_TRACK_STATE_*`
    pub fn from_number(number: u32) -> Self {
        match number {
            bindings::MLX5_PAGE_TRACK_STATE_TRACKING => Self::Tracking,
            bindings::MLX5_PAGE_TRACK_STATE_REPORTING => Self::Reporting,
            bindings::MLX5_PAGE_TRACK_STATE_ERROR => Self::Error,
            _ => Self::Unknown,
        }
    }

    /// What comes with a message: the state that it leaves the tracker in.
    pub fn from_immediate(immediate: u32) -> Self {
        Self::from_number(immediate >> 28)
    }
}

/// The address in an entry.
pub fn address(entry: &[u8; ENTRY_LEN]) -> u64 {
    let get = |field| ifc::get(entry, field).unwrap_or_default();
    let high = get(field!(page_track_report_entry, dirty_address_high));
    let low = get(field!(page_track_report_entry, dirty_address_low));
    (high << 32) | low
}

/// Addresses on their way to whoever records them: those of pages side by side become one extent.
pub struct Runs {
    granule: u64,
    run: Option<Range>,
}

impl Runs {
    /// Each address is that of `granule` bytes, a power of two.
    pub fn new(granule: u64) -> Self {
        Self { granule, run: None }
    }

    /// The page at `address` is dirty, whatever was asked for. If it is no address of a page, both
    /// are that have bytes among the `granule` from it on.
    #[inline]
    pub fn add(&mut self, address: u64, record: &mut (impl FnMut(u64, u64) + ?Sized)) {
        let last = address.saturating_add(self.granule.saturating_sub(1));
        let Some(page) = Range::inclusive(address, last) else {
            return;
        };
        let page = page.aligned_out(self.granule);
        match &mut self.run {
            Some(run) if run.touches(page) => *run = run.hull(page),
            run => {
                if let Some(run) = run.replace(page) {
                    tell(run, record);
                }
            }
        }
    }

    /// No more come.
    pub fn end(self, record: &mut (impl FnMut(u64, u64) + ?Sized)) {
        if let Some(run) = self.run {
            tell(run, record);
        }
    }
}

fn tell(run: Range, record: &mut (impl FnMut(u64, u64) + ?Sized)) {
    if run == crate::range::ALL {
        // Its length is no number.
        record(run.last(), 1);
    }
    record(run.first(), run.length());
}

/// Why a report cannot be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A message is not where the next one has to be.
    Order,
    /// A message is longer than its buffer, or ends in the midst of an entry.
    Length,
    /// More comes than the pages that were asked for, again and again.
    Endless,
    /// The tracker has failed, or says what nobody knows.
    Failed,
}

/// What there is to do about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Entries in its buffer.
    pub entries: u32,
    /// No other one follows.
    pub last: bool,
}

/// A report that is coming in.
#[derive(Debug)]
pub struct Reading {
    /// Bytes of each buffer.
    buffer_len: u32,
    /// How many entries may still come. A message without any counts as one.
    budget: u64,
}

impl Reading {
    /// Entries that a report may have beside one for each page: a firmware may say something twice,
    /// but not for ever.
    const SLACK: u64 = 4096;

    /// A report of `range`, with `granule` bytes for each entry and buffers of `buffer_len` bytes.
    pub fn new(range: Range, granule: u64, buffer_len: u32) -> Self {
        let pages = range.length() / granule.max(1);
        Self {
            buffer_len,
            budget: pages.saturating_mul(2).saturating_add(Self::SLACK),
        }
    }

    /// A message came into the buffer `expected`. Of an error nothing is to be read from it.
    pub fn message(
        &mut self,
        receive: &Receive,
        slot: usize,
        expected: usize,
    ) -> Result<Message, Broken> {
        if slot != expected {
            return Err(Broken::Order);
        }
        let entry_len = ENTRY_LEN as u32;
        if receive.bytes > self.buffer_len || receive.bytes % entry_len != 0 {
            return Err(Broken::Length);
        }
        let last = match State::from_immediate(receive.immediate) {
            State::Tracking => true,
            State::Reporting => false,
            State::Error | State::Unknown => return Err(Broken::Failed),
        };
        let entries = receive.bytes / entry_len;
        let cost = u64::from(entries.max(1));
        self.budget = self.budget.checked_sub(cost).ok_or(Broken::Endless)?;
        Ok(Message { entries, last })
    }
}
