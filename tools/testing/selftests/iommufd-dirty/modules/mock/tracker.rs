// SPDX-License-Identifier: GPL-2.0

//! The tracker that does on demand what nothing real can do: knobs, marks and the ops.
//!
//! Marks come at any time, as a device's writes do; so `state` is held only for a moment, never
//! while a read sleeps or records. It is never held while the core is called: the core calls the
//! ops with locks of its own.

use crate::{
    abi::{
        bindings,
        provider::{
            Coverage,
            DirtyRange,
            Operations,
            ReadFlags,
            Sink,
            Started, //
        }, //
    },
    dirty::DirtySet, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    warn_on, //
};

/// Slots of the module.
const SLOTS: u32 = 4;

/// Slots that started trackers have taken.
static SLOTS_TAKEN: Atomic<u32> = Atomic::new(0);

/// More would look like a hang.
const MAX_LATENCY_MS: u64 = 10_000;

/// Marks of one call.
const MAX_MARKS: u32 = 1 << 20;

/// Calls that can be made to fail.
#[derive(Clone, Copy)]
enum Call {
    Start,
    Read,
    Stop,
    Update,
}

/// The knobs, as `enum mock_knob` describes them.
struct Knobs {
    latency_ms: u64,
    /// For each [`Call`] how many calls until one fails; 0 is never.
    fail: [u64; 4],
    error: Error,
    slots: u32,
    only_granule: u64,
    /// How many reads are left, that one included.
    lose_in_read: Option<(u32, Error)>,
    unsure: bool,
}

impl Knobs {
    /// Counts a read; is it the one in which it is lost?
    fn loses(&mut self) -> Option<Error> {
        let (left, error) = self.lose_in_read.take()?;
        if left > 1 {
            self.lose_in_read = Some((left - 1, error));
            return None;
        }
        Some(error)
    }

    /// Counts a call; is it the one that fails?
    fn fails(&mut self, call: Call) -> Result {
        let left = &mut self.fail[call as usize];
        let fails = *left == 1;
        *left = left.saturating_sub(1);
        if fails {
            Err(self.error)
        } else {
            Ok(())
        }
    }
}

/// A session, from start to stop.
struct Session {
    granule: u64,
    /// log2 of the bytes that share a dirty bit.
    shift: u32,
    /// First and last byte, ascending and disjoint.
    ranges: KVec<(u64, u64)>,
    dirty: DirtySet,
    /// What every read returns.
    lost: Option<Error>,
    slots: u32,
}

struct State {
    knobs: Knobs,
    session: Option<Session>,
    starts: u64,
    stops: u64,
    reads: u64,
    final_reads: u64,
}

#[pin_data]
pub(crate) struct Tracker {
    block: u64,
    pgsizes: u64,
    max_ranges: u32,
    #[pin]
    state: Mutex<State>,
    /// Held in each op: the core promises one at a time.
    #[pin]
    in_op: Mutex<()>,
}

/// `iova + length - 1`, if there is such a byte.
fn last_byte(iova: u64, length: u64) -> Result<u64> {
    iova.checked_add(length.checked_sub(1).ok_or(EINVAL)?)
        .ok_or(EOVERFLOW)
}

/// What userspace gives as an errno.
fn errno(value: u64) -> Result<Error> {
    match i32::try_from(value) {
        Ok(errno @ 1..=4095) => Ok(Error::from_errno(-errno)),
        _ => Err(EINVAL),
    }
}

/// What the core promises its providers. If it does not hold, the core has a bug.
fn promised(holds: bool) -> Result {
    if warn_on!(!holds) {
        return Err(EINVAL);
    }
    Ok(())
}

impl Session {
    /// Makes a write of the bytes `first..=last` dirty, as far as it is tracked.
    fn mark(&mut self, first: u64, last: u64) -> Result {
        let (first, last) = (first >> self.shift, last >> self.shift);
        let from = self
            .ranges
            .partition_point(|range| range.1 >> self.shift < first);
        for range in self.ranges.iter().skip(from) {
            let (start, end) = (range.0 >> self.shift, range.1 >> self.shift);
            if start > last {
                break;
            }
            self.dirty.mark(first.max(start), last.min(end))?;
        }
        Ok(())
    }

