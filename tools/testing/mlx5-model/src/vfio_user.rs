// SPDX-License-Identifier: GPL-2.0

//! The vfio-user protocol: a function behind a socket, for QEMU's vfio-user-pci.
//!
//! Requests are answered in their order. The numbers are those of include/uapi/linux/vfio.h and of
//! QEMU's docs/interop/vfio-user.rst.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::abi;
use crate::bar;
use crate::device::Device;
use crate::pci;

const VERSION: u16 = 1;
const DMA_MAP: u16 = 2;
const DMA_UNMAP: u16 = 3;
const DEVICE_GET_INFO: u16 = 4;
const DEVICE_GET_REGION_INFO: u16 = 5;
const DEVICE_GET_IRQ_INFO: u16 = 7;
const DEVICE_SET_IRQS: u16 = 8;
const REGION_READ: u16 = 9;
const REGION_WRITE: u16 = 10;
const DEVICE_RESET: u16 = 13;

const HEADER: usize = 16;
const FLAG_TYPE: u32 = 0xf;
const FLAG_REPLY: u32 = 0x1;
const FLAG_NO_REPLY: u32 = 0x10;
const FLAG_ERROR: u32 = 0x20;
/// The longest message: a transfer of the default maximum, and its address.
const MAX_MESSAGE: usize = (1 << 20) + 64;

const DEVICE_FLAGS_RESET_PCI: u32 = 0b11;
const REGIONS: u32 = 9;
const REGION_BAR0: u32 = 0;
const REGION_CONFIG: u32 = 7;
const REGION_FLAGS_READ_WRITE: u32 = 0b11;
const IRQS: u32 = 5;
const IRQ_MSIX: u32 = 2;
const IRQ_INFO_EVENTFD: u32 = 0b1;
const IRQ_SET_DATA_NONE: u32 = 1 << 0;
const IRQ_SET_DATA_EVENTFD: u32 = 1 << 2;
const IRQ_SET_ACTION_TRIGGER: u32 = 1 << 5;
const DMA_MAP_FLAG_WRITE: u32 = 1 << 1;
const DMA_UNMAP_FLAG_ALL: u32 = 1 << 1;

/// A request, or its reply being built.
struct Message<'a> {
    body: &'a [u8],
    fds: Vec<OwnedFd>,
}

impl Message<'_> {
    fn u16(&self, at: usize) -> Result<u16, i32> {
        let bytes = self.body.get(at..at + 2).and_then(|b| b.try_into().ok());
        bytes.map(u16::from_le_bytes).ok_or(libc::EINVAL)
    }

    fn u32(&self, at: usize) -> Result<u32, i32> {
        let bytes = self.body.get(at..at + 4).and_then(|b| b.try_into().ok());
        bytes.map(u32::from_le_bytes).ok_or(libc::EINVAL)
    }

    fn u64(&self, at: usize) -> Result<u64, i32> {
        let bytes = self.body.get(at..at + 8).and_then(|b| b.try_into().ok());
        bytes.map(u64::from_le_bytes).ok_or(libc::EINVAL)
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn errno(error: &io::Error) -> i32 {
    match error.kind() {
        io::ErrorKind::AlreadyExists => libc::EEXIST,
        _ => error.raw_os_error().unwrap_or(libc::EINVAL),
    }
}

/// The body of a reply, or an errno.
type Answer = Result<Vec<u8>, i32>;

/// Serves one function to one client.
pub struct Server<'a> {
    device: &'a Mutex<Device>,
    function: usize,
}

impl<'a> Server<'a> {
    /// For the function with that number.
    pub fn new(device: &'a Mutex<Device>, function: usize) -> Self {
        Self { device, function }
    }

