// SPDX-License-Identifier: GPL-2.0

//! The structures of the uAPI, as bytes that userspace gives and gets.
//!
//! C header: `include/uapi/linux/iommufd_dirty.h`.

use core::marker::PhantomData;
use kernel::{
    prelude::*,
    transmute::{
        AsBytes,
        FromBytes, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

pub(crate) use super::bindings::{
    iommufd_dirty_bind_hwpt as BindHwpt,
    iommufd_dirty_bind_untracked as BindUntracked,
    iommufd_dirty_bitmap as Bitmap,
    iommufd_dirty_clear as Clear,
    iommufd_dirty_harvest as Harvest,
    iommufd_dirty_info as Info,
    iommufd_dirty_list as List,
    iommufd_dirty_list_ranges as ListRanges,
    iommufd_dirty_new as New,
    iommufd_dirty_range as DirtyRange,
    iommufd_dirty_ranges as Ranges,
    iommufd_dirty_read as Read,
    iommufd_dirty_read_result as ReadResult,
    iommufd_dirty_set_policy as SetPolicy,
    iommufd_dirty_start as Start,
    iommufd_dirty_start_result as StartResult,
    iommufd_dirty_stats as Stats,
    iommufd_dirty_stop as Stop,
    iommufd_dirty_tracker_info as TrackerInfo,
    iommufd_dirty_unbind as Unbind, //
};

/// A structure of the uAPI: no padding, no value of any byte is invalid.
pub(crate) trait Uapi: AsBytes + FromBytes + Copy + Default {
    /// Bytes that the structure had when it was introduced: what userspace has at least. It stays
    /// when the structure grows.
    const MIN_SIZE: usize;
}

macro_rules! uapi {
    ($($t:ident($min:literal): $($field:ident)+;)*) => {$(
        // No padding: the fields fill the structure.
        const _: () = {
            const fn size<S, F>(_: fn(&S) -> &F) -> usize {
                core::mem::size_of::<F>()
            }
            assert!(0 $(+ size(|s: &$t| &s.$field))+ == core::mem::size_of::<$t>());
            assert!($min <= core::mem::size_of::<$t>());
        };
        // SAFETY: All fields are integers or arrays of them, and there is no padding (checked
        // above).
        unsafe impl AsBytes for $t {}
        // SAFETY: All fields are integers or arrays of them.
        unsafe impl FromBytes for $t {}
        impl Uapi for $t {
            const MIN_SIZE: usize = $min;
        }
    )*};
}

// The numbers do not change when fields are added at the end.
uapi! {
    Info(40): size flags out_features out_max_trackers out_max_ranges out_max_read_ranges __reserved
        out_max_residual;
    New(16): size flags out_fd __reserved;
    BindHwpt(32): size flags iommufd hwpt_id policy out_tracker_id cookie;
    BindUntracked(24): size flags policy out_tracker_id cookie;
    Unbind(24): size flags tracker_id __reserved next_iova;
    List(24): size flags nr_ids __reserved ids_uptr;
    TrackerInfo(152): size flags tracker_id out_kind out_state out_policy out_caps out_error
        out_pgsizes out_granule out_max_ranges out_nr_ranges out_min_span out_max_span out_memory
        out_cookie out_name;
    DirtyRange(16): iova length;
    Ranges(24): size flags nr_ranges range_len ranges_uptr;
    ListRanges(24): size flags nr_ranges range_len ranges_uptr;
    StartResult(40): tracker_id error granule nr_ranges __reserved memory cookie;
    Start(40): size flags page_size out_granule nr_results result_len results_uptr;
    Stop(8): size flags;
    Bitmap(32): iova length bitmap_uptr bit_offset;
    ReadResult(32): tracker_id error status __reserved bytes cookie;
    Read(104): size flags tracker_id nr_ranges ranges_uptr range_len next_range next_offset
        next_tracker nr_results page_size extents_uptr nr_extents extent_len results_uptr result_len
        out_status out_dirty out_nr_extents out_nr_results;
    Clear(56): size flags tracker_id nr_ranges ranges_uptr range_len next_range next_offset
        next_tracker out_status page_size;
    Harvest(48): size flags tracker_id nr_ranges ranges_uptr range_len next_range next_offset
        next_tracker out_status;
    SetPolicy(16): size flags tracker_id policy;
    Stats(104): size flags tracker_id out_last_error out_reads out_errors out_extents
        out_last_read_ns out_max_read_ns out_memory out_bitmap_bytes out_residual_bytes
        out_residual_memory out_overreported out_cookie;
}

/// Copies a structure from userspace, of which userspace has `size` bytes: what it does not have is
/// zero, as in `copy_struct_from_user()`.
///
/// Errors: `E2BIG` if something that the kernel does not know is not zero, `EFAULT`.
pub(crate) fn copy_in<T: Uapi>(addr: usize, size: usize) -> Result<T> {
    let known = size.min(core::mem::size_of::<T>());
    let mut reader = UserSlice::new(UserPtr::from_addr(addr), size).reader();
    let mut value = T::default();
    if let Some(bytes) = value.as_bytes_mut().get_mut(..known) {
        reader.read_slice(bytes)?;
    }
    let mut tail = [0u8; 64];
    while !reader.is_empty() {
        let n = reader.len().min(tail.len());
        let Some(chunk) = tail.get_mut(..n) else {
            return Err(EINVAL);
        };
        reader.read_slice(chunk)?;
        if chunk.iter().any(|b| *b != 0) {
            return Err(E2BIG);
        }
    }
    Ok(value)
}

/// Copies as much of `value` to userspace as userspace has room for.
pub(crate) fn copy_out<T: Uapi>(addr: usize, size: usize, value: &T) -> Result {
    let known = size.min(core::mem::size_of::<T>());
    let bytes = value.as_bytes().get(..known).ok_or(EINVAL)?;
    UserSlice::new(UserPtr::from_addr(addr), known)
        .writer()
        .write_slice(bytes)
}

/// An array of userspace, whose elements may be longer than the kernel knows.
#[derive(Clone, Copy)]
pub(crate) struct Array<T: Uapi> {
    base: u64,
    nr: u32,
    len: usize,
    _element: PhantomData<T>,
}

impl<T: Uapi> Array<T> {
    /// `nr` elements of `len` bytes each. Of an empty array nothing else is looked at.
    ///
    /// Errors: `EINVAL` if `len` is too short, `E2BIG` if it is beyond reason, `EFAULT`.
    pub(crate) fn new(base: u64, nr: u32, len: u32) -> Result<Self> {
        let len = len as usize;
        if nr != 0 && len < T::MIN_SIZE {
            return Err(EINVAL);
        }
        if nr != 0 && len > kernel::page::PAGE_SIZE {
            return Err(E2BIG);
        }
        let array = Self {
            base,
            nr,
            len,
            _element: PhantomData,
        };
        array.address(nr)?;
        Ok(array)
    }

    /// Copies element `index` in.
    ///
    /// Errors: see [`copy_in`].
    pub(crate) fn get(&self, index: u32) -> Result<T> {
        copy_in(self.address(index)?, self.len)
    }

    /// Copies `value` out, to element `index`; what the kernel does not know of it becomes 0.
    pub(crate) fn put(&self, index: u32, value: &T) -> Result {
        let addr = self.address(index)?;
        copy_out(addr, self.len, value)?;
        let mut known = core::mem::size_of::<T>();
        let zeroes = [0u8; 64];
        while let Some(left) = self.len.checked_sub(known).filter(|left| *left > 0) {
            let chunk = zeroes.get(..left.min(zeroes.len())).ok_or(EINVAL)?;
            let at = addr.checked_add(known).ok_or(EFAULT)?;
            UserSlice::new(UserPtr::from_addr(at), chunk.len())
                .writer()
                .write_slice(chunk)?;
            known = known.saturating_add(chunk.len());
        }
        Ok(())
    }

    /// Copies out as many of `values` as there is room for.
    pub(crate) fn write_all(&self, values: impl Iterator<Item = T>) -> Result {
        for (at, value) in (0..self.nr).zip(values) {
            if super::killed() {
                return Err(EINTR);
            }
            self.put(at, &value)?;
        }
        Ok(())
    }

    fn address(&self, index: u32) -> Result<usize> {
        let offset = u64::from(index).checked_mul(self.len as u64);
        let addr = offset.and_then(|offset| self.base.checked_add(offset));
        usize::try_from(addr.ok_or(EFAULT)?).map_err(|_| EFAULT)
    }
}

/// Copies number `index` out, to an array of numbers at `base`.
pub(crate) fn put_id(base: u64, index: u32, id: u32) -> Result {
    let offset = u64::from(index) * 4;
    let addr = base.checked_add(offset).ok_or(EFAULT)?;
    UserSlice::new(UserPtr::from_addr(usize::try_from(addr)?), 4)
        .writer()
        .write(&id)
}
