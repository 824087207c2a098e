#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# make bench: measures in a VM, prints a table, and writes build/bench.json.
. "$(dirname "$0")/lib.sh"

kernel=${1:-fast}
table=$REPO/tools/testing/selftests/iommufd-dirty/bench_table.sh
ktap=$LOGS/bench-$kernel.ktap

say "What is measured here takes some minutes; other work on this machine disturbs it."
status=0
"$VM/run.sh" --kernel "$kernel" --timeout 1200 --show bench |
	sed -u -n -E 's/^# bench case=([^ ]*) method=([^ ]*) .*/  measured \1 \2/; /^#/!p; s/^  measured/&/p' ||
	status=$?
"$table" --json "$ktap" > "$OUT/bench.json"
say ""
"$table" "$ktap"
say "Also in ${OUT#"$REPO"/}/bench.json."
exit $status
