// SPDX-License-Identifier: GPL-2.0

//! What `make demo` shows of QEMU: one guest, migrated in several ways.

use crate::{
    cases::{self, Which},
    guest,
    migration::{look_at_guest, migrate, pages_by_tracker, Outcome},
    qemu::PATIENCE,
    run, Result,
};
use std::process::Command;

struct Column {
    title: [&'static str; 2],
    which: Which,
    dma_log: bool,
    /// Is the guest to survive it?
    whole: bool,
}

const COLUMNS: [Column; 3] = [
    Column {
        title: ["Debian's QEMU", ""],
        which: Which::Stock,
        dma_log: false,
        whole: false,
    },
    Column {
        title: ["with", "patches/qemu"],
        which: Which::Ours,
        dma_log: false,
        whole: true,
    },
    Column {
        title: ["Debian's QEMU,", "dma_log=1"],
        which: Which::Stock,
        dma_log: true,
        whole: true,
    },
];

/// What came of a column, and what each tracker found.
struct Shown {
    outcome: Outcome,
    lost: u32,
    trackers: Vec<(String, Vec<u64>)>,
}

/// Loads the module anew: with `dma_log` VFIO's log is there for devices whose drivers have none.
fn load(dma_log: bool) -> Result<()> {
    let parameter = format!("dma_log={}", u8::from(dma_log));
    let unloaded = Command::new("rmmod")
        .arg("iommufd-dirty-vfio")
        .status()?
        .success();
    let loaded = Command::new("modprobe")
        .args(["iommufd-dirty-vfio", &parameter])
        .status()?;
    if unloaded && loaded.success() {
        Ok(())
    } else {
        Err(format!("cannot load iommufd-dirty-vfio with {parameter}").into())
    }
}

fn go(column: &Column) -> Result<Shown> {
    load(column.dma_log)?;
    let case = cases::mixed(column.which);
    let mut source = run::start(&case, "source", false, false)?;
    let mut destination = run::start(&case, "destination", true, true)?;
    guest::wait_for_passes("source", run::PASSES, PATIENCE)?;
    let outcome = migrate(&mut source, &mut destination, run::ROUNDS, None)?;
    let lost = look_at_guest("destination", &mut destination)?.lost;
    let trackers = pages_by_tracker("source");
    source.quit()?;
    destination.quit()?;
    Ok(Shown {
        outcome,
        lost,
        trackers,
    })
}

fn line(what: &str, values: impl Iterator<Item = String>) {
    print!("  {what:22}");
    for value in values {
        print!("  {value:>16}");
    }
    println!();
}

/// An error if a column is not as it should be.
pub fn show() -> Result<()> {
    println!();
    println!(
        "A guest checks its own memory, to which two devices write without end: a VF that has a"
    );
    println!("log, and an emulated device that has none. It is migrated to another QEMU:");
    println!();
    let shown = COLUMNS.iter().map(go).collect::<Result<Vec<_>>>()?;
    line("", COLUMNS.iter().map(|c| c.title[0].to_owned()));
    line("", COLUMNS.iter().map(|c| c.title[1].to_owned()));
    line("QEMU says", shown.iter().map(|s| s.outcome.status.clone()));
    line(
        "the guest finds",
        shown.iter().map(|s| format!("{} wrong pages", s.lost)),
    );
    line(
        "downtime",
        shown.iter().map(|s| format!("{} ms", s.outcome.downtime)),
    );
    println!();
    println!("  Pages that each tracker found, sync by sync, with patches/qemu:");
    for (tracker, pages) in shown.iter().flat_map(|s| &s.trackers) {
        let list: Vec<String> = pages.iter().map(|pages| format!("{pages:5}")).collect();
        println!("    {tracker:36} {}", list.join(" "));
    }
    println!();
    for (column, shown) in COLUMNS.iter().zip(&shown) {
        if shown.outcome.status != "completed" || column.whole != (shown.lost == 0) {
            return Err(format!(
                "{} {}: {}, {} pages lost",
                column.title[0], column.title[1], shown.outcome, shown.lost
            )
            .into());
        }
    }
    println!("[yes] nothing is lost if each device's own tracker is asked");
    Ok(())
}
