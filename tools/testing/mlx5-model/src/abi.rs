// SPDX-License-Identifier: GPL-2.0

//! What std has no safe interface for: shared memory, and file descriptors sent over a socket.
//!
//! All unsafe code of the model is here.

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// A file that is mapped whole, and that another program reads and writes at the same time.
///
/// # Invariants
///
/// `base` is the start of a mapping of `len` bytes that lives as long as this does.
#[derive(Debug)]
pub struct SharedFile {
    base: *mut u8,
    len: usize,
}

// SAFETY: The mapping belongs to the process, not to a thread. The bytes are reached by raw copies
// and atomics only; no reference to them is ever made.
unsafe impl Send for SharedFile {}
// SAFETY: As above.
unsafe impl Sync for SharedFile {}

impl SharedFile {
    /// Maps all of `file`.
    pub fn map(file: &File) -> io::Result<Self> {
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        // SAFETY: A new mapping at an address of the kernel's choice touches no other memory.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            base: base.cast(),
            len,
        })
    }

    /// The size in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn at(&self, offset: usize, len: usize) -> Option<*mut u8> {
        if offset.checked_add(len)? > self.len {
            return None;
        }
        Some(self.base.wrapping_add(offset))
    }

    /// Copies from the file; `None` if it does not hold that range. An aligned word is read at once.
    pub fn read(&self, offset: usize, buf: &mut [u8]) -> Option<()> {
        let from = self.at(offset, buf.len())?;
        match buf.len() {
            4 if from.addr() % 4 == 0 => {
                // SAFETY: In the mapping by `at()`, and aligned.
                let word = unsafe { AtomicU32::from_ptr(from.cast()) }.load(Ordering::Acquire);
                buf.copy_from_slice(&word.to_ne_bytes());
            }
            8 if from.addr() % 8 == 0 => {
                // SAFETY: In the mapping by `at()`, and aligned.
                let word = unsafe { AtomicU64::from_ptr(from.cast()) }.load(Ordering::Acquire);
                buf.copy_from_slice(&word.to_ne_bytes());
            }
            // SAFETY: In the mapping by `at()`; `buf` is not part of it, as no reference is.
            _ => unsafe { ptr::copy_nonoverlapping(from, buf.as_mut_ptr(), buf.len()) },
        }
        Some(())
    }

    /// Copies into the file; `None` if it does not hold that range. An aligned word is written at
    /// once, and what was written before it is seen before it.
    pub fn write(&self, offset: usize, buf: &[u8]) -> Option<()> {
        let to = self.at(offset, buf.len())?;
        match (buf.len(), <[u8; 4]>::try_from(buf)) {
            (4, Ok(word)) if to.addr() % 4 == 0 => {
                let word = u32::from_ne_bytes(word);
                // SAFETY: In the mapping by `at()`, and aligned.
                unsafe { AtomicU32::from_ptr(to.cast()) }.store(word, Ordering::Release);
            }
            // SAFETY: In the mapping by `at()`; `buf` is not part of it, as no reference is.
            _ => unsafe { ptr::copy_nonoverlapping(buf.as_ptr(), to, buf.len()) },
        }
        Some(())
    }
}

impl Drop for SharedFile {
    fn drop(&mut self) {
        // SAFETY: The mapping is ours by the invariant, and nobody reaches it after this.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

/// How many file descriptors come with one message. QEMU sends eight at most.
const MAX_FDS: usize = 16;

/// Receives some bytes, and the file descriptors that came with them. No bytes: the end.
pub fn receive(socket: &UnixStream, buf: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    // u64, because the headers in it have to be aligned.
    let mut control = [0u64; (64 + MAX_FDS * size_of::<i32>()) / 8];
    let mut iov = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: All zeroes is a msghdr.
    let mut msg: libc::msghdr = unsafe { zeroed() };
    msg.msg_iov = &mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.as_mut_ptr().cast();
    msg.msg_controllen = size_of_val(&control);
    // SAFETY: `msg` points to buffers that live until the end of this function, with their sizes.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut msg, libc::MSG_CMSG_CLOEXEC) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;

    let mut fds = Vec::new();
    // SAFETY: recvmsg() filled in `msg`.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&msg) };
    while !header.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return a whole header in `control`, or null.
        let (level, kind, len) = unsafe {
            (
                (*header).cmsg_level,
                (*header).cmsg_type,
                (*header).cmsg_len,
            )
        };
        if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
            // SAFETY: It only computes a length.
            let head = unsafe { libc::CMSG_LEN(0) } as usize;
            for i in 0..(len.saturating_sub(head) / size_of::<i32>()) {
                // SAFETY: The kernel put so many descriptors behind the header; each is new, and
                // ours alone.
                let fd = unsafe {
                    libc::CMSG_DATA(header)
                        .cast::<i32>()
                        .add(i)
                        .read_unaligned()
                };
                // SAFETY: As above.
                fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
        // SAFETY: `header` is one of `msg`.
        header = unsafe { libc::CMSG_NXTHDR(&msg, header) };
    }
    Ok((got, fds))
}
