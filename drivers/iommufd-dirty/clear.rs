// SPDX-License-Identifier: GPL-2.0

//! CLEAR and HARVEST: taking what is dirty out of the trackers without delivering it.

use crate::{
    abi::{
        bindings::*,
        uapi::{
            self,
            Array,
            DirtyRange, //
        }, //
    },
    logic::{
        bits::{
            Bits,
            USER_PAGE, //
        },
        granule::valid_page_size,
        range::Range,
        window::Window, //
    },
    read::{
        Element,
        HasCursor, //
    },
    scan::{
        interrupted,
        Resume,
        Which, //
    },
    sink::Target,
    state::State, //
};
use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

impl State {
    /// `ioctl(IOMMUFD_DIRTY_HARVEST)`
    pub(crate) fn harvest_ioctl(&mut self, cmd: &mut uapi::Harvest) -> Result {
        cmd.out_status = 0;
        if cmd.flags != 0 {
            return Err(EOPNOTSUPP);
        }
        let array: Array<DirtyRange> = Array::new(cmd.ranges_uptr, cmd.nr_ranges, cmd.range_len)?;
        cmd.check_cursor()?;
        if self.session.is_none() {
            return Err(ENODATA);
        }
        self.check_only(cmd.tracker_id)?;
        let read = |at| {
            let raw = array.get(at)?;
            Ok::<_, Error>(Range::new(raw.iova, raw.length)?)
        };
        for at in cmd.next_range..cmd.nr_ranges {
            if crate::abi::killed() {
                return Err(EINTR);
            }
            cmd.left_of(at, read(at)?)?;
        }
        let which = match cmd.tracker_id {
            0 => Which::Unmapped,
            id => Which::One(id),
        };
        while !cmd.is_done() {
            let cursor = cmd.cursor();
            let range = read(cursor.element)?;
            let left = cmd.left_of(cursor.element, range)?;
            let resume = Resume::at(left.first(), cursor.tracker);
            let scanned = self.harvest(left, which, resume);
            cmd.out_status |= scanned.status;
            if !self.tracked.covers(&left) {
                cmd.out_status |= IOMMUFD_DIRTY_STATUS_HOLE;
            }
            if let Some(place) = scanned.interrupted {
                cmd.go_on(cursor.element, range, place.address, place.tracker);
                return Err(scanned.error.unwrap_or(EINTR));
            }
            // It is in the residual: nothing is gained by doing it again.
            cmd.done(cursor.element, range, range.last());
            if let Some(error) = scanned.error {
                if cmd.is_done() {
                    cmd.rewind();
                }
                return Err(error);
            }
            if !cmd.is_done() && interrupted() {
                return Err(EINTR);
            }
        }
        cmd.rewind();
        Ok(())
    }

    /// `ioctl(IOMMUFD_DIRTY_CLEAR)`
    pub(crate) fn clear(&mut self, cmd: &mut uapi::Clear) -> Result {
        cmd.out_status = 0;
        if cmd.flags != 0 {
            return Err(EOPNOTSUPP);
        }
        if !valid_page_size(cmd.page_size) {
            return Err(EINVAL);
        }
        let array = Array::new(cmd.ranges_uptr, cmd.nr_ranges, cmd.range_len)?;
        cmd.check_cursor()?;
        if self.session.is_none() {
            return Err(ENODATA);
        }
        self.check_only(cmd.tracker_id)?;
        for at in cmd.next_range..cmd.nr_ranges {
            if crate::abi::killed() {
                return Err(EINTR);
            }
            cmd.left_of(at, Element::read(&array, at, cmd.page_size)?.range)?;
        }
        let mut bitmap = KVec::from_elem(0u8, USER_PAGE as usize, GFP_KERNEL)?;
        while !cmd.is_done() {
            let cursor = cmd.cursor();
            let Element { range, request, .. } =
                Element::read(&array, cursor.element, cmd.page_size)?;
            let left = cmd.left_of(cursor.element, range)?;
            let begin = left.first().saturating_sub(range.first());
            let window = request.windows(begin, 1).next().ok_or(EINVAL)?;
            let resume = Resume::at(left.first(), cursor.tracker);
            if let Some((address, tracker)) =
                self.clear_window(cmd, &window, resume, &mut bitmap)?
            {
                cmd.go_on(cursor.element, range, address, tracker);
                return Err(EINTR);
            }
            cmd.done(cursor.element, range, window.range.last());
            if !cmd.is_done() && interrupted() {
                return Err(EINTR);
            }
        }
        cmd.rewind();
        Ok(())
    }

    /// Clears what is set in one page of the user's bitmap. All that lies between the first and the
    /// last bit is taken out of the trackers at once, and put back but for what is to be cleared.
    /// `Some` if a signal came: where to go on.
    fn clear_window(
        &mut self,
        cmd: &mut uapi::Clear,
        window: &Window,
        resume: Resume,
        bitmap: &mut KVec<u8>,
    ) -> Result<Option<(u64, u32)>> {
        // First, so that a bad address fails before anything is cleared.
        let all = window.bits(window.range).ok_or(EINVAL)?;
        let end = all.first.saturating_add(all.count);
        let (from, to) = (
            usize::try_from(all.first / 8)?,
            usize::try_from(end.div_ceil(8))?,
        );
        let bytes = bitmap.get_mut(from..to).ok_or(EINVAL)?;
        let addr = window.addr.checked_add(from as u64).ok_or(EFAULT)?;
        UserSlice::new(UserPtr::from_addr(usize::try_from(addr)?), bytes.len())
            .reader()
            .read_slice(bytes)?;

        let mut hull: Option<Range> = None;
        for_runs(bitmap, all, |bits| {
            if let Some(run) = window.bytes(bits) {
                hull = Some(hull.map_or(run, |hull| hull.hull(run)));
            }
        });
        let hull = hull.and_then(|h| Range::inclusive(h.first().max(resume.address), h.last()));
        let Some(hull) = hull else {
            return Ok(None);
        };
        let which = Which::merged(cmd.tracker_id);
        let scanned = self.scan(Target::Residual(hull), which, resume, false, 0);
        cmd.out_status |= scanned.status;
        // A tracker that cannot be read has nothing that could be cleared.
        let through = scanned
            .interrupted
            .map_or(Some(hull.last()), |place| place.address.checked_sub(1));
        if let Some(through) = through {
            for_runs(bitmap, all, |bits| {
                let run = window.bytes(bits);
                if let Some(run) = run.and_then(|r| {
                    Range::inclusive(r.first().max(resume.address), r.last().min(through))
                }) {
                    self.forget(run, which);
                }
            });
        }
        scanned.error.map_or(Ok(()), Err)?;
        Ok(scanned
            .interrupted
            .map(|place| (place.address, place.tracker)))
    }
}

/// Calls `f` for each run of bits that are set in `bitmap`, of those in `all`.
fn for_runs(bitmap: &[u8], all: Bits, mut f: impl FnMut(Bits)) {
    let end = all.first.saturating_add(all.count);
    let mut run = Bits {
        first: all.first,
        count: 0,
    };
    let mut bit = all.first;
    while bit < end {
        let byte = usize::try_from(bit / 8).ok().and_then(|at| bitmap.get(at));
        if byte.is_some_and(|byte| byte & (1 << (bit % 8)) != 0) {
            if run.count == 0 {
                run.first = bit;
            }
            run.count = run.count.saturating_add(1);
        } else if run.count != 0 {
            f(run);
            run.count = 0;
        }
        bit = bit.saturating_add(1);
    }
    if run.count != 0 {
        f(run);
    }
}
