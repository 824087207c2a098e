// SPDX-License-Identifier: GPL-2.0

//! One migration, from the first byte to the guest's next passes.

use crate::{
    guest::{self, Pass},
    qemu::{self, Qemu, PATIENCE},
    Result,
};
use serde_json::{json, Value};
use std::{
    fmt,
    time::{Duration, Instant},
};

const SOCKET: &str = "unix:/tmp/migration.sock";

/// Bytes/s: until the guest has written enough, and then. There is always a MiB that is dirty, so
/// that a round takes a while, and no migration ends at the first speed.
const SLOW: u64 = 4 << 20;
const FAST: u64 = 100 << 20;

/// Downtime in ms that is never met, one that always is, and QEMU's default.
const NEVER: u64 = 1;
const ALWAYS: u64 = 120_000;
const USUAL: u64 = 300;

/// What is done to a migration when it has come to a sync.
pub type Action<'a> = &'a mut dyn FnMut(&mut Qemu) -> Result<()>;

/// How a migration ended: QEMU's own figures.
#[derive(Default)]
pub struct Outcome {
    pub status: String,
    pub error: String,
    /// In ms.
    pub downtime: u64,
    /// In ms.
    pub total: u64,
    pub syncs: u64,
    pub bytes: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "status={} downtime_ms={} total_ms={} syncs={} bytes={}",
            self.status, self.downtime, self.total, self.syncs, self.bytes
        )?;
        if !self.error.is_empty() {
            write!(f, " error={:?}", self.error)?;
        }
        Ok(())
    }
}

fn outcome(answer: &Value) -> Outcome {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Outcome {
        status: text(&answer["status"]),
        error: text(&answer["error-desc"]),
        downtime: number(&answer["downtime"]),
        total: number(&answer["total-time"]),
        syncs: number(&answer["ram"]["dirty-sync-count"]),
        bytes: number(&answer["ram"]["transferred"]),
    }
}

/// Passes of the guest after its memory was sent for the first time. Without them there would be
/// nothing to lose.
const PASSES: usize = 2;

/// Begins to migrate.
fn begin(source: &mut Qemu, destination: &mut Qemu, bandwidth: u64, downtime: u64) -> Result<()> {
    let _ = std::fs::remove_file("/tmp/migration.sock");
    destination.ask("migrate-incoming", json!({ "uri": SOCKET }))?;
    source.ask(
        "migrate-set-parameters",
        json!({ "max-bandwidth": bandwidth, "downtime-limit": downtime }),
    )?;
    source.ask("migrate", json!({ "uri": SOCKET })).map(drop)
}

/// Where a migration stands that began at `began`.
fn look(source: &mut Qemu, began: Instant) -> Result<Outcome> {
    let now = outcome(&source.ask("query-migrate", json!({}))?);
    let ended = ["completed", "failed", "cancelled"].contains(&now.status.as_str());
    if !ended && began.elapsed() > PATIENCE {
        return Err(format!("the migration does not end: {now}").into());
    }
    Ok(now)
}

