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
# Each has its own ratio and its own goal: the time, which is called nothing, and a migration'\''s.
BEGIN { nr_figures = split(" downtime_ sync_", figures, " "); figures[++nr_figures] = "" }

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
	nr_migrations += / downtime_ms=/
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

# To look at what is not there would make it.
function field(n, key) { return has(n, key) ? value[n, key] : "" }

# Of time, or with a prefix of another figure.
function missed(n, figure) { return value[n, figure "ratio"] > value[n, figure "goal"] }

function verdict(n, figure) {
	if (!has(n, figure "goal"))
		return ""
	return missed(n, figure) ? "MISSED" : "met"
}

function is_migration(n) { return has(n, "downtime_ms") }

# Of the line before: it is written once.
function name(n) { return value[n, "case"] == value[n - 1, "case"] ? "" : value[n, "case"] }

function bytes(n) {
	if (n < 10000)
		return n " B"
	return sprintf("%.1f KiB", n / 1024)
}

function table() {
	if (nr > nr_migrations)
		times()
	if (nr_migrations)
		migrations()
	printf "machine: %s, %s CPUs, Linux %s\n", model, cpus, kernel
	if (tcg)
		print "An emulated processor: times are ratios only."
}

function times(	n, fmt) {
	fmt = "%-18s %-14s %12s %7s %7s %-6s %6s %13s %7s %7s %8s %6s\n"
	printf fmt, "case", "method", "time (us)", "ratio", "goal", "", "calls",
		"to user", "pinned", "kernel", "commands", "irqs"
	for (n = 1; n <= nr; n++) {
		if (is_migration(n))
			continue
		printf fmt, name(n), value[n, "method"], sprintf("%.1f", value[n, "ns"] / 1000),
			field(n, "ratio"), field(n, "goal"), verdict(n, ""),
			value[n, "calls"], bytes(value[n, "user_bytes"]),
			value[n, "pinned"], bytes(value[n, "kernel_bytes"]),
			field(n, "commands"), field(n, "interrupts")
	}
	print ""
	print "time: median of interleaved repetitions, each with the result checked bit for bit"
	print "ratio: time of the case'\''s first method / time of this one, median over the rounds"
	print "calls, to user, pinned, kernel: system calls; bytes of bitmap, extents and structures"
	print "    given to the kernel to write; pages pinned; bytes of bitmap held in the kernel"
	print "commands, irqs: that the firmware of mlx5-model got and made"
	if (tcg)
		print "An emulated processor'\''s clock counts instructions here, but for mlx5."
	print ""
}

function migrations(	n, fmt) {
	fmt = "%-18s %-6s %13s %6s %6s %-6s %10s %6s %6s %-6s %10s %6s %9s\n"
	printf fmt, "migration", "QEMU", "downtime (ms)", "ratio", "goal", "",
		"sync (ms)", "ratio", "goal", "", "total (ms)", "syncs", "sent"
	for (n = 1; n <= nr; n++) {
		if (!is_migration(n))
			continue
		printf fmt, name(n), value[n, "method"],
			value[n, "downtime_ms"], field(n, "downtime_ratio"),
			field(n, "downtime_goal"), verdict(n, "downtime_"),
			sprintf("%.1f", value[n, "sync_us"] / 1000), field(n, "sync_ratio"),
			field(n, "sync_goal"), verdict(n, "sync_"),
			value[n, "total_ms"], value[n, "syncs"],
			sprintf("%.1f MiB", value[n, "bytes"] / 1048576)
	}
	print ""
	print "migration: of so many VFs, whose firmware begins a report so many ms after it was asked"
	print "QEMU: ours is with patches/qemu, off is the same with dirty-contexts=off, stock is Debian'\''s"
	print "    later version; each guest has checked its memory"
	print "sync: QEMU synchronizes its dirty bitmap, and holds the big lock meanwhile; the median one"
	print "ratio: ours / this one; all are medians of migrations that took turns"
	print ""
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
		for (k = 1; k <= nr_figures; k++)
			if (has(n, figures[k] "goal"))
				printf ", \"%smet\": %s", figures[k],
					missed(n, figures[k]) ? "false" : "true"
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
