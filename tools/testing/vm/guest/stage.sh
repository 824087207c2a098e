#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Runs one stage, and what holds after each: the modules can be unloaded, and on
# a kernel with kmemleak nothing is left behind.
. ./lib.sh

. "./$STAGE.sh"
status=$?

check "the modules unload" unload
if [ -n "${LEAKS:-}" ]; then
	skip "no memory is leaked" "$LEAKS"
elif [ -e /sys/kernel/debug/kmemleak ]; then
	check "no memory is leaked" no_leak
fi
echo "1..$TESTS"
exit $status