    /// Forgets what is dirty outside of the ranges.
    fn forget_outside(&mut self) {
        let mut next = Some(0);
        for range in &self.ranges {
            let (start, end) = (range.0 >> self.shift, range.1 >> self.shift);
            if let Some(next) = next.filter(|next| *next < start) {
                self.dirty.clear_all(next, start - 1);
            }
            next = end.checked_add(1);
        }
        if let Some(next) = next {
            self.dirty.clear_all(next, u64::MAX);
        }
    }
}

impl Tracker {
    /// Errors: `EINVAL` if `block` is no power of two.
    pub(crate) fn new(create: &bindings::mock_create) -> Result<Arc<Self>> {
        if create.block != 0 && !create.block.is_power_of_two() {
            return Err(EINVAL);
        }
        Arc::pin_init(
            pin_init!(Self {
                block: create.block,
                pgsizes: create.pgsizes,
                max_ranges: create.max_ranges,
                state <- new_mutex!(State {
                    knobs: Knobs {
                        latency_ms: 0,
                        fail: [0; 4],
                        error: EIO,
                        slots: 0,
                        only_granule: 0,
                        lose_in_read: None,
                        unsure: false,
                    },
                    session: None,
                    starts: 0,
                    stops: 0,
                    reads: 0,
                    final_reads: 0,
                }),
                in_op <- new_mutex!(()),
            }),
            GFP_KERNEL,
        )
    }

    /// Makes what a device writes dirty.
    ///
    /// Errors: `EINVAL`, `EOVERFLOW`; `ENOMEM` and `ENOSPC`, with some of the marks made.
    pub(crate) fn mark(&self, marks: &bindings::mock_dirty) -> Result {
        if marks.count > MAX_MARKS {
            return Err(EINVAL);
        }
        let count = u64::from(marks.count);
        if count > 0 {
            // So that nothing can wrap below.
            let all = (count - 1).checked_mul(marks.stride).ok_or(EOVERFLOW)?;
            last_byte(marks.iova.checked_add(all).ok_or(EOVERFLOW)?, marks.length)?;
        }
        for i in 0..count {
            let first = marks.iova + i * marks.stride;
            if let Some(session) = &mut self.state.lock().session {
                session.mark(first, first + (marks.length - 1))?;
            }
        }
        Ok(())
    }

    /// Sets a knob that is the tracker's own business.
    pub(crate) fn set_knob(&self, knob: u32, value: u64) -> Result {
        let knobs = &mut self.state.lock().knobs;
        match knob {
            bindings::MOCK_KNOB_LATENCY_MS => {
                if value > MAX_LATENCY_MS {
                    return Err(EINVAL);
                }
                knobs.latency_ms = value;
            }
            bindings::MOCK_KNOB_FAIL_START => knobs.fail[Call::Start as usize] = value,
            bindings::MOCK_KNOB_FAIL_READ => knobs.fail[Call::Read as usize] = value,
            bindings::MOCK_KNOB_FAIL_STOP => knobs.fail[Call::Stop as usize] = value,
            bindings::MOCK_KNOB_FAIL_UPDATE => knobs.fail[Call::Update as usize] = value,
            bindings::MOCK_KNOB_ERROR => knobs.error = errno(value)?,
            bindings::MOCK_KNOB_SLOTS => {
                knobs.slots = u16::try_from(value).map_err(|_| EINVAL)?.into();
            }
            bindings::MOCK_KNOB_ONLY_GRANULE => knobs.only_granule = value,
            bindings::MOCK_KNOB_LOSE_IN_READ => knobs.lose_in_read = Some((1, errno(value)?)),
            bindings::MOCK_KNOB_LOSE_IN_READ_2 => {
                knobs.lose_in_read = Some((2, errno(value)?));
            }
            bindings::MOCK_KNOB_UNSURE => knobs.unsure = value != 0,
            _ => return Err(EOPNOTSUPP),
        }
        Ok(())
    }

