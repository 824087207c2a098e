#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds tools/testing/mlx5-model, which runs beside the VM, into build/mlx5-model/.
. "$(dirname "$0")/lib.sh"

say "mlx5-model (usually 20 s the first time)"
logged "$LOGS/mlx5-model.log" in_root "$(kernel_entry "$1")" cargo build --release --locked \
	--manifest-path tools/testing/mlx5-model/Cargo.toml --target-dir /repo/build/mlx5-model
