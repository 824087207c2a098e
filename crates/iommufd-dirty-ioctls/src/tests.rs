// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Against the fake kernel: what the crate makes of errors and signals, at each call.

use crate::fake::{self, Fault, PAGE};
use crate::*;
use iommufd_dirty_bindings::*;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

mod each_call;
mod extents;
#[cfg(feature = "vm-memory")]
mod mark;
mod read;

const BASE: u64 = 0x1_0000_0000;
const PAGES: u64 = 100;

fn ram() -> Range {
    Range::new(BASE, PAGES * PAGE).unwrap()
}

fn bitmap() -> [AtomicU64; 2] {
    [const { AtomicU64::new(0) }; 2]
}

/// The device writes pages of `ram()`.
fn write(pages: impl IntoIterator<Item = u64>) {
    fake::with(|k| k.dirty.extend(pages.into_iter().map(|n| BASE / PAGE + n)));
}

/// What no READ has delivered yet.
fn held() -> BTreeSet<u64> {
    fake::with(|k| k.dirty.iter().map(|page| page - BASE / PAGE).collect())
}

fn bits(bitmap: &[AtomicU64]) -> BTreeSet<u64> {
    let set = |n: &u64| {
        let word = bitmap[(n / 64) as usize].load(Ordering::SeqCst);
        word & (1 << (n % 64)) != 0
    };
    (0..bitmap.len() as u64 * 64).filter(set).collect()
}

fn set<const N: usize>(pages: [u64; N]) -> BTreeSet<u64> {
    pages.into()
}

/// The next call but `skip`, counted from 1, fails after some pages.
fn fail(skip: usize, errno: i32, after: u64) {
    fake::with(|k| {
        k.faults
            .insert(k.calls.len() + skip, Fault { errno, after })
    });
}

/// The flags of the READs so far.
fn reads() -> Vec<u32> {
    let read = |&(number, flags): &(u32, u32)| (number == IOMMUFD_DIRTY_READ).then_some(flags);
    fake::with(|k| k.calls.iter().filter_map(read).collect())
}

fn started() -> (Context, Session) {
    let context = Context::open().unwrap();
    context
        .bind_device(&context, &Binding::new(Policy::Fail).cookie(5))
        .unwrap();
    let session = context.start(&StartOptions::new(PageSize::KIB_4)).unwrap();
    (context, session)
}

fn request(bitmap: &[AtomicU64]) -> Bitmaps<'_> {
    Bitmaps::new(PageSize::KIB_4).with(ram(), bitmap).unwrap()
}

fn errno_of<T: std::fmt::Debug>(result: Result<T>) -> i32 {
    result.unwrap_err().errno().unwrap().raw()
}
