#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# make check: checks the source without running it.
. "$(dirname "$0")/lib.sh"

failed=0

# check WHAT SCRIPT: SCRIPT runs in the toolchain root; its output is its findings.
check() {
	local log=$LOGS/check-$1.log
	if in_root "$kernel" sh -ec "$2" > "$log" 2>&1; then
		say "ok      $1"
	else
		say "not ok  $1"
		sed 's/^/    /' "$log"
		failed=1
	fi
}

need_root
"$VM/prereqs.sh"
"$VM/root.sh"
"$VM/kernel.sh" fast
kernel=$(kernel_entry fast)
use_entry "$kernel"
mkdir -p "$LOGS"

check rustfmt 'find crates/*/examples crates/*/src drivers tools -name "*.rs" ! -name "*_generated.rs" -print0 |
	xargs -0 rustfmt --check --color never --edition 2021 \
		--config-path /kernel/src/.rustfmt.toml'

check clippy-mlx5-model 'cargo clippy --locked --all-targets \
	--manifest-path tools/testing/mlx5-model/Cargo.toml -- -D warnings'

check clippy-vfio-mlx5 'cargo clippy --locked --all-targets \
	--manifest-path tools/testing/vfio-mlx5/Cargo.toml -- -D warnings'

check clippy-migrate 'cargo clippy --locked --all-targets \
	--manifest-path tools/testing/migrate/Cargo.toml -- -D warnings'

# The libraries without their features, then everything.
check clippy-crates 'export RUSTC_WRAPPER=/repo/tools/testing/vm/rustc-let-chains.sh
	cargo clippy --locked --all-targets --manifest-path crates/Cargo.toml -- -D warnings
	cargo clippy --locked --all-targets --workspace --all-features \
		--manifest-path crates/Cargo.toml -- -D warnings'

# What bindgen makes of the header today, against what is committed.
check bindings 'crates/iommufd-dirty-bindings/regenerate.sh /kernel/build/usr/include |
	diff -u crates/iommufd-dirty-bindings/src/bindings.rs -'

# From scratch: only what is compiled is checked.
check "clippy-sparse-W1" 'rm -rf build/check
	make -C /kernel/build LLVM=1 CLIPPY=1 C=2 W=1 M=/repo MO=/repo/build/check \
		IOMMUFD_DIRTY_TESTS=y modules \
		> build/check.log 2>&1 || { cat build/check.log; exit 1; }
	! grep -A 12 -E "warning[:[]|error[:[]" build/check.log'

# checkpatch IGNORED_TYPES FILE...: in /tmp, because in a git tree it looks up the
# kernel's commits there, and leaves a file behind.
checkpatch='checkpatch() {
	ignored=$1
	shift
	perl /kernel/src/scripts/checkpatch.pl --root=/kernel/src --strict --quiet \
		--no-summary --show-types ${ignored:+--ignore "$ignored"} "$@"
}
cd /tmp'

check checkpatch-kernel "$checkpatch"'
	checkpatch "" -f $(find /repo/drivers /repo/include /repo/tools/testing/mlx5-model -name "*.[ch]" ! -name trace.h)'

# rustfmt breaks no string.
check checkpatch-rust "$checkpatch"'
	checkpatch LONG_LINE_STRING -f $(find /repo/drivers /repo/tools/testing/selftests -name "*.rs" ! -name "*_generated.rs")'

# Tracepoints have a layout of their own.
check checkpatch-trace "$checkpatch"'
	checkpatch OPEN_ENDED_LINE,PARENTHESIS_ALIGNMENT -f $(find /repo/drivers -name trace.h)'

# What kselftest_harness.h makes of a test, and what only kernel code must not do.
check checkpatch-tests "$checkpatch"'
	types=COMPLEX_MACRO,MACRO_ARG_REUSE,MACRO_WITH_FLOW_CONTROL,NAKED_SSCANF
	types=$types,MULTISTATEMENT_MACRO_USE_DO_WHILE
	checkpatch $types -f $(find /repo/tools/testing/selftests -name "*.[ch]")'

# The guest has no kernel that would read and write registers for it, and the names of
# instructions are those of functions.
check checkpatch-guest "$checkpatch"'
	types=VOLATILE,EMBEDDED_FUNCTION_NAME
	checkpatch $types -f $(find /repo/tools/testing/migrate -name "*.[chS]")'

# There is no history to look up a "Fixes:" in. MAINTAINERS has whole directories.
# generic_pt has the macro that announces a function right below it.
check checkpatch-patches "$checkpatch"'
	types=UNKNOWN_COMMIT_ID,FILE_PATH_CHANGES,LINE_SPACING
	checkpatch $types $(find /repo/patches -maxdepth 1 -name "*.patch" | LC_ALL=C sort)'

# As above, for the same files as patches. Nobody has signed them, and the summary of new
# files is taken for a part of the message.
"$REPO/tools/series/make.sh" > "$LOGS/series.log" || cat "$LOGS/series.log"
check checkpatch-series "$checkpatch"'
	types=MISSING_SIGN_OFF,UNKNOWN_COMMIT_ID,FILE_PATH_CHANGES,COMMIT_LOG_LONG_LINE
	types=$types,LINE_SPACING,STATIC_CONST,LONG_LINE_STRING,OPEN_ENDED_LINE,PARENTHESIS_ALIGNMENT
	types=$types,COMPLEX_MACRO,MACRO_ARG_REUSE,MACRO_WITH_FLOW_CONTROL,NAKED_SSCANF
	types=$types,MULTISTATEMENT_MACRO_USE_DO_WHILE
	checkpatch $types /repo/build/series/*/0*.patch'

# Not reported: scripts for another shell in single quotes (SC2016), variables for the
# scripts that source lib.sh (SC2034), ls of names made here (SC2010, SC2012), the stage (SC1090).
check shellcheck 'find .ci crates/iommufd-dirty-bindings tools -name "*.sh" -o -path "*/guest/init" -o -path "*/.ci/run" |
	xargs shellcheck -x -P SCRIPTDIR -e SC2016,SC2034,SC2010,SC2012,SC1090'

exit $failed
