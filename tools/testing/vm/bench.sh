#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# make bench: measures in a VM, prints a table, and writes build/bench.json.
. "$(dirname "$0")/lib.sh"

kernel=${1:-fast}
table=$REPO/tools/testing/selftests/iommufd-dirty/bench/bench_table.sh
ktaps=("$LOGS"/bench{,-dma,-mlx5,-migrate}-"$kernel".ktap)

# measure STAGE [OPTION]
measure() {
	"$VM/run.sh" --kernel "$kernel" --timeout 1800 "${@:2}" --show "$1" |
		sed -u -n -E 's/^# bench case=([^ ]*) method=([^ ]*) .*/  measured \1, \2/p; /^#/!p' ||
		status=$?
}

status=0
measure bench --count
measure bench-dma --count
measure bench-mlx5
measure bench-migrate --timeout 7200
"$table" --json "${ktaps[@]}" > "$OUT/bench.json"
say ""
"$table" "${ktaps[@]}"
say "Also in ${OUT#"$REPO"/}/bench.json."
exit $status
