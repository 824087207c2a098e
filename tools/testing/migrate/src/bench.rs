// SPDX-License-Identifier: GPL-2.0

//! What `make bench` measures of migrations: Debian's QEMU and the one with `patches/qemu`.

use crate::{
    cases::{self, Which},
    guest,
    migration::{look_at_guest, migrate_freely, syncs, Outcome},
    qemu::PATIENCE,
    run::{self, control, none_lost},
    Result,
};

const VFS: [usize; 3] = [1, 2, 4];

/// How long the firmware takes before it begins a report, in ms.
const DELAYS: [u32; 3] = [0, 5, 30];

/// The first one is compared with the others.
const METHODS: [(&str, Which); 3] = [
    ("ours", Which::Ours),
    ("stock", Which::Stock),
    ("off", Which::Off),
];

/// What it may take of what Debian's QEMU takes.
fn goal(vfs: usize, delay: u32) -> f64 {
    if (vfs, delay) == (4, 30) {
        1.0 / 3.0
    } else {
        1.0
    }
}

/// One migration, and how long each of its syncs took, in µs.
struct Sample {
    outcome: Outcome,
    syncs: Vec<u64>,
}

fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> Option<T> {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len() / 2).copied()
}

fn sample(which: Which, vfs: usize) -> Result<Sample> {
    let case = cases::vfs(which, vfs);
    let mut source = run::start(&case, "source", false, false)?;
    let mut destination = run::start(&case, "destination", true, true)?;
    guest::wait_for_passes("source", run::PASSES, PATIENCE)?;
    let outcome = migrate_freely(&mut source, &mut destination)?;
    let syncs = syncs("source");
    if syncs.is_empty() {
        return Err("there is no sync in QEMU's log".into());
    }
    none_lost(look_at_guest("destination", &mut destination)?.lost)?;
    source.quit()?;
    destination.quit()?;
    Ok(Sample { outcome, syncs })
}

fn downtime(sample: &Sample) -> u64 {
    sample.outcome.downtime
}

fn sync(sample: &Sample) -> u64 {
    median(sample.syncs.clone()).unwrap_or(0)
}

/// Of a method, the median of a figure.
fn of(samples: &[Sample], figure: fn(&Sample) -> u64) -> u64 {
    median(samples.iter().map(figure).collect()).unwrap_or(0)
}

/// How much of `others` our own figure is: the median over the rounds, in each of which the two
/// were neighbours.
fn ratio(ours: &[Sample], others: &[Sample], figure: fn(&Sample) -> u64) -> f64 {
    let pairs = ours.iter().zip(others);
    median(
        pairs
            .map(|(ours, other)| figure(ours) as f64 / figure(other).max(1) as f64)
            .collect(),
    )
    .unwrap_or(0.0)
}

/// The line for `bench_table.sh`.
fn report(case: &str, number: usize, measured: &[Vec<Sample>], goal: f64) {
    let (method, which) = METHODS[number];
    let (ours, these) = (&measured[0], &measured[number]);
    print!("# bench case={case} method={method} reps={}", these.len());
    print!(" downtime_ms={}", of(these, downtime));
    print!(" sync_us={}", of(these, sync));
    print!(" total_ms={}", of(these, |s| s.outcome.total));
    print!(" syncs={}", of(these, |s| s.outcome.syncs));
    print!(" bytes={}", of(these, |s| s.outcome.bytes));
    if number > 0 {
        print!(" downtime_ratio={:.3}", ratio(ours, these, downtime));
        print!(" sync_ratio={:.3}", ratio(ours, these, sync));
    }
    if which == Which::Stock {
        print!(" downtime_goal={goal:.3} sync_goal={goal:.3}");
    }
    println!();
}

/// Measures each case `samples` times, the methods in turns. An error if a page is lost.
pub fn measure(samples: usize) -> Result<()> {
    for vfs in VFS {
        for delay in DELAYS {
            let case = format!("migrate-{vfs}-vf-{delay}-ms");
            control(&format!("report-delay {delay:x}"))?;
            let mut measured: Vec<Vec<Sample>> = METHODS.iter().map(|_| Vec::new()).collect();
            for _ in 0..samples {
                for ((method, which), list) in METHODS.iter().zip(&mut measured) {
                    let sample =
                        sample(*which, vfs).map_err(|e| format!("{case} {method}: {e}"))?;
                    println!(
                        "# sample {case} {method} {} sync_us={:?}",
                        sample.outcome, sample.syncs
                    );
                    list.push(sample);
                }
            }
            for number in 0..METHODS.len() {
                report(&case, number, &measured, goal(vfs, delay));
            }
        }
    }
    control("forget")
}
