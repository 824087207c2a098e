// SPDX-License-Identifier: GPL-2.0

//! /dev/iommufd-dirty: each open file is a [`Context`].
//!
//! The kernel crate's `MiscDevice` has neither `poll` nor a mode, hence own file operations.
//!
//! C headers: `include/linux/miscdevice.h`, `include/linux/fs.h`.

use crate::{
    context::Context,
    debug,
    ioctl,
    IommufdDirty, //
};
use core::{
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    ffi::{
        c_long,
        c_uint,
        c_ulong, //
    },
    fs::{
        file::FileDescriptorReservation,
        File,
        LocalFile, //
    },
    module::this_module,
    prelude::*,
    seq_file::SeqFile,
    sync::{
        aref::ARef,
        poll::PollTable,
        Arc,
        ArcBorrow, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};

/// `0660`, as `/dev/iommu` has it: access is whoever's the administrator gives it to.
const MODE: u16 = 0o660;

struct Fops(bindings::file_operations);

// SAFETY: The kernel only reads it.
unsafe impl Sync for Fops {}

// A static, not a constant: a file is a context's if its operations are at this address.
static FOPS: Fops = Fops(bindings::file_operations {
    owner: this_module::<IommufdDirty>().as_ptr(),
    open: Some(open),
    release: Some(release),
    unlocked_ioctl: Some(ioctl),
    #[cfg(CONFIG_COMPAT)]
    compat_ioctl: bindings::compat_ptr_ioctl,
    poll: Some(poll),
    show_fdinfo: Some(show_fdinfo),
    ..pin_init::zeroed()
});

/// The device node. Dropping it removes it.
///
/// # Invariants
///
/// `inner` is registered.
#[pin_data(PinnedDrop)]
pub(crate) struct Node {
    #[pin]
    inner: Opaque<bindings::miscdevice>,
}

// SAFETY: The device may be deregistered from any task.
unsafe impl Send for Node {}
// SAFETY: It has no method that takes `&self`.
unsafe impl Sync for Node {}

impl Node {
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            inner <- Opaque::try_ffi_init(|slot: *mut bindings::miscdevice| {
                // SAFETY: The slot is memory for a `miscdevice`.
                unsafe {
                    slot.write(bindings::miscdevice {
                        minor: bindings::MISC_DYNAMIC_MINOR as c_int,
                        name: c"iommufd-dirty".as_char_ptr(),
                        fops: &FOPS.0,
                        mode: MODE,
                        ..pin_init::zeroed()
                    })
                };
                // INVARIANT: It is registered if this succeeds.
                // SAFETY: It is filled in, pinned, and deregistered when it is dropped.
                to_result(unsafe { bindings::misc_register(slot) })
            }),
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Node {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants.
        unsafe { bindings::misc_deregister(self.inner.get()) }
    }
}

/// An open file that is a context, held so that it is not closed meanwhile.
pub(crate) struct ContextFile {
    context: Arc<Context>,
    _file: ARef<LocalFile>,
}

/// A new context in a file of its own, with a number that nobody can use yet.
pub(crate) struct NewFile {
    fd: FileDescriptorReservation,
    file: ARef<File>,
}

impl NewFile {
    /// Errors: `EMFILE`, `ENFILE`, `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let fd = FileDescriptorReservation::get_unused_fd_flags(bindings::O_CLOEXEC)?;
        let context = Context::new()?.into_foreign();
        // SAFETY: The operations are static, and are those of a file with a context.
        let file = unsafe { super::bindings::iommufd_dirty_anon_file(&FOPS.0, context) };
        let file = from_err_ptr(file).inspect_err(|_| {
            // SAFETY: It comes from `into_foreign`, and no file has it.
            drop(unsafe { <Arc<Context> as ForeignOwnable>::from_foreign(context) });
        })?;
        let file = NonNull::new(file).ok_or(ENFILE)?;
        // SAFETY: The reference to the file is ours. Nothing uses its position.
        let file = unsafe { ARef::from_raw(file.cast()) };
        Ok(Self { fd, file })
    }

    pub(crate) fn fd(&self) -> u32 {
        self.fd.reserved_fd()
    }

    /// From now on the number is the file's.
    pub(crate) fn install(self) {
        self.fd.fd_install(self.file);
    }
}

/// The context that is open as `fd` in the current task. `EBADF` if that is something else.
pub(crate) fn context(fd: i32) -> Result<ContextFile> {
    let fd = u32::try_from(fd).map_err(|_| EBADF)?;
    let file = LocalFile::fget(fd).map_err(|_| EBADF)?;
    // SAFETY: The file is valid; its operations do not change once it is open.
    let fops = unsafe { (*file.as_ptr()).f_op };
    if !ptr::eq(fops, &FOPS.0) {
        return Err(EBADF);
    }
    // SAFETY: It was just seen to be a context's; it is held, so it is not released.
    let context = unsafe { borrow(file.as_ptr()) }.into();
    Ok(ContextFile {
        context,
        _file: file,
    })
}

impl Deref for ContextFile {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

/// # Safety
///
/// `file` must be a context's, open, and not released for `'a`.
unsafe fn borrow<'a>(file: *mut bindings::file) -> ArcBorrow<'a, Context> {
    // SAFETY: `open` put it there, and `release` takes it away.
    unsafe { <Arc<Context> as ForeignOwnable>::borrow((*file).private_data) }
}

/// # Safety
///
/// For the kernel, as a file operation: `file` is the file that is being opened.
unsafe extern "C" fn open(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    from_result(|| {
        let context = Context::new()?;
        // SAFETY: The file is being opened, and its private data is ours.
        unsafe { (*file).private_data = context.into_foreign() };
        Ok(0)
    })
}

/// # Safety
///
/// For the kernel, as a file operation: `file` is a context's file that is being released.
unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: The file is being released: nobody else uses its private data any more.
    let context = unsafe { <Arc<Context> as ForeignOwnable>::from_foreign((*file).private_data) };
    context.close();
    0
}

/// # Safety
///
/// For the kernel, as a file operation: `file` is a context's open file.
unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
    // SAFETY: The file is open for the time of the call.
    let context = unsafe { borrow(file) };
    match ioctl::dispatch(&context, cmd, arg) {
        Ok(()) => 0,
        Err(e) => e.to_errno() as c_long,
    }
}

/// # Safety
///
/// For the kernel, as a file operation: `file` is a context's open file, `table` null or valid.
unsafe extern "C" fn poll(
    file: *mut bindings::file,
    table: *mut bindings::poll_table_struct,
) -> bindings::__poll_t {
    // SAFETY: The file is open for the time of the call.
    let context = unsafe { borrow(file) };
    // SAFETY: The table is null or valid for the time of the call.
    let table = unsafe { PollTable::from_raw(table) };
    // SAFETY: The file is valid; nothing here uses its position.
    let file = unsafe { File::from_raw_file(file) };
    table.register_wait(file, context.waker().poll_wait());
    if context.waker().has_trouble() {
        // An event loop may know only readable files.
        bindings::POLLPRI | bindings::POLLIN
    } else {
        0
    }
}

/// # Safety
///
/// For the kernel, as a file operation: `file` is a context's open file, `m` is valid.
unsafe extern "C" fn show_fdinfo(m: *mut bindings::seq_file, file: *mut bindings::file) {
    // SAFETY: The file is open for the time of the call.
    let context = unsafe { borrow(file) };
    // SAFETY: The sequence file is valid for the time of the call.
    let m = unsafe { SeqFile::from_raw(m) };
    debug::fdinfo(&context, m);
}
