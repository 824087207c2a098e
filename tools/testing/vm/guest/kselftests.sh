# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# This project's kselftests, but for those that have a stage of their own.

check "the modules load" modprobe iommufd-dirty-mock
# shellcheck disable=SC2013
for program in $(cat /selftests/kselftest-list.txt); do
	run "$program"
done
