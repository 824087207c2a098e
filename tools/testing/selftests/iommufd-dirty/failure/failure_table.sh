#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# failure_table.sh <output of failure_classes>...
#
# Makes one table of several runs: a row for each class, a column for each kernel and
# interface. Serial console logs will do; other lines are skipped.

set -eu

if [ $# -eq 0 ]; then
	echo "usage: $0 <output of failure_classes>..." >&2
	exit 2
fi

exec awk '
# The lines of a serial console may end in CR.
{ sub(/\r$/, "") }

match($0, /# failure-class .*/) {
	if (split(substr($0, RSTART), f, " ") != 9)
		next
	column = f[4] ", " f[3]
	class = f[5]
	if (!(column in columns)) {
		columns[column]
		column_name[++nr_columns] = column
	}
	if (!(class in classes)) {
		classes[class]
		class_name[++nr_classes] = class
		if (length(class) > width)
			width = length(class)
	}
	error = f[6]
	if (error == 0)
		error = "ok"
	else if (error == 14)
		error = "EFAULT"
	else if (error == 22)
		error = "EINVAL"
	cell[class, column] = sprintf("%-6s %5d %6d %7d", error, f[7], f[8], f[9])
}

function row(first, what,	i, value) {
	printf "%-*s", width, first
	for (i = 1; i <= nr_columns; i++) {
		if (what == "name")
			value = column_name[i]
		else if (what == "head")
			value = "result  lost missed outside"
		else if ((first, column_name[i]) in cell)
			value = cell[first, column_name[i]]
		else
			value = "-"
		printf " | %-27s", value
	}
	print ""
}

END {
	if (!nr_columns) {
		print "no failure-class line in the input" > "/dev/stderr"
		exit 1
	}
	row("", "name")
	row("class", "head")
	for (c = 1; c <= nr_classes; c++)
		row(class_name[c], "cell")
	print ""
	print "lost: dirty pages that no read reported, then or later"
	print "missed: dirty pages of the request that a successful call did not report"
	print "outside: bytes changed that are not part of the bitmap"
}
' "$@"
