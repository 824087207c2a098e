// SPDX-License-Identifier: GPL-2.0

//! The cases, and what has to come of each.

use crate::{
    devices::{
        self,
        Device::{self, Emulated, Testdev, Vf},
    },
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

/// Which QEMU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Debian's own, as it is.
    Stock,
    /// With `patches/qemu`, and a context.
    Ours,
    /// With `patches/qemu`, and no context.
    Off,
    /// With `patches/qemu` and a context, but it leaves this out: see `break.sh`.
    Broken(&'static str),
}

/// What has to come of it.
enum Expect {
    /// It is completed, and no page is lost.
    Nothing,
    /// It is completed, and the guest finds pages that are not what it wrote.
    Loss,
    /// QEMU does not even begin, for this reason.
    Refused(&'static str),
    /// It fails for this reason, and the guest goes on where it was.
    Failure(&'static str),
}

/// What happens meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    None,
    /// The firmware's tracker fails.
    TrackerFails,
    /// It is cancelled, and begun again.
    Cancel,
    /// The guest gets more memory before it; QEMU allows that no more while it migrates.
    Hotplug,
    /// The source is killed.
    SourceIsKilled,
    /// The destination cannot take it.
    DestinationRefuses,
    /// Again and again, back and forth.
    Repeat,
    /// The guest takes memory that was written away from its devices, and gives it back.
    Remap,
    /// With this capability of QEMU's.
    With(&'static str),
    /// QEMU is to have no device that cannot migrate.
    OnlyMigratable,
}

pub struct Case {
    pub name: &'static str,
    pub about: &'static str,
    which: Which,
    devices: &'static [(Device, &'static str)],
    event: Event,
    expect: Expect,
}

const DIMM: [&str; 4] = [
    "-object",
    "memory-backend-ram,id=more,size=64M",
    "-device",
    "pc-dimm,id=dimm,memdev=more",
];

const fn case(
    name: &'static str,
    about: &'static str,
    which: Which,
    devices: &'static [(Device, &'static str)],
    event: Event,
    expect: Expect,
) -> Case {
    Case {
        name,
        about,
        which,
        devices,
        event,
        expect,
    }
}

use Event::{
    Cancel, DestinationRefuses, Hotplug, OnlyMigratable, Remap, Repeat, SourceIsKilled,
    TrackerFails, With,
};
use Expect::{Failure, Loss, Nothing, Refused};
use Which::{Broken, Off, Ours, Stock};

const NO_EVENT: Event = Event::None;
const VF: &[(Device, &str)] = &[(Vf, "")];
const TWO_VFS: &[(Device, &str)] = &[(Vf, ""), (Vf, "")];
const FOUR_VFS: &[(Device, &str)] = &[(Vf, ""), (Vf, ""), (Vf, ""), (Vf, "")];
const VF_AND_EMULATED: &[(Device, &str)] = &[(Vf, ""), (Emulated, "")];
const NO_LOG: &[(Device, &str)] = &[(Vf, ",x-device-dirty-page-tracking=off")];
const NO_LOG_ALL_DIRTY: &[(Device, &str)] = &[(
    Vf,
    ",x-device-dirty-page-tracking=off,x-dirty-policy=all-dirty",
)];
const ALL_DIRTY: &[(Device, &str)] = &[(Vf, ",x-dirty-policy=all-dirty")];
const ONE_ALL_DIRTY: &[(Device, &str)] = &[(Vf, ""), (Vf, ",x-dirty-policy=all-dirty")];
const LATE: &[(Device, &str)] = &[(Vf, ",x-pre-copy-dirty-page-tracking=off")];
const TESTDEV: &[(Device, &str)] = &[(Testdev, "")];
const TESTDEV_AND_EMULATED: &[(Device, &str)] = &[(Testdev, ""), (Emulated, "")];

