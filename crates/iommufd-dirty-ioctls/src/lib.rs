// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

#![doc = include_str!("../README.md")]
//! ## What does not compile
//!
//! READ needs a [`Session`], which START returns:
//!
//! ```no_run
//! # use iommufd_dirty_ioctls::{Bitmaps, Context, PageSize, StartOptions};
//! let context = Context::open()?;
//! let session = context.start(&StartOptions::new(PageSize::KIB_4))?;
//! session.read(&mut Bitmaps::new(PageSize::KIB_4))?;
//! # Ok::<(), iommufd_dirty_ioctls::Error>(())
//! ```
//!
//! ```compile_fail,E0599
//! # use iommufd_dirty_ioctls::{Bitmaps, Context, PageSize, StartOptions};
//! let context = Context::open()?;
//! context.read(&mut Bitmaps::new(PageSize::KIB_4))?;
//! # Ok::<(), iommufd_dirty_ioctls::Error>(())
//! ```
//!
//! Once the devices are stopped there is the [`LastRound`], and pre-copy is over:
//!
//! ```no_run
//! # use iommufd_dirty_ioctls::{Bitmaps, Session, PageSize, StartOptions};
//! # fn f(session: Session, request: &mut Bitmaps<'_>) -> iommufd_dirty_ioctls::Result<()> {
//! let last = session.devices_stopped();
//! last.read(request)?;
//! last.stop()
//! # }
//! ```
//!
//! ```compile_fail,E0382
//! # use iommufd_dirty_ioctls::{Bitmaps, Session, PageSize, StartOptions};
//! # fn f(session: Session, request: &mut Bitmaps<'_>) -> iommufd_dirty_ioctls::Result<()> {
//! let last = session.devices_stopped();
//! session.read(request)?;
//! last.stop()
//! # }
//! ```
//!
//! After STOP there is nothing to read:
//!
//! ```compile_fail,E0382
//! # use iommufd_dirty_ioctls::{Bitmaps, Session, PageSize, StartOptions};
//! # fn f(session: Session, request: &mut Bitmaps<'_>) -> iommufd_dirty_ioctls::Result<()> {
//! let last = session.devices_stopped();
//! last.stop()?;
//! last.read(request)?;
//! # Ok(())
//! # }
//! ```
//!
//! A member that cannot track has no policy under which its START fails:
//!
//! ```no_run
//! # use iommufd_dirty_ioctls::{Context, UntrackedPolicy};
//! Context::open()?.bind_untracked(UntrackedPolicy::AllDirty, 0)?;
//! # Ok::<(), iommufd_dirty_ioctls::Error>(())
//! ```
//!
//! ```compile_fail,E0599
//! # use iommufd_dirty_ioctls::{Context, UntrackedPolicy};
//! Context::open()?.bind_untracked(UntrackedPolicy::Fail, 0)?;
//! # Ok::<(), iommufd_dirty_ioctls::Error>(())
//! ```

#![deny(missing_docs)]

mod context;
mod error;
mod extents;
#[cfg(test)]
mod fake;
#[cfg(feature = "vm-memory")]
mod mark;
mod range;
mod read;
mod session;
mod sys;
#[cfg(test)]
mod tests;
mod tracker;

pub use context::{Context, Info, Interrupter, StartOptions, StartReport, TrackerStart};
pub use error::{Errno, Error, Result};
pub use extents::{Extents, ExtentsIter};
pub use range::{PageSize, Range};
pub use read::{Bitmaps, ReadReport, Status, TrackerRead};
pub use session::{Harvested, LastRound, Session};
pub use tracker::{Binding, Kind, Policy, State, Stats, Tracker, TrackerInfo, UntrackedPolicy};