    fn device(&self) -> MutexGuard<'a, Device> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves until the client goes; then the function is as it was.
    pub fn serve(&self, mut socket: UnixStream) -> io::Result<()> {
        let result = loop {
            match self.one(&mut socket) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let mut device = self.device();
        device.reset(self.function);
        if let Some(f) = device.functions.get_mut(self.function) {
            f.memory.clear();
            f.irqs.clear();
        }
        result
    }

    /// Receives a request and answers it. False at the end.
    fn one(&self, socket: &mut UnixStream) -> io::Result<bool> {
        let mut header = [0; HEADER];
        let (got, fds) = abi::receive(socket, &mut header)?;
        if got == 0 {
            return Ok(false);
        }
        let rest = header.get_mut(got..).ok_or(io::ErrorKind::InvalidData)?;
        socket.read_exact(rest)?;
        let fields = Message {
            body: &header,
            fds: Vec::new(),
        };
        let field = |word: Result<u32, i32>| word.map_err(io::Error::from_raw_os_error);
        let (size, flags) = (field(fields.u32(4))?, field(fields.u32(8))?);
        let command = fields.u16(2).unwrap_or_default();
        let length = (size as usize).checked_sub(HEADER);
        let length = length.filter(|_| size as usize <= MAX_MESSAGE);
        let length = length.ok_or(io::Error::other("a message of no possible length"))?;
        let mut body = vec![0; length];
        socket.read_exact(&mut body)?;
        if flags & FLAG_TYPE != 0 {
            return Err(io::Error::other("a reply to nothing"));
        }

        let answer = self.answer(command, Message { body: &body, fds });
        if flags & FLAG_NO_REPLY != 0 {
            return Ok(true);
        }
        let (flags, errno, body) = match answer {
            Ok(body) => (FLAG_REPLY, 0, body),
            Err(errno) => (FLAG_REPLY | FLAG_ERROR, errno as u32, Vec::new()),
        };
        let mut reply = header[..4].to_vec();
        reply.extend(words(&[(HEADER + body.len()) as u32, flags, errno]));
        reply.extend(body);
        socket.write_all(&reply)?;
        Ok(true)
    }

    fn answer(&self, command: u16, message: Message<'_>) -> Answer {
        match command {
            VERSION => version(&message),
            DMA_MAP => self.dma_map(&message),
            DMA_UNMAP => self.dma_unmap(&message),
            DEVICE_GET_INFO => Ok(words(&[16, DEVICE_FLAGS_RESET_PCI, REGIONS, IRQS])),
            DEVICE_GET_REGION_INFO => region_info(&message),
            DEVICE_GET_IRQ_INFO => self.irq_info(&message),
            DEVICE_SET_IRQS => self.set_irqs(message),
            REGION_READ => self.region_read(&message),
            REGION_WRITE => self.region_write(&message),
            DEVICE_RESET => {
                self.device().reset(self.function);
                Ok(Vec::new())
            }
            _ => Err(libc::ENOTSUP),
        }
    }

    fn dma_map(&self, message: &Message<'_>) -> Answer {
        let (flags, offset) = (message.u32(4)?, message.u64(8)?);
        let (iova, size) = (message.u64(16)?, message.u64(24)?);
        let file = match message.fds.first() {
            Some(fd) => Some(File::from(fd.try_clone().map_err(|e| errno(&e))?)),
            None => None,
        };
        let file = file.as_ref().map(|file| (file, offset));
        let writable = flags & DMA_MAP_FLAG_WRITE != 0;
        let mapped = self
            .device()
            .dma_map(self.function, iova, size, file, writable);
        mapped.map_err(|error| {
            eprintln!("cannot map {size:#x} bytes at {iova:#x}: {error}");
            errno(&error)
        })?;
        Ok(Vec::new())
    }

    fn dma_unmap(&self, message: &Message<'_>) -> Answer {
        let (flags, iova, size) = (message.u32(4)?, message.u64(8)?, message.u64(16)?);
        let mut device = self.device();
        if flags & DMA_UNMAP_FLAG_ALL != 0 {
            if let Some(f) = device.functions.get_mut(self.function) {
                f.memory.clear();
            }
        } else {
            let unmapped = device.dma_unmap(self.function, iova, size);
            unmapped.map_err(|error| {
                eprintln!("cannot unmap {size:#x} bytes at {iova:#x}: {error}");
                errno(&error)
            })?;
        }
        Ok(message.body.get(..24).unwrap_or(&[]).to_vec())
    }

    fn vectors(&self) -> u32 {
        let device = self.device();
        let function = device.functions.get(self.function);
        function.map_or(0, |f| f.irqs.count() as u32)
    }

    fn irq_info(&self, message: &Message<'_>) -> Answer {
        let index = message.u32(8)?;
        let count = match index {
            IRQ_MSIX => self.vectors(),
            0..IRQS => 0,
            _ => return Err(libc::EINVAL),
        };
        Ok(words(&[16, IRQ_INFO_EVENTFD, index, count]))
    }

    fn set_irqs(&self, message: Message<'_>) -> Answer {
        let (flags, index) = (message.u32(4)?, message.u32(8)?);
        let (start, count) = (message.u32(12)?, message.u32(16)?);
        if index != IRQ_MSIX || flags & IRQ_SET_ACTION_TRIGGER == 0 {
            return Err(libc::EINVAL);
        }
        let end = start
            .checked_add(count)
            .filter(|end| *end <= self.vectors());
        let end = end.ok_or(libc::EINVAL)?;
        let mut device = self.device();
        let f = device
            .functions
            .get_mut(self.function)
            .ok_or(libc::ENODEV)?;
        if flags & IRQ_SET_DATA_NONE != 0 && count == 0 {
            f.irqs.clear();
            return Ok(Vec::new());
        }
        // Either all of them have a descriptor or none has.
        let with = message.fds.len() == count as usize;
        if flags & IRQ_SET_DATA_EVENTFD == 0 || !(with || message.fds.is_empty()) {
            return Err(libc::EINVAL);
        }
        let mut fds = message.fds.into_iter().map(File::from);
        for vector in start..end {
            f.irqs.set(vector as usize, fds.next());
        }
        Ok(Vec::new())
    }

    /// Offset, region and count of a transfer.
    fn transfer(message: &Message<'_>) -> Result<(u64, u32, usize), i32> {
        let (offset, region, count) = (message.u64(0)?, message.u32(8)?, message.u32(12)?);
        let count = count as usize;
        match count <= MAX_MESSAGE - 64 {
            true => Ok((offset, region, count)),
            false => Err(libc::EINVAL),
        }
    }

    fn region_read(&self, message: &Message<'_>) -> Answer {
        let (offset, region, count) = Self::transfer(message)?;
        let mut data = vec![0; count];
        let mut device = self.device();
        let read = match region {
            REGION_BAR0 => bar::read(&mut device, self.function, offset, &mut data),
            REGION_CONFIG => device.config_read(self.function, offset as usize, &mut data),
            _ => None,
        };
        read.ok_or(libc::EINVAL)?;
        let mut body = message.body.get(..16).unwrap_or(&[]).to_vec();
        body.extend(data);
        Ok(body)
    }

    fn region_write(&self, message: &Message<'_>) -> Answer {
        let (offset, region, count) = Self::transfer(message)?;
        let data = message.body.get(16..16 + count).ok_or(libc::EINVAL)?;
        let mut device = self.device();
        let written = match region {
            REGION_BAR0 => bar::write(&mut device, self.function, offset, data),
            REGION_CONFIG => device.config_write(self.function, offset as usize, data),
            _ => None,
        };
        written.ok_or(libc::EINVAL)?;
        Ok(message.body.get(..16).unwrap_or(&[]).to_vec())
    }
}

fn version(message: &Message<'_>) -> Answer {
    if message.u16(0)? != 0 {
        return Err(libc::EINVAL);
    }
    // As the client: what differs between 0.0 and 0.1 is not used. And the protocol's defaults.
    let mut body = words(&[u32::from(message.u16(2)?.min(1)) << 16]);
    body.extend(b"{\"capabilities\":{}}\0");
    Ok(body)
}

fn region_info(message: &Message<'_>) -> Answer {
    let index = message.u32(8)?;
    let size = match index {
        REGION_BAR0 => bar::SIZE,
        REGION_CONFIG => pci::SIZE as u64,
        0..REGIONS => 0,
        _ => return Err(libc::EINVAL),
    };
    let flags = if size > 0 { REGION_FLAGS_READ_WRITE } else { 0 };
    let (low, high) = (size as u32, (size >> 32) as u32);
    Ok(words(&[32, flags, index, 0, low, high, 0, 0]))
}
