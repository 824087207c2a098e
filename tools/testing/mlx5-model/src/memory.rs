// SPDX-License-Identifier: GPL-2.0

//! What a function can reach by DMA: I/O virtual addresses, mapped to files that QEMU shares.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::Weak;

use crate::abi::SharedFile;

/// A DMA that went nowhere: not mapped, or not writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The address that could not be reached.
    pub iova: u64,
}

/// The files that are mapped into this process. Behind a vIOMMU QEMU maps page by page, each page
/// with the descriptor of the same file: one mapping of the file serves them all.
#[derive(Debug, Default)]
pub struct Files {
    by_inode: BTreeMap<(u64, u64), Weak<SharedFile>>,
}

impl Files {
    fn get(&mut self, file: &File) -> io::Result<Arc<SharedFile>> {
        let meta = file.metadata()?;
        let key = (meta.dev(), meta.ino());
        if let Some(shared) = self.by_inode.get(&key).and_then(Weak::upgrade) {
            if shared.len() as u64 == meta.len() {
                return Ok(shared);
            }
        }
        let shared = Arc::new(SharedFile::map(file)?);
        self.by_inode.insert(key, Arc::downgrade(&shared));
        Ok(shared)
    }
}

#[derive(Debug)]
struct Mapping {
    /// Not 0.
    len: u64,
    /// Where it is in a file, and the file. Memory without a file cannot be reached.
    file: Option<(Arc<SharedFile>, u64)>,
    writable: bool,
}

impl Mapping {
    /// Its last address.
    fn last(&self, start: u64) -> u64 {
        start.saturating_add(self.len - 1)
    }
}

/// The last address of a range. It may be the last that there is; an empty range has none.
fn last(start: u64, len: u64) -> Option<u64> {
    start.checked_add(len.checked_sub(1)?)
}

/// The address space of one function.
#[derive(Debug, Default)]
pub struct Memory {
    /// By their start. They do not overlap.
    mappings: BTreeMap<u64, Mapping>,
}

impl Memory {
    /// Maps `len` bytes at `iova` to `file`, from `offset` on.
    pub fn map(
        &mut self,
        files: &mut Files,
        iova: u64,
        len: u64,
        file: Option<(&File, u64)>,
        writable: bool,
    ) -> io::Result<()> {
        let last = last(iova, len).ok_or(io::ErrorKind::InvalidInput)?;
        if let Some((before, mapping)) = self.mappings.range(..=last).next_back() {
            if mapping.last(*before) >= iova {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
        }
        let file = match file {
            Some((file, offset)) => {
                let shared = files.get(file)?;
                let inside = offset
                    .checked_add(len)
                    .is_some_and(|e| e <= shared.len() as u64);
                if !inside {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                Some((shared, offset))
            }
            None => None,
        };
        self.mappings.insert(
            iova,
            Mapping {
                len,
                file,
                writable,
            },
        );
        Ok(())
    }

    /// Unmaps all that is mapped in the range. A mapping is never cut in two.
    pub fn unmap(&mut self, iova: u64, len: u64) -> io::Result<()> {
        let end = last(iova, len).ok_or(io::ErrorKind::InvalidInput)?;
        // They do not overlap: only the first and the last one can be cut.
        let first = self.mappings.range(..iova).next_back();
        let at_start = first.is_some_and(|(start, mapping)| mapping.last(*start) >= iova);
        let final_one = self.mappings.range(iova..=end).next_back();
        let at_end = final_one.is_some_and(|(start, mapping)| mapping.last(*start) > end);
        if at_start || at_end {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let inside = self.mappings.range(iova..=end).map(|(start, _)| *start);
        for start in inside.collect::<Vec<u64>>() {
            self.mappings.remove(&start);
        }
        Ok(())
    }

    /// Unmaps everything.
    pub fn clear(&mut self) {
        self.mappings.clear();
    }

    /// Calls `f` for each piece of the range with its file, the offset in that, and the piece of the
    /// range.
    fn each<F>(&self, iova: u64, len: usize, write: bool, mut f: F) -> Result<(), Fault>
    where
        F: FnMut(&SharedFile, usize, std::ops::Range<usize>) -> Option<()>,
    {
        let mut done = 0;
        while done < len {
            let fault = Fault {
                iova: iova.wrapping_add(done as u64),
            };
            let here = iova.checked_add(done as u64).ok_or(fault)?;
            let (start, mapping) = self.mappings.range(..=here).next_back().ok_or(fault)?;
            let skip = here - start;
            let left = mapping
                .len
                .checked_sub(skip)
                .filter(|n| *n > 0)
                .ok_or(fault)?;
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(len - done);
            let (file, offset) = mapping.file.as_ref().ok_or(fault)?;
            if write && !mapping.writable {
                return Err(fault);
            }
            let offset = usize::try_from(offset + skip).map_err(|_| fault)?;
            f(file, offset, done..done + n).ok_or(fault)?;
            done += n;
        }
        Ok(())
    }

    /// Reads as a device does. On a fault a part may have been read.
    pub fn read(&self, iova: u64, buf: &mut [u8]) -> Result<(), Fault> {
        self.each(iova, buf.len(), false, |file, offset, piece| {
            file.read(offset, buf.get_mut(piece)?)
        })
    }

    /// Writes as a device does. On a fault a part may have been written.
    pub fn write(&self, iova: u64, buf: &[u8]) -> Result<(), Fault> {
        self.each(iova, buf.len(), true, |file, offset, piece| {
            file.write(offset, buf.get(piece)?)
        })
    }
}
