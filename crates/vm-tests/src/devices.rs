// SPDX-License-Identifier: GPL-2.0

//! What is not a mock of ours: a page table of one of iommufd's mock domains, and the emulated
//! VFIO device of the tests. iommufd_test.h of the kernel and iommufd_dirty_emulated.h have the
//! layouts.

use crate::{iova, BASE, PAGE, PAGES};
use iommufd_bindings::iommufd::*;
use iommufd_ioctls::IommuFd;
use std::fs::{read_dir, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use vfio_bindings::bindings::vfio::*;

/// `_IO(IOMMUFD_TYPE, n)`
const fn io(n: u64) -> u64 {
    ((b';' as u64) << 8) | n
}

const IOMMU_OPTION: u64 = io(0x87);
const IOMMU_TEST_CMD: u64 = io(0x80 + 32);
const VFIO_DEVICE_BIND_IOMMUFD: u64 = io(100 + 18);
const VFIO_DEVICE_ATTACH_IOMMUFD_PT: u64 = io(100 + 19);

const TEST_OP_MOCK_DOMAIN: u32 = 2;
const TEST_OP_DIRTY: u32 = 13;
const DATA_SELFTEST: u32 = 0xdead;

/// The first words and one of the many operations of `struct iommu_test_cmd`.
#[repr(C)]
#[derive(Default)]
struct TestCmd {
    size: u32,
    op: u32,
    id: u32,
    reserved: u32,
    /// MOCK_DOMAIN: u32s: out_stdev_id, out_hwpt_id, out_idev_id.
    /// DIRTY: flags, iova, length, page_size, uptr, out_nr_dirty.
    words: [u64; 6],
    last: u64,
}

/// # Safety
///
/// `arg` is what the ioctl takes.
unsafe fn ioctl<T>(file: &impl AsRawFd, number: u64, arg: &mut T) {
    let arg: *mut T = arg;
    // SAFETY: the caller's promise.
    let ret = unsafe { libc::ioctl(file.as_raw_fd(), number, arg) };
    assert_ne!(ret, -1, "ioctl {number:#x}: {}", io::Error::last_os_error());
}

/// An I/O address space in which `ram()` is mapped.
pub struct Iommu {
    iommufd: IommuFd,
    ioas_id: u32,
    hwpt_id: u32,
    _memory: Vec<u64>,
}

impl Iommu {
    /// With a page table that tracks, and IOPTEs of a page.
    pub fn new() -> Self {
        let iommufd = IommuFd::new().unwrap();
        let mut ioas = iommu_ioas_alloc {
            size: size_of::<iommu_ioas_alloc>() as u32,
            ..Default::default()
        };
        iommufd.alloc_iommu_ioas(&mut ioas).unwrap();
        let ioas_id = ioas.out_ioas_id;
        // Huge pages off: option_id 1, op SET, of the IOAS.
        let mut option = iommu_option {
            size: size_of::<iommu_option>() as u32,
            option_id: iommufd_option_IOMMU_OPTION_HUGE_PAGES,
            op: iommufd_option_ops_IOMMU_OPTION_OP_SET as u16,
            object_id: ioas_id,
            ..Default::default()
        };
        // SAFETY: this is its structure.
        unsafe { ioctl(&iommufd, IOMMU_OPTION, &mut option) };

        let mut domain = TestCmd {
            size: size_of::<TestCmd>() as u32,
            op: TEST_OP_MOCK_DOMAIN,
            id: ioas_id,
            ..Default::default()
        };
        // SAFETY: this is its structure, and the operation has no pointer.
        unsafe { ioctl(&iommufd, IOMMU_TEST_CMD, &mut domain) };
        let dev_id = domain.words[1] as u32;

        // Nobody reads it: it is there to be mapped.
        let memory = vec![0u64; ((PAGES + 1) * PAGE / 8) as usize];
        let map = iommu_ioas_map {
            size: size_of::<iommu_ioas_map>() as u32,
            flags: iommufd_ioas_map_flags_IOMMU_IOAS_MAP_FIXED_IOVA
                | iommufd_ioas_map_flags_IOMMU_IOAS_MAP_WRITEABLE
                | iommufd_ioas_map_flags_IOMMU_IOAS_MAP_READABLE,
            ioas_id,
            user_va: (memory.as_ptr() as u64).next_multiple_of(PAGE),
            length: PAGES * PAGE,
            iova: BASE,
            ..Default::default()
        };
        iommufd.map_iommu_ioas(&map).unwrap();

        // struct iommu_hwpt_selftest: the default kind of page table.
        let data = [0u32; 2];
        let mut hwpt = iommu_hwpt_alloc {
            size: size_of::<iommu_hwpt_alloc>() as u32,
            flags: iommufd_hwpt_alloc_flags_IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
            dev_id,
            pt_id: ioas_id,
            data_type: DATA_SELFTEST,
            data_len: size_of_val(&data) as u32,
            data_uptr: data.as_ptr() as u64,
            ..Default::default()
        };
        iommufd.alloc_iommu_hwpt(&mut hwpt).unwrap();
        Self {
            iommufd,
            ioas_id,
            hwpt_id: hwpt.out_hwpt_id,
            _memory: memory,
        }
    }

    /// What `bind_hwpt()` takes.
    pub fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it is open for as long as it is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.iommufd.as_raw_fd()) }
    }

    pub fn hwpt_id(&self) -> u32 {
        self.hwpt_id
    }

    /// Sets the dirty bits of the pages, as DMA would.
    pub fn write(&self, pages: impl IntoIterator<Item = u64>) {
        for page in pages {
            let bit = 1u64;
            let mut dirty = TestCmd {
                size: size_of::<TestCmd>() as u32,
                op: TEST_OP_DIRTY,
                id: self.hwpt_id,
                words: [0, iova(page), PAGE, PAGE, &raw const bit as u64, 0],
                ..Default::default()
            };
            // SAFETY: this is its structure, and the pointer is that of a bit for one page.
            unsafe { ioctl(&self.iommufd, IOMMU_TEST_CMD, &mut dirty) };
        }
    }
}

