// SPDX-License-Identifier: GPL-2.0

//! The state of a VF as a file that is read or written from its beginning to its end.
//!
//! What is copied is copied by way of a page of the file's own, so that no lock of the VF is held
//! while user memory is touched: that may take as long as the user likes.
//!
//! C headers: `include/linux/fs.h`, `include/linux/anon_inodes.h`.

use super::bindings;
use crate::{
    migration::Migration,
    VfioMlx5, //
};
use core::ptr::NonNull;
use kernel::{
    bindings::{
        __poll_t, //
        file,
        file_operations,
        inode,
        loff_t,
        poll_table_struct,
    },
    current,
    error::{
        from_err_ptr,
        from_result, //
    },
    ffi::{
        c_char,
        c_int,
        c_void, //
    },
    fs::File,
    module::this_module,
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        poll::PollTable,
        Arc,
        Mutex, //
    },
    types::ForeignOwnable,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

struct Fops(file_operations);

// SAFETY: The kernel only reads it.
unsafe impl Sync for Fops {}

static SAVES: Fops = Fops(file_operations {
    owner: this_module::<VfioMlx5>().as_ptr(),
    read: Some(read),
    poll: Some(poll),
    release: Some(release),
    ..pin_init::zeroed()
});

static LOADS: Fops = Fops(file_operations {
    owner: this_module::<VfioMlx5>().as_ptr(),
    write: Some(write),
    release: Some(release),
    ..pin_init::zeroed()
});

/// An open stream. It may outlive the device that it is of.
#[pin_data]
struct Open {
    vf: Arc<Migration>,
    number: u64,
    /// Who copies from or to user memory.
    #[pin]
    cursor: Mutex<Cursor>,
}

struct Cursor {
    /// Where the next read begins.
    at: u64,
    /// One page.
    buffer: KVec<u8>,
}

/// What a file of ours has as its data.
type Data = Pin<KBox<Open>>;

/// Opens the stream `number` of `vf`, to save its state or to load it.
pub(crate) fn open(vf: Arc<Migration>, number: u64, saves: bool) -> Result<ARef<File>> {
    let buffer = KVec::zeroed(PAGE_SIZE, GFP_KERNEL_ACCOUNT)?;
    let open = KBox::pin_init(
        pin_init!(Open {
            vf,
            number,
            cursor <- new_mutex!(Cursor { at: 0, buffer }, "vfio_mlx5::Open::cursor"),
        }),
        GFP_KERNEL_ACCOUNT,
    )?;
    let fops = if saves { &SAVES } else { &LOADS };
    let data = open.into_foreign();
    // SAFETY: The operations are static, and expect this data. `release` frees it.
    let file = from_err_ptr(unsafe { bindings::vfio_mlx5_stream(&fops.0, data, saves) });
    let file = file.inspect_err(|_| {
        // SAFETY: It was made above, and no file has it.
        drop(unsafe { <Data as ForeignOwnable>::from_foreign(data) });
    })?;
    let file = NonNull::new(file).ok_or(ENOMEM)?;
    // SAFETY: It is a new file with one reference, that is ours. It is not open in any task yet.
    Ok(unsafe { ARef::from_raw(file.cast()) })
}

impl Open {
    fn read(&self, to: UserSlice) -> Result<usize> {
        let mut to = to.writer();
        let mut cursor = self.cursor.lock();
        let Cursor { at, buffer } = &mut *cursor;
        let mut done = 0_usize;
        while !to.is_empty() {
            let room = to.len().min(buffer.len());
            let copied = (|| {
                let room = buffer.get_mut(..room).unwrap_or_default();
                let len = self.vf.read(self.number, *at, room)?;
                to.write_slice(room.get(..len).unwrap_or_default())?;
                Ok(len)
            })();
            match copied {
                Ok(0) => break,
                Ok(len) => {
                    *at = at.saturating_add(len as u64);
                    done = done.saturating_add(len);
                }
                // What was copied before is not lost.
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write(&self, from: UserSlice) -> Result<usize> {
        let mut from = from.reader();
        let mut cursor = self.cursor.lock();
        let mut done = 0_usize;
        while !from.is_empty() {
            // Each state that is loaded takes a while.
            if done > 0 && current!().signal_pending() {
                break;
            }
            let len = match from.read_slice_partial(&mut cursor.buffer, 0) {
                Ok(len) => len,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            };
            let bytes = cursor.buffer.get(..len).unwrap_or_default();
            // Also if some was taken before: it was for nothing.
            self.vf.write(self.number, bytes)?;
            done = done.saturating_add(len);
        }
        Ok(done)
    }
}

/// # Safety
///
/// `file` must be one of ours, and not released for `'a`.
unsafe fn borrow<'a>(file: *mut file) -> Pin<&'a Open> {
    // SAFETY: Its data is what `open` gave it, until `release`.
    unsafe { <Data as ForeignOwnable>::borrow((*file).private_data) }
}

fn to_isize(result: Result<usize>) -> isize {
    // CAST: A length in memory.
    from_result(|| result.map(|done| done as isize))
}

/// # Safety
///
/// For the kernel, as a file operation: `file` is an open file of ours.
unsafe extern "C" fn read(file: *mut file, to: *mut c_char, len: usize, _at: *mut loff_t) -> isize {
    // SAFETY: The file is open for the time of the call.
    let open = unsafe { borrow(file) };
    to_isize(open.read(UserSlice::new(UserPtr::from_ptr(to.cast()), len)))
}

/// # Safety
///
/// For the kernel, as a file operation: `file` is an open file of ours.
unsafe extern "C" fn write(
    file: *mut file,
    from: *const c_char,
    len: usize,
    _at: *mut loff_t,
) -> isize {
    // SAFETY: The file is open for the time of the call.
    let open = unsafe { borrow(file) };
    let from = UserPtr::from_ptr(from.cast_mut().cast::<c_void>());
    to_isize(open.write(UserSlice::new(from, len)))
}

/// # Safety
///
/// For the kernel, as a file operation: `file` is an open file of ours, `table` null or valid.
unsafe extern "C" fn poll(file: *mut file, table: *mut poll_table_struct) -> __poll_t {
    // SAFETY: The file is open for the time of the call, the table null or valid.
    let (open, table) = unsafe { (borrow(file), PollTable::from_raw(table)) };
    // SAFETY: The file is valid; nothing here uses its position.
    let file = unsafe { File::from_raw_file(file) };
    table.register_wait(file, open.vf.ended());
    // There is always something to read: the state, its end, or an error.
    let readable = kernel::bindings::POLLIN | kernel::bindings::POLLRDNORM;
    if open.vf.has_ended(open.number) {
        readable | kernel::bindings::POLLRDHUP
    } else {
        readable
    }
}

/// # Safety
///
/// For the kernel, as a file operation: `file` is a file of ours that is being released.
unsafe extern "C" fn release(_inode: *mut inode, file: *mut file) -> c_int {
    // SAFETY: The file is being released: nobody else uses its data any more.
    drop(unsafe { <Data as ForeignOwnable>::from_foreign((*file).private_data) });
    0
}
