// SPDX-License-Identifier: GPL-2.0

//! What the guest says on its serial port: see `guest/guest.c`.

use crate::Result;
use std::{
    fs,
    time::{Duration, Instant},
};

/// The last line of a pass.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Pass {
    /// Passes since the guest was started, in whichever QEMU.
    pub number: u32,
    /// Pages that were not what they should have been.
    pub lost: u32,
}

/// The last pass that is reported in `serial`, the output of a guest in one QEMU.
pub fn last_pass(serial: &str) -> Option<Pass> {
    serial.lines().rev().find_map(|line| {
        let (number, rest) = line.strip_prefix("pass ")?.split_once(": ")?;
        let (_, lost) = rest.split_once(" writes, ")?;
        Some(Pass {
            number: number.parse().ok()?,
            lost: lost.strip_suffix(" lost")?.parse().ok()?,
        })
    })
}

/// Reads the output of a guest.
pub fn serial(name: &str) -> String {
    let path = format!("/tmp/{name}.serial");
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).replace('\r', "")
}

/// Passes that the guest has made in this QEMU.
pub fn passes(name: &str) -> usize {
    serial(name)
        .lines()
        .filter(|line| line.starts_with("pass "))
        .count()
}

/// Waits until the guest has made `passes` in this QEMU; returns the last.
pub fn wait_for_passes(name: &str, passes: usize, limit: Duration) -> Result<Pass> {
    let begin = Instant::now();
    loop {
        let text = serial(name);
        let here = text
            .lines()
            .filter(|line| line.starts_with("pass "))
            .count();
        if let (true, Some(pass)) = (here >= passes, last_pass(&text)) {
            return Ok(pass);
        }
        if text.contains("a write failed") {
            return Err(format!("{name}: a device did not write").into());
        }
        if begin.elapsed() > limit {
            return Err(format!(
                "{name}: the guest made {here} passes in {} s; it said: {}",
                limit.as_secs(),
                text.lines().last().unwrap_or("nothing")
            )
            .into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
