#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# make bench: measures in a VM, prints a table, and writes build/bench.json.
. "$(dirname "$0")/lib.sh"

kernel=${1:-fast}
table=$REPO/tools/testing/selftests/iommufd-dirty/bench_table.sh
ktap=$LOGS/bench-$kernel.ktap

status=0
"$VM/run.sh" --kernel "$kernel" --timeout 1800 --count --show bench |
	sed -u -n -E 's/^# bench case=([^ ]*) method=([^ ]*) .*/  measured \1, \2/p; /^#/!p' ||
	status=$?
"$table" --json "$ktap" > "$OUT/bench.json"
say ""
"$table" "$ktap"
say "Also in ${OUT#"$REPO"/}/bench.json."
exit $status
