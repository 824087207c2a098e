// SPDX-License-Identifier: GPL-2.0

//! CLEAR and HARVEST: taking dirt out of the trackers without delivering it.

use crate::{
    abi::{
        bindings::*,
        uapi, //
    },
    logic::{
        granule::valid_page_size,
        range::Range,
        window::{
            Bits,
            Window, //
        }, //
    },
    read::{
        interrupted,
        read_element,
        MAX_READ_RANGES, //
    },
    sink::Target,
    state::{
        Found,
        How,
        State, //
    }, //
};
use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// Bytes of a bitmap that are copied from userspace at a time.
const COPY: usize = 256;

impl State {
    /// `ioctl(IOMMUFD_DIRTY_HARVEST)`
    pub(crate) fn harvest_ioctl(&mut self, cmd: &mut uapi::Harvest) -> Result {
        cmd.out_status = 0;
        if cmd.flags != 0 {
            return Err(EOPNOTSUPP);
        }
        let range = Range::new(cmd.iova, cmd.length)?;
        if !self.started {
            return Err(ENODATA);
        }
        self.check_only(cmd.tracker_id)?;
        let mut found = self.harvest(range, cmd.tracker_id);
        if !self.tracked.covers(&range) {
            found.status |= IOMMUFD_DIRTY_STATUS_HOLE;
        }
        cmd.out_status = found.status;
        found.error.map_or(Ok(()), Err)
    }

    /// `ioctl(IOMMUFD_DIRTY_CLEAR)`
    pub(crate) fn clear(&mut self, cmd: &mut uapi::Clear) -> Result {
        if cmd.flags != 0 {
            return Err(EOPNOTSUPP);
        }
        if !valid_page_size(cmd.page_size) || cmd.nr_ranges > MAX_READ_RANGES {
            return Err(EINVAL);
        }
        if !self.started {
            return Err(ENODATA);
        }
        self.check_only(cmd.tracker_id)?;
        for at in 0..cmd.nr_ranges {
            read_element(cmd.ranges_uptr, at, cmd.page_size)?;
        }
        for at in 0..cmd.nr_ranges {
            let element = read_element(cmd.ranges_uptr, at, cmd.page_size)?;
            for window in element.request.windows(0, 1) {
                self.clear_window(&window, cmd.tracker_id)?;
                if interrupted() {
                    return Err(EINTR);
                }
            }
        }
        Ok(())
    }

    /// Clears what is set in one page of the user's bitmap.
    fn clear_window(&mut self, window: &Window, only: u32) -> Result {
        let all = window.bits(window.range).ok_or(EINVAL)?;
        let end = all.first.saturating_add(all.count);
        let mut run: Option<Bits> = None;
        let mut bit = all.first;
        while bit < end {
            let byte = bit / 8;
            let left = usize::try_from(end.div_ceil(8).saturating_sub(byte)).map_err(|_| EINVAL)?;
            let mut buffer = [0u8; COPY];
            let buffer = buffer.get_mut(..left.min(COPY)).ok_or(EINVAL)?;
            let addr = usize::try_from(window.addr.checked_add(byte).ok_or(EFAULT)?)?;
            UserSlice::new(UserPtr::from_addr(addr), buffer.len())
                .reader()
                .read_slice(buffer)?;
            for value in buffer.iter() {
                while bit < end {
                    let set = value & (1 << (bit % 8)) != 0;
                    match &mut run {
                        Some(run) if set => run.count = run.count.saturating_add(1),
                        None if set => {
                            run = Some(Bits {
                                first: bit,
                                count: 1,
                            })
                        }
                        _ => {
                            if let Some(bits) = run.take() {
                                self.clear_bits(window, bits, only)?;
                            }
                        }
                    }
                    bit = bit.saturating_add(1);
                    if bit % 8 == 0 {
                        break;
                    }
                }
            }
        }
        run.map_or(Ok(()), |bits| self.clear_bits(window, bits, only))
    }

    fn clear_bits(&mut self, window: &Window, bits: Bits, only: u32) -> Result {
        let range = window.bytes(bits).ok_or(EINVAL)?;
        let mut found = Found::default();
        let how = How {
            into: Target::Nowhere,
            keep: false,
            flags: 0,
            only,
        };
        self.for_parts(range, |state, part| state.pass(part, how, &mut found));
        found.error.map_or(Ok(()), Err)
    }
}
