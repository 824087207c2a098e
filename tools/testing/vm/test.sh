#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# make test: sets up everything, runs every test, prints a table of them.
. "$(dirname "$0")/lib.sh"

# Two VMs of two threads each fill two processors, and take eight GB.
JOBS=1
if [ "$(nproc)" -ge 2 ] && [ "$(awk '$1 == "MemAvailable:" { print int($2 / 1000000) }' \
	/proc/meminfo)" -ge 9 ]; then
	JOBS=2
fi

# The kernels to test, and which of them stands for "fast" in the list of stages.
fast=fast
kernels=(fast debug stock tree)
if [ -n "${KDIR:-}" ]; then
	say "KDIR: everything for the fast kernel runs on $KDIR, nothing for the others."
	fast=kdir
	kernels=(kdir)
elif [ -n "${KSRC:-}" ]; then
	say "KSRC: the fast and debug kernels are from $KSRC; the others are left out."
	kernels=(fast debug)
fi

# STAGE KERNEL TIMEOUT of each stage that has a kernel here.
stages() {
	local stage kernel timeout
	grep -v '^#' "$VM/stages" | while read -r stage kernel timeout; do
		if [ "$kernel" = fast ]; then
			kernel=$fast
		fi
		case " ${kernels[*]} " in
		*" $kernel "*) echo "$stage $kernel $timeout" ;;
		esac
	done
}

# The tests of the logic that needs no kernel, by the root's own cargo.
host_tests() {
	local began=$SECONDS passed failed skipped
	say "Host tests: cargo test"
	logged "$LOGS/host.log" in_root "$(kernel_entry "${kernels[0]}")" \
		sh -c 'cargo test --locked --no-fail-fast
			cargo test --locked --no-fail-fast --all-features \
				--manifest-path crates/Cargo.toml
			cargo test --locked --no-fail-fast \
				--manifest-path tools/testing/mlx5-model/Cargo.toml
			cargo test --locked --no-fail-fast \
				--manifest-path tools/testing/vfio-mlx5/Cargo.toml' ||
		: # counted below
	read -r passed failed skipped < <(awk '
		/^test result:/ { passed += $4; failed += $6; skipped += $8 }
		/^error/ { broken = 1 }
		END { print passed + 0, failed + (broken && !failed), skipped + 0 }' \
		"$LOGS/host.log")
	if [ $((passed + failed)) -eq 0 ]; then
		failed=1
	fi
	echo "host - $passed $failed $skipped $((SECONDS - began))" > "$LOGS/host.result"
}

# What firmware may say, for a moment; make fuzz takes its time.
fuzz() {
	local began=$SECONDS counts="1 0 0"
	say "Fuzzing: what firmware may say (make fuzz does it for longer)"
	logged "$LOGS/fuzz.log" "$VM/fuzz.sh" 10 "${kernels[0]}" || counts="0 1 0"
	echo "fuzz - $counts $((SECONDS - began))" > "$LOGS/fuzz.result"
}

# If one of upstream's tests passes on the stock kernel and not here, it is our fault.
compare_upstream() {
	local lost verdict="1 0 0"
	lost=$(comm -23 <(passes "$LOGS/upstream-stock.ktap") \
		<(passes "$LOGS/upstream-fast.ktap"))
	if [ -n "$lost" ]; then
		say "upstream's tests that only pass on the stock kernel:"
		printf '%s\n' "$lost" | sed 's/^/    /'
		verdict="0 1 0"
	fi
	echo "upstream-as-stock fast $verdict 0" > "$LOGS/upstream-as-stock.result"
}

passes() { tr -d '\r' < "$1" | sed -n '/# SKIP/d; s/^ok [0-9]* //p' | sort; }

table() {
	local format="%-20s %-8s %8s %8s %8s %8s\n" stage kernel counts
	# shellcheck disable=SC2059 # the same for all lines
	printf "$format" stage kernel passed failed skipped seconds
	sort "$LOGS"/*.result | while read -r stage kernel counts; do
		# shellcheck disable=SC2059,SC2086
		printf "$format" "$stage" "$kernel" $counts
	done
}

# Repeats what is wrong where people look for it: at the end.
what_failed() {
	local why
	for why in "$LOGS"/*.why; do
		if [ -s "$why" ]; then
			say "$(basename "$why" .why):"
			head -n 12 "$why"
		fi
	done
}

totals() {
	cat "$LOGS"/*.result | awk '
		{ passed += $3; failed += $4; skipped += $5 }
		END {
			printf "%d skipped\n", skipped
			printf "%d passed, %d failed\n", passed, failed
			exit failed != 0
		}'
}

if [ -n "${KSRC:-}" ] && [ -n "${KDIR:-}" ]; then
	die "KSRC is a source to build, KDIR a built tree: give one of them"
fi
need_root
mkdir -p "$LOGS"
rm -f "$LOGS"/*.result "$LOGS"/*.why
"$VM/setup.sh" "${kernels[@]}"
use_entry "$ROOT"

say "VMs, $JOBS at a time; the tests that need no VM run in place of one of them"
# Whatever leaves no result of its own has failed.
echo "host - 0 1 0 0" > "$LOGS/host.result"
echo "fuzz - 0 1 0 0" > "$LOGS/fuzz.result"
# The first one runs alone: it finds out whether KVM works.
while read -r stage kernel timeout; do
	"$VM/run.sh" --as-is --kernel "$kernel" --timeout "$timeout" "$stage" || : &
	if [ -z "${tried_kvm:-}" ]; then
		tried_kvm=1
		wait
		# Through a pipe: its output must not overwrite a line that a VM writes.
		{ host_tests; fuzz; } | cat &
	fi
	while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do
		wait -n || :
	done
done < <(stages)
wait

# A stage that left no result did not even boot.
while read -r stage kernel _; do
	if ! [ -s "$LOGS/$stage-$kernel.result" ]; then
		echo "$stage $kernel 0 1 0 0" > "$LOGS/$stage-$kernel.result"
	fi
done < <(stages)
if [ -s "$LOGS/upstream-stock.ktap" ] && [ "$fast" = fast ]; then
	compare_upstream
fi

say "What a failing request does, on the stock kernel and on ours:"
"$REPO/tools/testing/selftests/iommufd-dirty/failure/failure_table.sh" \
	"$LOGS"/failure-classes-*.ktap || :
say ""
table
what_failed
totals
