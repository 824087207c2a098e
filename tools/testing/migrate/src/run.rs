// SPDX-License-Identifier: GPL-2.0

//! Runs a case.

use crate::{
    cases::{
        Case,
        Event::{
            self, Between, Cancel, DestinationRefuses, Hotplug, OnlyMigratable, Remap, Repeat,
            SourceIsKilled, TrackerFails, Viommu, With,
        },
        Expect::{Failure, Loss, Nothing, Refused},
        Which::{Broken, Off, Ours, Stock},
    },
    devices::{self, Device},
    guest,
    migration::{look_at_guest, migrate, pages_by_tracker, Outcome},
    qemu::{self, Qemu, PATIENCE},
    Result,
};
use serde_json::json;
use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Write},
    process::Command,
};

const DIMM: [&str; 4] = [
    "-object",
    "memory-backend-ram,id=more,size=64M",
    "-device",
    "pc-dimm,id=dimm,memdev=more",
];

/// Syncs before a migration may end.
pub const ROUNDS: u64 = 4;

/// Passes of the guest before it is migrated: all its pages were looked at.
pub const PASSES: usize = 2;

/// Starts the QEMU called `name`, with the devices of the source or of the destination.
pub fn start(case: &Case, name: &'static str, destination: bool, incoming: bool) -> Result<Qemu> {
    let mut command = Command::new(match case.which {
        Stock => "/usr/bin/qemu-system-x86_64",
        Ours | Off => "/usr/bin/qemu-dirty",
        Broken(_) => "/usr/bin/qemu-broken",
    });
    if let Broken(what) = case.which {
        command.env("BROKEN", what);
    }
    let contexts = match case.which {
        Ours | Broken(_) => ",dirty-contexts=on",
        Stock | Off => "",
    };
    let devices: &[_] = match case.event {
        DestinationRefuses if destination => &[],
        _ => case.devices,
    };
    let mut arguments = devices::arguments(contexts, devices, destination)?;
    if case.event == Hotplug && destination {
        arguments.extend(DIMM.map(str::to_owned));
    }
    if case.event == OnlyMigratable {
        arguments.push("-only-migratable".to_owned());
    }
    if case.event == Remap {
        arguments.extend(["-append", "remap"].map(str::to_owned));
    }
    if case.event == Viommu {
        // Devices that come before it would not be behind it.
        let viommu = [
            "-device",
            "intel-iommu,caching-mode=on",
            "-append",
            "viommu",
        ];
        arguments.splice(0..0, viommu.map(str::to_owned));
    }
    Qemu::start(name, command, &arguments, incoming)
}

/// Sends mlx5-model a command by the VM's third serial port.
pub fn control(command: &str) -> Result<()> {
    const PORT: &str = "/dev/ttyS2";
    Command::new("stty")
        .args(["-F", PORT, "raw", "-echo"])
        .status()?;
    let mut port = OpenOptions::new().read(true).write(true).open(PORT)?;
    writeln!(port, "{command}")?;
    let mut answer = String::new();
    BufReader::new(port).read_line(&mut answer)?;
    if answer.starts_with("ok") {
        Ok(())
    } else {
        Err(format!("mlx5-model: {command}: {}", answer.trim()).into())
    }
}

fn plug_memory(source: &mut Qemu) -> Result<()> {
    let backend = json!({ "qom-type": "memory-backend-ram", "id": "more", "size": 64 << 20 });
    source.ask("object-add", backend)?;
    let dimm = json!({ "driver": "pc-dimm", "id": "dimm", "memdev": "more" });
    source.ask("device_add", dimm).map(drop)
}

