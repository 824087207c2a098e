// SPDX-License-Identifier: GPL-2.0

//! The state of a VF as a file that is read or written from its beginning to its end.
//!
//! What is copied is copied by way of memory of the file's own, so that no lock of the VF is held
//! while user memory is touched: that may take as long as the user likes. What could not be copied
//! to the user stays in the stream.
//!
//! C headers: `include/linux/fs.h`, `include/linux/anon_inodes.h`.

use super::bindings;
use crate::{
    migration::Migration,
    outgoing::Outlook,
    VfioMlx5, //
};
use core::{
    mem::offset_of,
    ptr::NonNull, //
};
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
        c_long,
        c_uint,
        c_ulong,
        c_void, //
    },
    fs::File,
    module::this_module,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
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
    unlocked_ioctl: Some(ioctl),
    #[cfg(CONFIG_COMPAT)]
    compat_ioctl: Some(kernel::bindings::compat_ptr_ioctl),
    release: Some(release),
    ..pin_init::zeroed()
});

static LOADS: Fops = Fops(file_operations {
    owner: this_module::<VfioMlx5>().as_ptr(),
    write: Some(write),
    release: Some(release),
    ..pin_init::zeroed()
});

/// As many bytes are copied at a time.
const COPIED: usize = 64 << 10;

/// An open stream. It may outlive the device that it is of.
#[pin_data]
struct Open {
    vf: Arc<Migration>,
    number: u64,
    /// Taken by whoever copies from or to user memory.
    #[pin]
    buffer: Mutex<KVVec<u8>>,
}

/// What a file of ours has as its data.
type Data = Pin<KBox<Open>>;

/// Opens the stream `number` of `vf`, to save its state or to load it.
pub(crate) fn open(vf: Arc<Migration>, number: u64, saves: bool) -> Result<ARef<File>> {
    let buffer = KVVec::zeroed(COPIED, GFP_KERNEL_ACCOUNT)?;
    let open = KBox::pin_init(
        pin_init!(Open {
            vf,
            number,
            buffer <- new_mutex!(buffer, "vfio_mlx5::Open::buffer"),
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
    /// Errors: `ENOMSG` if there is nothing more as long as the VF runs, `EAGAIN` if there is
    /// nothing yet and `wait` is false, `ERESTARTSYS`, `EFAULT`; `ENODEV` if the stream has come to
    /// an untimely end, and why it went wrong.
    fn read(&self, to: UserSlice, wait: bool) -> Result<usize> {
        let mut to = to.writer();
        while !to.is_empty() {
            match self.vf.outlook(self.number)? {
                (Outlook::Bytes, _) => (),
                (Outlook::End | Outlook::Failed, _) => return Ok(0),
                (Outlook::NoMore, _) => return Err(ENOMSG),
                (Outlook::Wait, _) if !wait => return Err(EAGAIN),
                (Outlook::Wait, seen) => {
                    self.vf.changed().wait_interruptible(seen)?;
                    continue;
                }
            }
            let mut done = 0_usize;
            let mut buffer = self.buffer.lock();
            while !to.is_empty() {
                let room = to.len().min(buffer.len());
                let room = buffer.get_mut(..room).unwrap_or_default();
                let copied = self.vf.peek(self.number, room).and_then(|len| {
                    to.write_slice(room.get(..len).unwrap_or_default())?;
                    Ok(len)
                });
                match copied {
                    Ok(0) => break,
                    Ok(len) => {
                        self.vf.consume(self.number, len);
                        done = done.saturating_add(len);
                    }
                    // What was copied before is not lost.
                    Err(_) if done > 0 => break,
                    Err(e) => return Err(e),
                }
            }
            // If there is nothing, somebody else has read it.
            if done > 0 {
                return Ok(done);
            }
        }
        Ok(0)
    }

    fn write(&self, from: UserSlice) -> Result<usize> {
        let mut from = from.reader();
        let mut buffer = self.buffer.lock();
        let mut done = 0_usize;
        while !from.is_empty() {
            // Each state that is loaded takes a while.
            if done > 0 && current!().signal_pending() {
                break;
            }
            let len = match from.read_slice_partial(&mut buffer, 0) {
                Ok(len) => len,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            };
            let bytes = buffer.get(..len).unwrap_or_default();
            // Also if some was taken before: it was for nothing.
            self.vf.write(self.number, bytes)?;
            done = done.saturating_add(len);
        }
        Ok(done)
    }

    /// Fills in a `struct vfio_precopy_info` of the user's. Errors: `EFAULT`, `EINVAL` if it is too
    /// short, and those of [`Migration::info`].
    fn info(&self, user: UserPtr) -> Result {
        type Raw = bindings::vfio_precopy_info;
        const LEN: usize = offset_of!(Raw, dirty_bytes) + size_of::<u64>();
        const FLAGS: usize = offset_of!(Raw, flags);
        const INITIAL: usize = offset_of!(Raw, initial_bytes);

        let mut reader = UserSlice::new(user, LEN).reader();
        let (argsz, mut flags) = (reader.read::<u32>()?, reader.read::<u32>()?);
        // The whole of it has to be there.
        reader.skip(INITIAL - FLAGS - size_of::<u32>())?;
        let _: (u64, u64) = (reader.read()?, reader.read()?);
        if (argsz as usize) < LEN {
            return Err(EINVAL);
        }
        let info = self.vf.info(self.number)?;
        // Without the second version of this the flags stay as they were.
        if let Some(reinit) = info.reinit {
            flags = match reinit {
                true => bindings::VFIO_PRECOPY_INFO_REINIT,
                false => 0,
            };
        }
        let mut writer = UserSlice::new(user, LEN).writer();
        writer.write(&argsz)?;
        writer.write(&flags)?;
        writer.write(&info.left.initial)?;
        writer.write(&info.left.dirty)
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
    let (open, flags) = unsafe { (borrow(file), (*file).f_flags) };
    let wait = flags & kernel::bindings::O_NONBLOCK == 0;
    to_isize(open.read(UserSlice::new(UserPtr::from_ptr(to.cast()), len), wait))
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
    // SAFETY: The file is open for the time of the call.
    let open = unsafe { borrow(file) };
    // SAFETY: The file is valid, the table null or valid. What waits for the event has taken its
    // hands off it when the file is released, and the file keeps it until then.
    unsafe { bindings::vfio_mlx5_event_poll(open.vf.changed().as_raw(), file, table) };
    let readable = kernel::bindings::POLLIN | kernel::bindings::POLLRDNORM;
    match open.vf.outlook(open.number) {
        Ok((Outlook::Bytes | Outlook::End, _)) => readable,
        Ok((Outlook::Wait | Outlook::NoMore, _)) => 0,
        // There is an error to be read.
        Ok((Outlook::Failed, _)) | Err(_) => readable | kernel::bindings::POLLRDHUP,
    }
}

/// # Safety
///
/// For the kernel, as a file operation: `file` is an open file of ours.
unsafe extern "C" fn ioctl(file: *mut file, command: c_uint, argument: c_ulong) -> c_long {
    // SAFETY: The file is open for the time of the call.
    let open = unsafe { borrow(file) };
    let result = match command {
        bindings::VFIO_MLX5_GET_PRECOPY_INFO => open.info(UserPtr::from_addr(argument)),
        _ => Err(ENOTTY),
    };
    match result {
        Ok(()) => 0,
        // CAST: It is small.
        Err(e) => e.to_errno() as c_long,
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
