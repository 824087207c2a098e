// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The other process. Over a socket it receives pages with their addresses, and at the end it sends
//! back what it has.

use crate::memory::{PAGE, SIZE};
use crate::Result;
use std::env;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};

/// What this program is started with, its end of the socket as stdin.
pub const ARGUMENT: &str = "receive";

pub struct Receiver {
    process: Child,
    socket: BufWriter<UnixStream>,
}

impl Receiver {
    pub fn start() -> Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let process = Command::new(env::current_exe()?)
            .arg(ARGUMENT)
            .stdin(OwnedFd::from(theirs))
            .spawn()?;
        Ok(Self {
            process,
            socket: BufWriter::new(ours),
        })
    }

    pub fn send(&mut self, at: u64, page: &[u8]) -> Result<()> {
        self.socket.write_all(&at.to_le_bytes())?;
        Ok(self.socket.write_all(page)?)
    }

    /// Returns the memory that the other process has.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        self.socket.flush()?;
        let mut socket = self.socket.into_inner()?;
        socket.shutdown(Shutdown::Write)?;
        let mut memory = Vec::new();
        socket.read_to_end(&mut memory)?;
        if !self.process.wait()?.success() {
            return Err("the other process failed".into());
        }
        Ok(memory)
    }
}

/// The other process.
pub fn run() -> Result<()> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut memory = vec![0; SIZE as usize];
    let mut reader = BufReader::new(&socket);
    let mut at = [0; 8];
    while reader.read(&mut at[..1])? == 1 {
        reader.read_exact(&mut at[1..])?;
        let at = usize::try_from(u64::from_le_bytes(at))?;
        let page = memory
            .get_mut(at..at.saturating_add(PAGE as usize))
            .ok_or("a page beyond the memory")?;
        reader.read_exact(page)?;
    }
    Ok((&socket).write_all(&memory)?)
}