/// In the middle of a migration.
fn happen(event: Event, source: &mut Qemu) -> Result<()> {
    match event {
        TrackerFails => control("fail-tracker 1"),
        Cancel => source.ask("migrate_cancel", json!({})).map(drop),
        SourceIsKilled => {
            source.kill();
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What the guest that ran on at `name` found, and what each tracker did.
fn report(case: &Case, outcome: &Outcome, lost: u32) {
    println!("# figures case={} {outcome} lost={lost}", case.name);
    for (tracker, pages) in pages_by_tracker("source") {
        // Behind a virtual IOMMU each unmap reads.
        if case.event == Viommu {
            let all: u64 = pages.iter().sum();
            println!("# pages found by {tracker}: {all} in {} reads", pages.len());
            continue;
        }
        let list: Vec<String> = pages.iter().map(u64::to_string).collect();
        println!("# pages found by {tracker}: {}", list.join(" "));
    }
}

pub fn run(case: &Case) -> Result<()> {
    if let Between(source, destination) = case.event {
        devices::check_driver(Device::Vf, false, source)?;
        devices::check_driver(Device::Vf, true, destination)?;
    }
    let mut source = start(case, "source", false, false)?;
    let mut destination = start(case, "destination", true, true)?;
    guest::wait_for_passes("source", PASSES, PATIENCE)?;
    if case.event == Hotplug {
        plug_memory(&mut source)?;
    }
    if let With(capability) = case.event {
        let list = json!({ "capabilities": [{ "capability": capability, "state": true }] });
        source.ask("migrate-set-capabilities", list.clone())?;
        // What a source refuses, no destination need be able to do.
        if !matches!(case.expect, Refused(_)) {
            destination.ask("migrate-set-capabilities", list)?;
        }
    }
    let result = expect(case, &mut source, &mut destination);
    if case.event == TrackerFails {
        control("forget")?;
    }
    result?;
    if case.event != SourceIsKilled {
        source.quit()?;
    }
    match case.expect {
        Failure(_) => destination.gives_up(),
        _ => destination.quit(),
    }
}

fn expect(case: &Case, source: &mut Qemu, destination: &mut Qemu) -> Result<()> {
    let mut once = |source: &mut Qemu| happen(case.event, source);
    let mut outcome = match migrate(source, destination, ROUNDS, Some(&mut once)) {
        Err(_) if case.event == SourceIsKilled => return Ok(()),
        Err(error) => {
            return match case.expect {
                Refused(reason) if error.to_string().contains(reason) => {
                    println!("# it says: {error}");
                    none_lost(look_at_guest("source", source)?.lost)
                }
                _ => Err(error),
            };
        }
        Ok(outcome) => outcome,
    };
    if case.event == Cancel {
        if outcome.status != "cancelled" {
            return Err(format!("not cancelled: {outcome}").into());
        }
        none_lost(look_at_guest("source", source)?.lost)?;
        // What was begun once cannot be taken up, and it has the devices.
        destination.kill();
        *destination = start(case, "destination", true, true)?;
        outcome = migrate(source, destination, ROUNDS, None)?;
    }

    match case.expect {
        Refused(_) => Err(format!("it was begun: {outcome}").into()),
        Failure(reason) => {
            let words = format!("{} {}", outcome.error, qemu::last_words("source"));
            let pass = look_at_guest("source", source)?;
            report(case, &outcome, pass.lost);
            if outcome.status != "failed" {
                return Err("it did not fail".into());
            }
            if !words.contains(reason) {
                return Err(format!("it does not say {reason:?}: {words}").into());
            }
            println!("# it says: {words}");
            none_lost(pass.lost)
        }
        Nothing | Loss => {
            if outcome.status != "completed" {
                return Err(format!("{outcome}; {}", qemu::last_words("source")).into());
            }
            let pass = look_at_guest("destination", destination)?;
            report(case, &outcome, pass.lost);
            match case.expect {
                Loss if pass.lost == 0 => return Err("nothing was lost".into()),
                Nothing => none_lost(pass.lost)?,
                _ => (),
            }
            if case.event == Repeat {
                repeat(case, source, destination)?;
            }
            Ok(())
        }
    }
}

/// Migrates on, to and fro.
fn repeat(case: &Case, source: &mut Qemu, destination: &mut Qemu) -> Result<()> {
    let more = std::env::var("MIGRATIONS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(4);
    for round in 0..more {
        // The guest is where `destination` was started; `source` makes room for it to come back.
        let back = round % 2 == 0;
        let (from, to, name, is_destination) = if back {
            (&mut *destination, &mut *source, "source", false)
        } else {
            (&mut *source, &mut *destination, "destination", true)
        };
        to.kill();
        *to = start(case, name, is_destination, true)?;
        let outcome = migrate(from, to, 2, None)?;
        if outcome.status != "completed" {
            return Err(format!("migration {round}: {outcome}").into());
        }
        let pass = look_at_guest(name, to)?;
        println!("# migration {}: {outcome} lost={}", round + 2, pass.lost);
        none_lost(pass.lost)?;
    }
    Ok(())
}

pub fn none_lost(lost: u32) -> Result<()> {
    match lost {
        0 => Ok(()),
        _ => Err(format!("{lost} pages are not what the guest wrote").into()),
    }
}
