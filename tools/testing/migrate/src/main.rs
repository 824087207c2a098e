// SPDX-License-Identifier: GPL-2.0

//! Migrates a guest that checks its own memory from one QEMU to another, both on this machine,
//! and says what was lost.
//!
//! `migrate CASE...` runs these cases, each a test of KTAP; `migrate --list` names all;
//! `migrate --demo` shows one of them, as Debian's QEMU does it and otherwise; `migrate --bench N`
//! measures it N times each.

mod bench;
mod cases;
mod demo;
mod devices;
mod guest;
mod migration;
mod qemu;
mod run;

use std::{env, error::Error, process::ExitCode};

/// A message that says what went wrong.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn usage() -> ExitCode {
    eprintln!(
        "usage: migrate CASE...\n       migrate --list\n       migrate --demo\n       \
         migrate --bench SAMPLES"
    );
    ExitCode::from(2)
}

/// What is no test: its error is all that there is to say.
fn finish(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("[NO] {error}");
            qemu::show_logs();
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    let names: Vec<String> = env::args().skip(1).collect();
    if names == ["--list"] {
        for case in cases::CASES {
            println!("{:24} {}", case.name, case.about);
        }
        return ExitCode::SUCCESS;
    }
    if names == ["--demo"] {
        return finish(demo::show());
    }
    if let [option, samples] = names.as_slice() {
        if option == "--bench" {
            return match samples.parse() {
                Ok(samples) if samples > 0 => finish(bench::measure(samples)),
                _ => usage(),
            };
        }
    }
    let mut chosen = Vec::new();
    for name in &names {
        match cases::CASES.iter().find(|case| case.name == name) {
            Some(case) => chosen.push(case),
            None => {
                eprintln!("migrate: there is no case {name}; --list names them");
                return usage();
            }
        }
    }
    if chosen.is_empty() {
        return usage();
    }

    println!("TAP version 13\n1..{}", chosen.len());
    let mut failed = 0;
    for (number, case) in (1..).zip(chosen) {
        println!("# {}: {}", case.name, case.about);
        match run::run(case) {
            Ok(()) => println!("ok {number} {}", case.name),
            Err(error) => {
                failed += 1;
                println!("# {}: {error}", case.name);
                qemu::show_logs();
                println!("not ok {number} {}", case.name);
            }
        }
    }
    ExitCode::from(u8::from(failed != 0))
}