/// Migrates as QEMU does by itself, with its usual downtime limit.
pub fn migrate_freely(source: &mut Qemu, destination: &mut Qemu) -> Result<Outcome> {
    begin(source, destination, FAST, USUAL)?;
    let began = Instant::now();
    loop {
        let now = look(source, began)?;
        match now.status.as_str() {
            "completed" => return Ok(now),
            "failed" | "cancelled" => {
                return Err(format!("{now}; {}", qemu::last_words("source")).into());
            }
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// Migrates from `source` to `destination`. It gets `rounds` syncs before it may end, and the guest
/// its passes; `action` is called once, at the second sync.
pub fn migrate(
    source: &mut Qemu,
    destination: &mut Qemu,
    rounds: u64,
    mut action: Option<Action<'_>>,
) -> Result<Outcome> {
    begin(source, destination, SLOW, NEVER)?;
    let began = Instant::now();
    let mut passes = None;
    let (mut is_fast, mut may_end) = (false, false);
    loop {
        let now = look(source, began)?;
        match now.status.as_str() {
            "completed" if !is_fast => return Err(format!("it ended too early: {now}").into()),
            "completed" | "failed" | "cancelled" => return Ok(now),
            _ => (),
        }
        if now.syncs >= 2 {
            if let Some(action) = action.take() {
                action(source)?;
            }
        }
        if now.syncs >= 2 && !is_fast {
            let made = guest::passes(source.name);
            if made >= *passes.get_or_insert(made + PASSES) {
                source.ask("migrate-set-parameters", json!({ "max-bandwidth": FAST }))?;
                is_fast = true;
            }
        }
        if now.syncs >= rounds && is_fast && !may_end {
            source.ask(
                "migrate-set-parameters",
                json!({ "downtime-limit": ALWAYS }),
            )?;
            may_end = true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Lets the guest make some passes where it runs now.
pub fn look_at_guest(name: &str, qemu: &mut Qemu) -> Result<Pass> {
    let status = qemu.status()?;
    if status != "running" {
        return Err(format!("{name}: the guest is {status}").into());
    }
    guest::wait_for_passes(name, guest::passes(name) + 3, PATIENCE)
}

/// Pages that each tracker found in each READ of `name`'s last migration, by QEMU's traces.
pub fn pages_by_tracker(name: &str) -> Vec<(String, Vec<u64>)> {
    let mut found: Vec<(String, Vec<u64>)> = Vec::new();
    for line in qemu::log(name).lines() {
        let Some((_, rest)) = line.split_once("iommufd_dirty_read_tracker context=") else {
            continue;
        };
        let Some((head, tail)) = rest.split_once(": tracker ") else {
            continue;
        };
        let name = head.split_once(' ').map_or(head, |(_, name)| name);
        let pages = tail
            .split_once("pages=")
            .and_then(|(_, t)| t.split_once(' '));
        let Some(pages) = pages.and_then(|(pages, _)| pages.parse().ok()) else {
            continue;
        };
        match found.iter_mut().find(|(other, _)| other == name) {
            Some((_, list)) => list.push(pages),
            None => found.push((name.to_owned(), vec![pages])),
        }
    }
    found
}

/// The µs at which QEMU wrote this line: QEMU 10 begins it with its number and the time as
/// `20071@1795878664.385177:`, QEMU 11 with the date and the time as
/// `2026-11-28T15:10:59.361668Z`.
fn written_at(line: &str) -> Option<u64> {
    let word = line.split(' ').next()?;
    let seconds_and = |text: &str| {
        let (seconds, fraction) = text.split_once('.')?;
        Some(seconds.parse::<u64>().ok()? * 1_000_000 + fraction.parse::<u64>().ok()?)
    };
    if let Some((_, rest)) = word.split_once('@') {
        return seconds_and(rest.split(':').next()?);
    }
    let (_, time) = word.strip_suffix('Z')?.split_once('T')?;
    let mut parts = time.splitn(3, ':');
    let hours: u64 = parts.next()?.parse().ok()?;
    let minutes: u64 = parts.next()?.parse().ok()?;
    Some((hours * 60 + minutes) * 60_000_000 + seconds_and(parts.next()?)?)
}

/// How long each sync of `name`'s last migration took, in µs. QEMU holds its big lock meanwhile, and
/// little longer.
pub fn syncs(name: &str) -> Vec<u64> {
    const DAY: u64 = 24 * 3600 * 1_000_000;
    let mut syncs = Vec::new();
    let mut begin = None;
    for line in qemu::log(name).lines() {
        if line.contains("migration_bitmap_sync_start") {
            begin = written_at(line);
        } else if line.contains("migration_bitmap_sync_end") {
            if let (Some(from), Some(to)) = (begin.take(), written_at(line)) {
                syncs.push((to + DAY - from) % DAY);
            }
        }
    }
    syncs
}
