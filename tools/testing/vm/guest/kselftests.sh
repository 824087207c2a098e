# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# This project's kselftests, but for those that have a stage of their own.

check "the modules load" modprobe iommufd-dirty-mock

# The debug kernel is some ten times slower. There two trackers stand for one and
# eight; the fast kernel runs every variant.
set --
if [ "$KERNEL" = debug ]; then
	for variant in mock_1 hwpt_1 huge_1 huge_2 mixed_2 mock_8 hwpt_8 huge_8 mixed_8 \
		mixed_huge_8; do
		set -- "$@" -V "$variant"
	done
fi
# shellcheck disable=SC2013
for program in $(cat /selftests/kselftest-list.txt); do
	run "$program" "$@"
done
