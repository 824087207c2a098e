// SPDX-License-Identifier: GPL-2.0

//! A model of a ConnectX: the PCI function, the firmware's commands and queues, as far as mlx5_core
//! and the page tracker of mlx5-vfio-pci need them. See README.md.

pub mod abi;
pub mod bar;
pub mod bits;
pub mod caps;
pub mod cmd;
pub mod cmdq;
pub mod control;
pub mod cq;
pub mod device;
pub mod dma;
pub mod eq;
pub mod faults;
pub mod ifc;
pub mod image;
pub mod irq;
pub mod limits;
pub mod memory;
pub mod mkey;
pub mod pages;
pub mod pci;
pub mod qp;
pub mod queue;
pub mod rdma;
pub mod stream;
pub mod table;
pub mod tracker;
pub mod vfio_user;
pub mod vsc;
pub mod written;
