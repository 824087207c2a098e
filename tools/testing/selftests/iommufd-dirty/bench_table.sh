#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# bench_table.sh [--json] <output of the bench_* programs>...
#
# Makes one table, or one JSON document, of the lines "# bench ...". Serial console logs
# will do; other lines are skipped.

set -eu

form=table
if [ "${1:-}" = --json ]; then
	form=json
	shift
fi
if [ $# -eq 0 ]; then
	echo "usage: $0 [--json] <output of bench_*>..." >&2
	exit 2
fi

exec awk -v form="$form" '
# The lines of a serial console may end in CR.
{ sub(/\r$/, "") }

/^# bench-machine / {
	cpus = $3
	kernel = $4
	model = $0
	sub(/^# bench-machine [^ ]+ [^ ]+ /, "", model)
	tcg = model ~ /TCG/
	next
}

# It belongs to the next line.
/^# bench-firmware / {
	firmware = $0
	next
}

/^# bench / {
	nr++
	if (firmware) {
		split(firmware, words)
		$0 = $0 " " words[5] " " words[6]
		firmware = ""
	}
	for (i = 3; i <= NF; i++) {
		at = index($i, "=")
		value[nr, substr($i, 1, at - 1)] = substr($i, at + 1)
		if (nr == 1 || !(substr($i, 1, at - 1) in seen)) {
			seen[substr($i, 1, at - 1)]
			keys[++nr_keys] = substr($i, 1, at - 1)
		}
	}
}

function has(n, key) { return (n, key) in value }

function missed(n) { return has(n, "goal") && value[n, "ratio"] > value[n, "goal"] }

function bytes(n) {
	if (n < 10000)
		return n " B"
	return sprintf("%.1f KiB", n / 1024)
}

function table(	n, fmt) {
	fmt = "%-18s %-14s %12s %7s %7s %-6s %6s %13s %7s %7s %8s %6s\n"
	printf fmt, "case", "method", "time (us)", "ratio", "goal", "", "calls", "to user", "pinned", "kernel", "commands", "irqs"
	for (n = 1; n <= nr; n++)
		printf fmt, value[n, "case"] == value[n - 1, "case"] ? "" : value[n, "case"],
			value[n, "method"], sprintf("%.1f", value[n, "ns"] / 1000),
			has(n, "ratio") ? value[n, "ratio"] : "",
			has(n, "goal") ? value[n, "goal"] : "",
			missed(n) ? "MISSED" : has(n, "goal") ? "met" : "",
			value[n, "calls"], bytes(value[n, "user_bytes"]),
			value[n, "pinned"], bytes(value[n, "kernel_bytes"]),
			value[n, "commands"], value[n, "interrupts"]
	print ""
	print "time: median of interleaved repetitions, each with the result checked bit for bit"
	print "ratio: time of the case'\''s first method / time of this one, median over the rounds"
	print "calls, to user, pinned, kernel: system calls; bytes of bitmap, extents and structures"
	print "    given to the kernel to write; pages pinned; bytes of bitmap held in the kernel"
	print "commands, irqs: that the firmware of mlx5-model got and made"
	printf "machine: %s, %s CPUs, Linux %s\n", model, cpus, kernel
	if (tcg)
		print "An emulated processor: times are ratios only. But for mlx5 its clock counts instructions."
}

function json(	n, k, sep, line) {
	printf "{\n \"machine\": { \"model\": \"%s\", \"emulated\": %s, \"cpus\": %d, \"kernel\": \"%s\" },\n",
		model, tcg ? "true" : "false", cpus, kernel
	printf " \"results\": ["
	for (n = 1; n <= nr; n++) {
		printf "%s\n  {", (n == 1 ? "" : ",")
		sep = " "
		for (k = 1; k <= nr_keys; k++) {
			if (!has(n, keys[k]))
				continue
			line = value[n, keys[k]]
			if (line !~ /^[0-9.]+$/)
				line = "\"" line "\""
			printf "%s\"%s\": %s", sep, keys[k], line
			sep = ", "
		}
		if (has(n, "goal"))
			printf ", \"met\": %s", missed(n) ? "false" : "true"
		printf " }"
	}
	print "\n ]\n}"
}

END {
	if (!nr) {
		print "no bench line in the input" > "/dev/stderr"
		exit 1
	}
	if (form == "json")
		json()
	else
		table()
}
' "$@"