    /// From now on every read fails, until stopped. Returns the error to tell the core.
    pub(crate) fn lose(&self, value: u64) -> Result<Error> {
        let error = errno(value)?;
        if let Some(session) = &mut self.state.lock().session {
            session.lost = Some(error);
        }
        Ok(error)
    }

    pub(crate) fn state(&self) -> bindings::mock_state {
        let state = self.state.lock();
        let mut out = bindings::mock_state {
            starts: state.starts,
            stops: state.stops,
            reads: state.reads,
            final_reads: state.final_reads,
            ..Default::default()
        };
        if let Some(session) = &state.session {
            out.started = 1;
            out.granule = session.granule;
            out.nr_ranges = session.ranges.len() as u32;
            out.dirty = session.dirty.units() << session.shift;
            for (to, from) in out.ranges.iter_mut().zip(&session.ranges) {
                to.iova = from.0;
                to.length = from.1 - from.0 + 1;
            }
        }
        out
    }

    /// Checks the ranges that the core gives, and copies them.
    fn copy_ranges(&self, ranges: &[DirtyRange]) -> Result<KVec<(u64, u64)>> {
        let mut copy = KVec::with_capacity(ranges.len(), GFP_KERNEL)?;
        let mut before = None;
        promised(self.max_ranges == 0 || ranges.len() <= self.max_ranges as usize)?;
        for range in ranges {
            let last = last_byte(range.iova, range.length);
            promised(last.is_ok() && before < Some(range.iova))?;
            let last = last?;
            before = Some(last);
            copy.push((range.iova, last), GFP_KERNEL)?;
        }
        Ok(copy)
    }

    fn query(&self) -> Result<u64> {
        let one = self.in_op.try_lock();
        promised(one.is_some())?;
        let slots = self.state.lock().knobs.slots;
        if SLOTS_TAKEN.load(Relaxed).saturating_add(slots) > SLOTS {
            return Err(ENOSPC);
        }
        Ok(0)
    }

    fn start(&self, granule: u64, ranges: &[DirtyRange]) -> Result<Started> {
        let one = self.in_op.try_lock();
        promised(one.is_some())?;
        promised(granule.is_power_of_two() && granule & self.pgsizes != 0)?;
        let ranges = self.copy_ranges(ranges)?;

        let mut state = self.state.lock();
        promised(state.session.is_none())?;
        state.knobs.fails(Call::Start)?;
        let only = state.knobs.only_granule;
        if only != 0 && only != granule {
            return Ok(Started::Coarser(only));
        }
        let slots = take_slots(state.knobs.slots)?;
        state.session = Some(Session {
            granule,
            shift: granule.max(self.block).trailing_zeros(),
            ranges,
            dirty: DirtySet::new(),
            lost: None,
            slots,
        });
        state.starts += 1;
        Ok(Started::Tracking)
    }

    fn stop(&self) -> Result {
        let one = self.in_op.try_lock();
        promised(one.is_some())?;
        let mut state = self.state.lock();
        let session = state.session.take();
        promised(session.is_some())?;
        if let Some(session) = session {
            SLOTS_TAKEN.fetch_sub(session.slots, Relaxed);
        }
        state.stops += 1;
        // It is stopped whether that fails or not.
        state.knobs.fails(Call::Stop)
    }