/// An emulated device: what it writes, the kernel writes for it.
pub struct Emulated(pub File);

impl Emulated {
    pub fn new(iommu: &Iommu) -> Self {
        let directory = "/sys/bus/platform/devices/iommufd-dirty-emulated.0/vfio-dev";
        let name = read_dir(directory).unwrap().next().unwrap().unwrap();
        let path = format!("/dev/vfio/devices/{}", name.file_name().to_str().unwrap());
        let device = OpenOptions::new().read(true).write(true).open(path);
        let device = device.unwrap();
        let mut bind = vfio_device_bind_iommufd {
            argsz: size_of::<vfio_device_bind_iommufd>() as u32,
            iommufd: iommu.iommufd.as_raw_fd(),
            ..Default::default()
        };
        let mut attach = vfio_device_attach_iommufd_pt {
            argsz: size_of::<vfio_device_attach_iommufd_pt>() as u32,
            pt_id: iommu.ioas_id,
            ..Default::default()
        };
        // SAFETY: these are their structures.
        unsafe {
            ioctl(&device, VFIO_DEVICE_BIND_IOMMUFD, &mut bind);
            ioctl(&device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &mut attach);
        }
        Self(device)
    }

    pub fn write(&self, pages: impl IntoIterator<Item = u64>) {
        for page in pages {
            // struct emulated_command: DMA_WRITE, pattern, iova, length.
            let mut command = [0; 24];
            command[4] = 0xa5;
            command[8..16].copy_from_slice(&iova(page).to_le_bytes());
            command[16] = 64;
            assert_eq!(self.0.write_at(&command, 0).unwrap(), 24);
        }
    }
}
