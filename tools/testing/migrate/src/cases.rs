// SPDX-License-Identifier: GPL-2.0

//! The cases, and what has to come of each. `run.rs` runs them.

use crate::devices::Device::{self, Emulated, Testdev, Vf};

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
pub enum Expect {
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
pub enum Event {
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
    /// The guest has a virtual IOMMU, and maps other pages to the same addresses all the time.
    Viommu,
    /// The VFs of the source and of the destination have these drivers.
    Between(&'static str, &'static str),
    /// With this capability of QEMU's.
    With(&'static str),
    /// QEMU is to have no device that cannot migrate.
    OnlyMigratable,
}

pub struct Case {
    pub name: &'static str,
    pub about: &'static str,
    pub which: Which,
    /// Each with what is added to QEMU's arguments for it.
    pub devices: &'static [(Device, &'static str)],
    pub event: Event,
    pub expect: Expect,
}

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
    Between, Cancel, DestinationRefuses, Hotplug, OnlyMigratable, Remap, Repeat, SourceIsKilled,
    TrackerFails, Viommu, With,
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
        "viommu",
        "behind a virtual IOMMU",
        Ours,
        VF,
        Viommu,
        Nothing,
    ),
    case(
        "broken-unmap",
        "the same, without the read after memory is unmapped",
        Broken("unmap"),
        VF,
        Viommu,
        Loss,
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
    // With two drivers.
    case(
        "stock-rust-to-c",
        "a VF, from vfio-mlx5 to mlx5-vfio-pci",
        Stock,
        VF,
        Between("vfio_mlx5", "mlx5_vfio_pci"),
        Nothing,
    ),
    case(
        "stock-c-to-rust",
        "a VF, from mlx5-vfio-pci to vfio-mlx5",
        Stock,
        VF,
        Between("mlx5_vfio_pci", "vfio_mlx5"),
        Nothing,
    ),
    case(
        "c-to-rust",
        "the same, where a context has the log of mlx5-vfio-pci",
        Ours,
        VF,
        Between("mlx5_vfio_pci", "vfio_mlx5"),
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
