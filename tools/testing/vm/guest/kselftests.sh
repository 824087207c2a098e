# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# The modules' KUnit suites, which run when a module is loaded; then this project's
# kselftests, except those that have a stage of their own.

ls /sys/kernel/debug/kunit > /tmp/kernels_own
check "the modules load" modprobe iommufd-dirty-mock
# A suite's own results, without the line that sums it up.
for suite in $(ls /sys/kernel/debug/kunit | grep -vxFf /tmp/kernels_own); do
	sed -n 's/^    //p' "/sys/kernel/debug/kunit/$suite/results"
done > /tmp/results
check "there are KUnit suites" test -s /tmp/results
echo "# begin kunit"
grep -v '^1\.\.' /tmp/results
awk '/^1\.\./ { plan += substr($1, 4) } END { print "1.." plan + 0 }' /tmp/results
echo "# end kunit $?"

# The debug kernel is some ten times slower. There two trackers stand for one and
# eight; the fast kernel runs every variant.
set --
if [ "$KERNEL" = debug ]; then
	for variant in mock_1 hwpt_1 huge_1 huge_2 mixed_2 mock_8 hwpt_8 huge_8 mixed_8 \
		mixed_huge_8; do
		set -- "$@" -V "$variant"
	done
	export HOSTILE_ROUNDS=5000
fi
# shellcheck disable=SC2013
for program in $(cat /selftests/kselftest-list.txt); do
	run "$program" "$@"
done
