// SPDX-License-Identifier: GPL-2.0

//! Host tests of what in `drivers/vfio-mlx5/` needs no kernel: against models that are too simple to
//! be wrong, and against the layouts of mlx5-model, which a C compiler has compared with the header.

mod commands;
mod common;
mod cqe;
mod ifc;
mod image;
mod limits;
mod migration;
mod outgoing;
mod report;
