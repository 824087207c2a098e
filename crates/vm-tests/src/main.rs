// SPDX-License-Identifier: GPL-2.0

//! `iommufd-dirty-ioctls` against the kernel: the mock tracker, page tables of iommufd's mock
//! domains, and an emulated VFIO device. Prints KTAP.

mod devices;
mod example;
mod mock;
mod real;
mod session;
mod signals;
mod trouble;

use iommufd_dirty_ioctls::{
    Binding, Bitmaps, Context, PageSize, Policy, Range, Session, StartOptions,
};
use mock::Mock;
use std::collections::BTreeSet;
use std::panic::{catch_unwind, set_hook};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

const PAGE: u64 = 4096;
const PAGES: u64 = 2048;
/// Where iommufd's mock domains begin.
const BASE: u64 = 1 << 24;

fn ram() -> Range {
    Range::new(BASE, PAGES * PAGE).unwrap()
}

fn iova(page: u64) -> u64 {
    BASE + page * PAGE
}

/// A bit for each page of `ram()`.
struct Bits(Vec<AtomicU64>);

impl Bits {
    fn new() -> Self {
        Self((0..PAGES / 64).map(|_| AtomicU64::new(0)).collect())
    }

    fn request(&self) -> Bitmaps<'_> {
        Bitmaps::new(PageSize::KIB_4).with(ram(), &self.0).unwrap()
    }

    /// The pages that are set, which are cleared.
    fn take(&self) -> BTreeSet<u64> {
        let mut pages = BTreeSet::new();
        for (word, n) in self.0.iter().zip(0..) {
            let bits = word.swap(0, Ordering::SeqCst);
            pages.extend(
                (0..64)
                    .filter(|bit| (bits >> bit) & 1 == 1)
                    .map(|bit| n * 64 + bit),
            );
        }
        pages
    }
}

/// A round: exactly what was written since the last one.
fn read(session: &Session) -> BTreeSet<u64> {
    let bits = Bits::new();
    let report = session.read(&mut bits.request()).unwrap();
    let pages = bits.take();
    assert_eq!(report.dirty, pages.len() as u64);
    pages
}

fn pages(pages: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
    pages.into_iter().collect()
}

fn options() -> StartOptions {
    StartOptions::new(PageSize::KIB_4)
}

fn binding(cookie: u64) -> Binding {
    Binding::new(Policy::Fail).cookie(cookie)
}

/// A context that tracks `ram()`, with one mock.
fn started(mock: &Mock) -> (Context, Session) {
    let context = Context::open().unwrap();
    mock.bind(&context, Policy::Fail, 1);
    context.add_ranges(&[ram()]).unwrap();
    let session = context.start(&options()).unwrap();
    (context, session)
}

fn errno_of<T: std::fmt::Debug>(result: iommufd_dirty_ioctls::Result<T>) -> i32 {
    result.unwrap_err().errno().unwrap().raw()
}

type Test = (&'static str, fn());

/// A list of the functions with their names.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub const TESTS: &[crate::Test] = &[$((stringify!($name), $name)),*];
    };
}
pub(crate) use tests;

fn main() -> ExitCode {
    // For what hangs.
    // SAFETY: an integer is all that it takes.
    unsafe { libc::alarm(400) };
    set_hook(Box::new(|panic| {
        println!("# {}", panic.to_string().replace('\n', "\n# "));
    }));
    let tests = [
        session::TESTS,
        trouble::TESTS,
        signals::TESTS,
        real::TESTS,
        example::TESTS,
    ]
    .concat();
    println!("1..{}", tests.len());
    let mut failed = false;
    for ((name, test), n) in tests.into_iter().zip(1..) {
        let passed = catch_unwind(test).is_ok();
        failed |= !passed;
        println!("{}ok {n} {name}", if passed { "" } else { "not " });
    }
    ExitCode::from(u8::from(failed))
}
