// SPDX-License-Identifier: GPL-2.0

//! Test module: a dirty tracker that userspace drives through `/dev/iommufd-dirty-mock`.
//!
//! C header: `iommufd_dirty_mock.h`, which says what each ioctl does.
//!
//! To the core it is a driver like any other: it registers its trackers through the C ABI of
//! `include/linux/iommufd_dirty.h`.

mod abi;
mod dirty;
mod tracker;

use abi::{
    bindings,
    provider::{
        Description,
        Kind,
        Operations,
        Registration, //
    }, //
};
use kernel::{
    fs::File,
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        Mutex, //
    },
    transmute::FromBytes,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};
use tracker::{
    Ops,
    Tracker, //
};

module! {
    type: MockModule,
    name: "iommufd_dirty_mock",
    authors: ["The iommufd-dirty authors"],
    description: "Dirty trackers for tests of iommufd-dirty",
    license: "GPL",
    imports_ns: ["IOMMUFD_DIRTY"],
}

#[pin_data]
struct MockModule {
    #[pin]
    _device: MiscDeviceRegistration<MockFile>,
}

impl kernel::InPlaceModule for MockModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"iommufd-dirty-mock",
            }),
        })
    }
}

/// A registration, whichever ops the tracker has.
trait Registered: Send + Sync {
    fn bind(&self, bind: &bindings::mock_bind) -> Result<u32>;
    fn lost(&self, error: Error);
    fn set_bitmap_bytes(&self, bytes: u64);
}

impl<T: Operations> Registered for Pin<KBox<Registration<T>>> {
    fn bind(&self, bind: &bindings::mock_bind) -> Result<u32> {
        Registration::bind(self, bind.context_fd, bind.flags, bind.policy, bind.cookie)
    }

    fn lost(&self, error: Error) {
        Registration::lost(self, error);
    }

    fn set_bitmap_bytes(&self, bytes: u64) {
        Registration::set_bitmap_bytes(self, bytes);
    }
}

/// Registers `tracker` with the ops that it is to have.
fn register<const PEEK: bool, const UPDATE: bool>(
    what: Description,
    tracker: Arc<Tracker>,
) -> Result<KBox<dyn Registered>> {
    let ops = Ops::<PEEK, UPDATE>(tracker);
    let registration = KBox::pin_init(Registration::new(what, ops), GFP_KERNEL)?;
    Ok(KBox::new(registration, GFP_KERNEL)?)
}

/// Reads what an ioctl's argument points to.
fn read_arg<T: FromBytes>(arg: UserPtr) -> Result<T> {
    UserSlice::new(arg, size_of::<T>()).reader().read()
}

/// What an open file has created.
struct Created {
    tracker: Arc<Tracker>,
    /// `None` after `MOCK_UNREGISTER`.
    registration: Option<KBox<dyn Registered>>,
}

#[pin_data]
struct MockFile {
    /// Taken before any lock of the core's; no op takes it.
    #[pin]
    created: Mutex<Option<Created>>,
}

#[vtable]
impl MiscDevice for MockFile {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            pin_init!(Self {
                created <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    fn ioctl(me: Pin<&Self>, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let arg = UserPtr::from_addr(arg);
        match cmd {
            bindings::MOCK_CMD_CREATE => me.create(&read_arg(arg)?)?,
            bindings::MOCK_CMD_BIND => me.bind(arg)?,
            bindings::MOCK_CMD_DIRTY => me.dirty(&read_arg(arg)?)?,
            bindings::MOCK_CMD_KNOB => me.knob(&read_arg(arg)?)?,
            bindings::MOCK_CMD_STATE => {
                let state = me.tracker()?.state();
                UserSlice::new(arg, size_of_val(&state))
                    .writer()
                    .write(&state)?;
            }
            bindings::MOCK_CMD_UNREGISTER => me.unregister()?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

impl MockFile {
    fn tracker(&self) -> Result<Arc<Tracker>> {
        let created = self.created.lock();
        Ok(created.as_ref().ok_or(ENODEV)?.tracker.clone())
    }

    fn with_registration<T>(&self, f: impl FnOnce(&dyn Registered) -> T) -> Result<T> {
        let created = self.created.lock();
        let registration = created.as_ref().and_then(|c| c.registration.as_ref());
        Ok(f(&**registration.ok_or(ENODEV)?))
    }

    fn create(&self, create: &bindings::mock_create) -> Result {
        if create.size as usize != size_of_val(create) {
            return Err(EINVAL);
        }
        let peek = create.caps & bindings::MOCK_CAP_PEEK != 0;
        let update = create.caps & bindings::MOCK_CAP_UPDATE_RANGES != 0;
        let waits = create.caps & bindings::MOCK_CAP_WAITS != 0;
        let unmap_drops = create.caps & bindings::MOCK_CAP_UNMAP_DROPS != 0;
        let known = bindings::MOCK_CAP_PEEK
            | bindings::MOCK_CAP_UPDATE_RANGES
            | bindings::MOCK_CAP_WAITS
            | bindings::MOCK_CAP_UNMAP_DROPS;
        if create.caps & !known != 0 {
            return Err(EOPNOTSUPP);
        }
        let mut create = *create;
        if create.pgsizes == 0 {
            create.pgsizes = 4096;
        }

        let mut created = self.created.lock();
        if created.as_ref().is_some_and(|c| c.registration.is_some()) {
            return Err(EBUSY);
        }
        let tracker = Tracker::new(&create)?;
        let what = Description {
            name: CString::try_from_fmt(fmt!("mock"))?,
            kind: Kind::Device,
            waits,
            unmap_drops,
            pgsizes: create.pgsizes,
            max_ranges: create.max_ranges,
            min_span: create.min_span,
            max_span: create.max_span,
            space: create.space.into(),
        };
        let registration = match (peek, update) {
            (false, false) => register::<false, false>(what, tracker.clone())?,
            (false, true) => register::<false, true>(what, tracker.clone())?,
            (true, false) => register::<true, false>(what, tracker.clone())?,
            (true, true) => register::<true, true>(what, tracker.clone())?,
        };
        *created = Some(Created {
            tracker,
            registration: Some(registration),
        });
        Ok(())
    }

    fn bind(&self, arg: UserPtr) -> Result {
        let mut bind: bindings::mock_bind = read_arg(arg)?;
        bind.out_tracker_id = self.with_registration(|r| r.bind(&bind))??;
        UserSlice::new(arg, size_of_val(&bind))
            .writer()
            .write(&bind)
    }

    fn dirty(&self, marks: &bindings::mock_dirty) -> Result {
        if marks.__reserved != 0 {
            return Err(EOPNOTSUPP);
        }
        self.tracker()?.mark(marks)
    }

    fn knob(&self, set: &bindings::mock_knob_set) -> Result {
        if set.__reserved != 0 {
            return Err(EOPNOTSUPP);
        }
        match set.knob {
            bindings::MOCK_KNOB_LOSE => {
                let error = self.tracker()?.lose(set.value)?;
                self.with_registration(|r| r.lost(error))
            }
            bindings::MOCK_KNOB_BITMAP_BYTES => {
                self.with_registration(|r| r.set_bitmap_bytes(set.value))
            }
            knob => self.tracker()?.set_knob(knob, set.value),
        }
    }

    fn unregister(&self) -> Result {
        let registration = match &mut *self.created.lock() {
            Some(created) => created.registration.take(),
            None => None,
        };
        // Waits for calls under way, so not with the lock held: marks go on meanwhile.
        drop(registration.ok_or(ENODEV)?);
        Ok(())
    }
}
