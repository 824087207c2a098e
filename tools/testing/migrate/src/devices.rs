// SPDX-License-Identifier: GPL-2.0

//! The devices that are passed through to the guest.

use crate::Result;
use std::{fs, path::Path};

/// A kind of device, each with others on the source and on the destination.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// A virtual function of mlx5-model: it has a log of its own.
    Vf,
    /// `iommufd-dirty-migratable`: the kernel writes for it.
    Emulated,
    /// iommu-testdev: the IOMMU sees its writes.
    Testdev,
}

/// The PF of mlx5-model.
const PF: &str = "/sys/bus/pci/devices/0000:00:04.0";

fn is(path: &Path, vendor: &str, device: &str) -> bool {
    let read = |name| fs::read_to_string(path.join(name)).unwrap_or_default();
    read("vendor").trim() == vendor && read("device").trim() == device
}

/// The host device `number` of its kind, as QEMU's vfio-pci takes it. Those of the source and of
/// the destination take turns.
fn host(device: Device, number: usize, destination: bool) -> Result<String> {
    let nth = 2 * number + usize::from(destination);
    let missing = |what: &str| format!("there is no {what} number {nth}");
    match device {
        Device::Vf => {
            let link = fs::read_link(format!("{PF}/virtfn{nth}")).map_err(|_| missing("VF"))?;
            let name = link.file_name().ok_or_else(|| missing("VF"))?;
            Ok(format!("host={}", name.to_string_lossy()))
        }
        Device::Emulated => {
            let path = emulated(nth).ok_or_else(|| missing("emulated device"))?;
            Ok(format!("sysfsdev={path}"))
        }
        Device::Testdev => {
            let mut found: Vec<_> = fs::read_dir("/sys/bus/pci/devices")?
                .filter_map(|entry| entry.ok())
                .map(|entry| entry.path())
                .filter(|path| is(path, "0x1b36", "0x0005"))
                .collect();
            found.sort();
            let path = found.get(nth).ok_or_else(|| missing("iommu-testdev"))?;
            let name = path.file_name().ok_or_else(|| missing("iommu-testdev"))?;
            Ok(format!("host={}", name.to_string_lossy()))
        }
    }
}

/// Where the emulated device is in sysfs.
fn emulated(nth: usize) -> Option<String> {
    let entries = fs::read_dir("/sys/class/vfio-dev").ok()?;
    let mut found: Vec<String> = entries
        .filter_map(|entry| fs::canonicalize(entry.ok()?.path()).ok())
        .filter_map(|path| Some(path.parent()?.parent()?.to_str()?.to_owned()))
        .filter(|path| path.contains("iommufd-dirty-migratable"))
        .collect();
    found.sort();
    found.get(nth).cloned()
}

/// An error if the first device of its kind has another driver than this one.
pub fn check_driver(device: Device, destination: bool, driver: &str) -> Result<()> {
    let host = host(device, 0, destination)?;
    let (_, name) = host.split_once('=').unwrap_or_default();
    let link = fs::read_link(format!("/sys/bus/pci/devices/{name}/driver"))?;
    if link.ends_with(driver) {
        Ok(())
    } else {
        Err(format!("{name} is driven by {}", link.display()).into())
    }
}

/// QEMU's arguments for `devices`, where each one's `options` are added to its own.
pub fn arguments(
    iommufd: &str,
    devices: &[(Device, &str)],
    destination: bool,
) -> Result<Vec<String>> {
    let mut arguments = vec![
        "-object".to_owned(),
        format!("iommufd,id=iommufd0{iommufd}"),
    ];
    let mut seen = Vec::new();
    for (at, (device, options)) in devices.iter().enumerate() {
        let number = seen.iter().filter(|other| *other == device).count();
        seen.push(*device);
        let host = host(*device, number, destination)?;
        arguments.push("-device".to_owned());
        arguments.push(format!(
            "vfio-pci,iommufd=iommufd0,enable-migration=on,id=dev{at},addr={:x},{host}{options}",
            4 + at
        ));
    }
    Ok(arguments)
}
