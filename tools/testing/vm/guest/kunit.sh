# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# The modules' KUnit suites, which run when a module is loaded.

cd /sys/kernel/debug/kunit || exit
ls > /tmp/kernels_own
check "the modules load" modprobe iommufd-dirty-mock
# A suite's own results, without the line that sums it up.
for suite in $(ls | grep -vxFf /tmp/kernels_own); do
	sed -n 's/^    //p' "$suite/results"
done > /tmp/results
cd /test || exit
check "there are KUnit suites" test -s /tmp/results
echo "# begin kunit"
grep -v '^1\.\.' /tmp/results
awk '/^1\.\./ { plan += substr($1, 4) } END { print "1.." plan + 0 }' /tmp/results
echo "# end kunit $?"
