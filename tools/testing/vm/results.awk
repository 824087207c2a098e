# SPDX-License-Identifier: GPL-2.0
# Counts the KTAP results of a stage (guest/lib.sh describes their form). Prints
# "passed failed skipped" and, before it, a line for each thing that is wrong.

# The plan and the status of a program, or of the stage itself, against what came.
function finish(status) {
	if (plan < 0)
		wrong(name ": it printed no plan")
	else if (plan != results)
		wrong(name ": " results " of " plan " results came")
	else if (status != 0 && status != 4 && failures == 0)
		wrong(name ": it ended with status " status)
	begin("")
}

function begin(new) {
	name = new
	plan = -1
	results = failures = 0
}

function wrong(what) {
	print what
	failed++
}

BEGIN {
	begin("")
	failed = extra
}

{ sub(/\r$/, "") }

/^# begin / {
	stage_results = results
	stage_failures = failures
	begin($3)
	next
}

/^# end / {
	finish($4)
	results = stage_results
	failures = stage_failures
	next
}

/^# vm: end / {
	name = "the stage"
	finish($4)
	ended = 1
	next
}

/^1\.\.[0-9]+/ {
	plan = substr($1, 4) + 0
	if (/# *[Ss][Kk][Ii][Pp]/)
		skipped++
	next
}

/^ok / {
	results++
	if (/# *[Ss][Kk][Ii][Pp]/)
		skipped++
	else
		passed++
}

/^not ok / {
	results++
	failures++
	wrong((name == "" ? "" : name ": ") $0)
}

END {
	if (!ended)
		wrong(name == "" ? "the stage did not end" : name ": it did not end")
	if (passed + failed == 0)
		wrong("no test ran")
	print passed + 0, failed + 0, skipped + 0
}
