#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Runs a command beside tools/testing/mlx5-model, in the toolchain root. When the
# command ends, so does the model.
#
# with-model.sh 'VFS [OPTION...]' LOG COMMAND...
set -eu

arguments=$1 vfs=${1%% *} log=$2
shift 2
# shellcheck disable=SC2086 # as many arguments as there are words
build/mlx5-model/release/mlx5-model /tmp $arguments 2> "$log" &
for socket in control pf $(seq -f vf%.0f "$vfs"); do
	tries=100
	until [ -S "/tmp/$socket.sock" ]; do
		tries=$((tries - 1))
		if [ "$tries" -eq 0 ]; then
			echo "mlx5-model made no socket: see $log" >&2
			exit 1
		fi
		sleep 0.1
	done
done
"$@"