    fn read(
        &self,
        iova: u64,
        length: u64,
        flags: ReadFlags,
        clear: bool,
        sink: &mut Sink<'_>,
    ) -> Result<Coverage> {
        let one = self.in_op.try_lock();
        promised(one.is_some())?;
        let last = last_byte(iova, length);
        promised(last.is_ok())?;
        let last = last?;

        let (latency, outcome, lose, unsure) = {
            let mut state = self.state.lock();
            state.reads += 1;
            state.final_reads += u64::from(flags.is_final());
            let knobs = &mut state.knobs;
            let outcome = knobs.fails(Call::Read);
            (knobs.latency_ms, outcome, knobs.loses(), knobs.unsure)
        };
        if latency > 0 {
            fsleep(Delta::from_millis(latency as i64));
        }
        if let Some(error) = lose {
            sink.lost(error);
        }

        let (shift, first, last, mut left) = {
            let state = self.state.lock();
            let session = state.session.as_ref();
            promised(session.is_some_and(|s| (iova | length) & (s.granule - 1) == 0))?;
            let session = session.ok_or(EINVAL)?;
            if let Some(error) = session.lost {
                return Err(error);
            }
            let (first, last) = (iova >> session.shift, last >> session.shift);
            let left = match outcome {
                Ok(()) => u64::MAX,
                Err(_) => session.dirty.count(first, last).div_ceil(2),
            };
            (session.shift, first, last, left)
        };

        let mut next = Some(first);
        while let Some(from) = next.filter(|_| left > 0) {
            let word = {
                let mut state = self.state.lock();
                let session = state.session.as_mut().ok_or(EINVAL)?;
                let Some(word) = session.dirty.peek(from, last) else {
                    break;
                };
                let word = word.first(left);
                if clear {
                    session.dirty.clear(word);
                }
                word
            };
            left -= word.units();
            next = word.end();
            for (start, count) in word.runs() {
                record(sink, shift, start, count, unsure);
            }
        }
        outcome.map(|()| Coverage::Whole)
    }

    fn update_ranges(&self, ranges: &[DirtyRange]) -> Result {
        let one = self.in_op.try_lock();
        promised(one.is_some())?;
        let ranges = self.copy_ranges(ranges)?;
        let mut state = self.state.lock();
        state.knobs.fails(Call::Update)?;
        promised(state.session.is_some())?;
        let session = state.session.as_mut().ok_or(EINVAL)?;
        // A second log, with the new ranges, beside the first one, which then ends.
        SLOTS_TAKEN.fetch_sub(take_slots(session.slots)?, Relaxed);
        session.ranges = ranges;
        session.forget_outside();
        Ok(())
    }
}

/// Takes `slots` of the module's slots.
fn take_slots(slots: u32) -> Result<u32> {
    let before = SLOTS_TAKEN.fetch_add(slots, Relaxed);
    if before.saturating_add(slots) > SLOTS {
        SLOTS_TAKEN.fetch_sub(slots, Relaxed);
        return Err(ENOSPC);
    }
    Ok(slots)
}

/// Records `count` units from unit `start` on.
fn record(sink: &mut Sink<'_>, shift: u32, start: u64, count: u64, unsure: bool) {
    match count.checked_mul(1 << shift) {
        Some(length) if unsure => sink.record_unsure(start << shift, length),
        Some(length) => sink.record(start << shift, length),
        // The whole address space in one run: a length cannot say that.
        None => (start..start + count).for_each(|unit| sink.record(unit << shift, 1 << shift)),
    }
}

/// The ops of a tracker that has the optional ones, or has not.
pub(crate) struct Ops<const PEEK: bool, const UPDATE: bool>(pub(crate) Arc<Tracker>);

#[vtable]
impl<const PEEK: bool, const UPDATE: bool> Operations for Ops<PEEK, UPDATE> {
    const HAS_PEEK: bool = PEEK;
    const HAS_UPDATE_RANGES: bool = UPDATE;

    fn query(&self, _granule: u64, _ranges: &[DirtyRange]) -> Result<u64> {
        self.0.query()
    }

    fn start(&self, granule: u64, ranges: &[DirtyRange]) -> Result<Started> {
        self.0.start(granule, ranges)
    }

    fn stop(&self) -> Result {
        self.0.stop()
    }

    fn read_and_clear(
        &self,
        iova: u64,
        length: u64,
        flags: ReadFlags,
        sink: &mut Sink<'_>,
    ) -> Result<Coverage> {
        self.0.read(iova, length, flags, true, sink)
    }

    fn peek(
        &self,
        iova: u64,
        length: u64,
        flags: ReadFlags,
        sink: &mut Sink<'_>,
    ) -> Result<Coverage> {
        self.0.read(iova, length, flags, false, sink)
    }

    fn update_ranges(&self, ranges: &[DirtyRange]) -> Result {
        self.0.update_ranges(ranges)
    }
}
