// SPDX-License-Identifier: GPL-2.0

//! The structures of the uAPI, as bytes that userspace gives and gets.
//!
//! C header: `include/uapi/linux/iommufd_dirty.h`.

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
    iommufd_dirty_range as DirtyRange,
    iommufd_dirty_ranges as Ranges,
    iommufd_dirty_read as Read,
    iommufd_dirty_set_policy as SetPolicy,
    iommufd_dirty_start as Start,
    iommufd_dirty_start_result as StartResult,
    iommufd_dirty_stats as Stats,
    iommufd_dirty_stop as Stop,
    iommufd_dirty_tracker_info as TrackerInfo,
    iommufd_dirty_unbind as Unbind, //
};

/// A structure of the uAPI: no padding, no value of any byte is invalid.
pub(crate) trait Uapi: AsBytes + FromBytes + Copy + Default {}

macro_rules! uapi {
    ($($t:ident: $($field:ident)+;)*) => {$(
        // No padding: the fields fill the structure.
        const _: () = {
            const fn size<S, F>(_: fn(&S) -> &F) -> usize {
                core::mem::size_of::<F>()
            }
            assert!(0 $(+ size(|s: &$t| &s.$field))+ == core::mem::size_of::<$t>());
        };
        // SAFETY: All fields are integers or arrays of them, and there is no padding (checked
        // above).
        unsafe impl AsBytes for $t {}
        // SAFETY: All fields are integers or arrays of them.
        unsafe impl FromBytes for $t {}
        impl Uapi for $t {}
    )*};
}

uapi! {
    Info: size flags out_version out_max_trackers out_features out_max_ranges out_max_read_ranges
        out_max_residual;
    BindHwpt: size flags iommufd hwpt_id policy out_tracker_id;
    BindUntracked: size flags policy out_tracker_id;
    Unbind: size flags tracker_id __reserved;
    List: size flags nr_ids __reserved ids_uptr;
    TrackerInfo: size flags tracker_id out_kind out_state out_policy out_caps out_error out_pgsizes
        out_granule out_max_ranges out_nr_ranges out_min_span out_max_span out_memory out_name;
    DirtyRange: iova length;
    Ranges: size flags nr_ranges __reserved ranges_uptr;
    StartResult: tracker_id error granule nr_ranges __reserved memory;
    Start: size flags page_size out_granule nr_results __reserved results_uptr;
    Stop: size flags;
    Bitmap: iova length bitmap_uptr bit_offset;
    Read: size flags tracker_id nr_ranges ranges_uptr page_size extents_uptr nr_extents out_status
        out_dirty next_range out_nr_extents next_offset;
    Clear: size flags tracker_id nr_ranges ranges_uptr page_size;
    Harvest: size flags tracker_id out_status iova length;
    SetPolicy: size flags tracker_id policy;
    Stats: size flags tracker_id out_last_error out_reads out_errors out_extents out_last_read_ns
        out_max_read_ns out_memory out_bitmap_bytes out_residual_bytes out_residual_memory
        out_overreported;
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

/// Copies element `index` of a user array at `base` in.
pub(crate) fn get<T: Uapi>(base: u64, index: u32) -> Result<T> {
    let size = core::mem::size_of::<T>();
    copy_in(element(base, index, size)?, size)
}

/// Copies `value` out, to element `index` of a user array at `base`.
pub(crate) fn put<T: Uapi>(base: u64, index: u32, value: &T) -> Result {
    let size = core::mem::size_of::<T>();
    copy_out(element(base, index, size)?, size, value)
}

/// Address of element `index` of a user array at `base` whose elements have `size` bytes.
pub(crate) fn element(base: u64, index: u32, size: usize) -> Result<usize> {
    let offset = u64::from(index).checked_mul(size as u64).ok_or(EFAULT)?;
    let addr = base.checked_add(offset).ok_or(EFAULT)?;
    usize::try_from(addr).map_err(|_| EFAULT)
}