pub const CASES: &[Case] = &[
    case("stock-vf", "a VF, by its log", Stock, VF, NO_EVENT, Nothing),
    case(
        "stock-two-vfs",
        "two VFs, by their logs",
        Stock,
        TWO_VFS,
        NO_EVENT,
        Nothing,
    ),
    case(
        "stock-vf-emulated",
        "a VF, and an emulated device that has no log",
        Stock,
        VF_AND_EMULATED,
        NO_EVENT,
        Loss,
    ),
    case(
        "stock-vf-no-log",
        "a VF whose log is switched off",
        Stock,
        NO_LOG,
        NO_EVENT,
        Loss,
    ),
    case(
        "off-vf",
        "a VF, without a context",
        Off,
        VF,
        NO_EVENT,
        Nothing,
    ),
    case(
        "off-vf-emulated",
        "the mix, without a context",
        Off,
        VF_AND_EMULATED,
        NO_EVENT,
        Loss,
    ),
    case("vf", "a VF", Ours, VF, NO_EVENT, Nothing),
    case("two-vfs", "two VFs", Ours, TWO_VFS, NO_EVENT, Nothing),
    case(
        "vf-emulated",
        "a VF and an emulated device",
        Ours,
        VF_AND_EMULATED,
        NO_EVENT,
        Nothing,
    ),
    case(
        "vf-no-log",
        "a VF whose log is switched off: nothing tracks it",
        Ours,
        NO_LOG,
        NO_EVENT,
        Failure("neither the device nor its IOMMU tracks"),
    ),
    case(
        "vf-no-log-all-dirty",
        "the same, all of its memory counts as dirty",
        Ours,
        NO_LOG_ALL_DIRTY,
        NO_EVENT,
        Nothing,
    ),
    case(
        "tracker-fails",
        "the firmware's tracker fails meanwhile",
        Ours,
        VF,
        TrackerFails,
        Failure("cannot read its dirty tracker"),
    ),
    case(
        "tracker-fails-all-dirty",
        "the same, all of its memory counts as dirty then",
        Ours,
        ALL_DIRTY,
        TrackerFails,
        Nothing,
    ),
    case(
        "cancel",
        "cancelled, and again",
        Ours,
        VF_AND_EMULATED,
        Cancel,
        Nothing,
    ),
    case(
        "hotplug",
        "memory was plugged",
        Ours,
        VF_AND_EMULATED,
        Hotplug,
        Nothing,
    ),
    case(
        "destination-refuses",
        "the destination has other devices",
        Ours,
        VF,
        DestinationRefuses,
        Failure(""),
    ),
    case(
        "source-killed",
        "the source is killed",
        Ours,
        VF_AND_EMULATED,
        SourceIsKilled,
        Failure(""),
    ),
    case(
        "back-and-forth",
        "again and again",
        Ours,
        VF_AND_EMULATED,
        Repeat,
        Nothing,
    ),
    case(
        "remap",
        "the guest unmaps memory that was written",
        Ours,
        VF_AND_EMULATED,
        Remap,
        Nothing,
    ),
    case(
        "late",
        "a VF, read after it was stopped only",
        Ours,
        LATE,
        NO_EVENT,
        Nothing,
    ),
    case(
        "broken-final",
        "the same, without the last read",
        Broken("final"),
        LATE,
        NO_EVENT,
        Loss,
    ),
    case(
        "broken-range",
        "a VF, a range is not read",
        Broken("range"),
        VF,
        NO_EVENT,
        Loss,
    ),
    case(
        "multifd",
        "by several channels",
        Ours,
        VF_AND_EMULATED,
        With("multifd"),
        Nothing,
    ),
    case(
        "postcopy",
        "what is left is to be fetched later, which QEMU does with no VFIO device",
        Ours,
        VF,
        With("postcopy-ram"),
        Refused("not supported with postcopy"),
    ),
    case(
        "only-migratable",
        "a VF, and -only-migratable",
        Ours,
        VF,
        OnlyMigratable,
        Nothing,
    ),
    // With one tracker in the firmware.
    case(
        "stock-one-slot",
        "two VFs, the firmware has one tracker",
        Stock,
        TWO_VFS,
        NO_EVENT,
        Failure("No space left"),
    ),
    case(
        "one-slot",
        "two VFs, the firmware has one tracker",
        Ours,
        TWO_VFS,
        NO_EVENT,
        Failure("No space left"),
    ),
    case(
        "one-slot-all-dirty",
        "the same, for one all of its memory counts as dirty",
        Ours,
        ONE_ALL_DIRTY,
        NO_EVENT,
        Nothing,
    ),
    // With an IOMMU that has dirty bits, and an emulated device that has a log.
    case(
        "stock-iommu",
        "a device, by the IOMMU",
        Stock,
        TESTDEV,
        NO_EVENT,
        Nothing,
    ),
    case(
        "stock-iommu-emulated",
        "a device that the IOMMU tracks, and an emulated one with a log",
        Stock,
        TESTDEV_AND_EMULATED,
        NO_EVENT,
        Loss,
    ),
    case(
        "off-iommu-remap",
        "the guest unmaps memory that was written, and with it the IOMMU's dirty bits",
        Off,
        TESTDEV,
        Remap,
        Loss,
    ),
    case(
        "iommu",
        "a device, by the IOMMU",
        Ours,
        TESTDEV,
        NO_EVENT,
        Nothing,
    ),
    case(
        "iommu-remap",
        "the same, with a context",
        Ours,
        TESTDEV,
        Remap,
        Nothing,
    ),
    case(
        "broken-harvest",
        "the same, without the harvest before memory is unmapped",
        Broken("harvest"),
        TESTDEV,
        Remap,
        Loss,
    ),
    case(
        "iommu-emulated",
        "a device that the IOMMU tracks, and an emulated one with a log",
        Ours,
        TESTDEV_AND_EMULATED,
        NO_EVENT,
        Nothing,
    ),
];

/// A VF and an emulated device, which is no case but what the demo shows.
pub fn mixed(which: Which) -> Case {
    case("demo", "", which, VF_AND_EMULATED, NO_EVENT, Nothing)
}

/// So many VFs, at most four, which are no case either but what `--bench` measures.
pub fn vfs(which: Which, number: usize) -> Case {
    case("bench", "", which, &FOUR_VFS[..number], NO_EVENT, Nothing)
}

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
        arguments.extend(["-append".to_owned(), "remap".to_owned()]);
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
        let list: Vec<String> = pages.iter().map(u64::to_string).collect();
        println!("# pages found by {tracker}: {}", list.join(" "));
    }
}

pub fn run(case: &Case) -> Result<()> {
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
