#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Is this machine ready to track what a VF of a ConnectX writes, and does the
# tracker do what can be tried without a driver for the VF? Changes only the VF, which
# has to be bound to vfio-mlx5 first. Writes a report.
#
# hw.sh BDF [REPORT]      as in: hw.sh 0000:3b:00.2

usage() {
	sed -n '3,/^$/s/^# \{0,1\}//p' "$0"
	exit "$1"
}

wrong=0

ok() { echo "  [ok] $*"; }

# no WHAT_IS_WRONG HOW_TO_FIX_IT
no() {
	echo "  [NO] $1"
	echo "       $2"
	wrong=$((wrong + 1))
}

driver_of() { basename "$(readlink "$1/driver" 2> /dev/null)" 2> /dev/null; }
value_of() { cat "$1" 2> /dev/null; }

check_machine() {
	echo "The kernel"
	echo "       $(uname -srvm)"
	if [ "$(id -u)" -eq 0 ]; then
		ok "this runs as root"
	else
		no "this does not run as root" "run it with sudo"
	fi
	if [ -c /dev/iommu ]; then
		ok "it has iommufd"
	else
		no "there is no /dev/iommu" "modprobe iommufd; the kernel needs CONFIG_IOMMUFD"
	fi
	for module in iommufd-dirty vfio-mlx5; do
		modprobe "$module" 2> /dev/null
		if [ -d "/sys/module/$(echo "$module" | tr - _)" ]; then
			ok "$module is loaded"
		else
			no "$module cannot be loaded" "make modules && make modules_install; then see dmesg"
		fi
	done
}

check_pf() {
	pf=$(basename "$(readlink "$vf/physfn" 2> /dev/null)" 2> /dev/null)
	if [ -z "$pf" ]; then
		no "$bdf is not a virtual function" \
			"give one of /sys/bus/pci/devices/PF/virtfn*; echo 1 > .../PF/sriov_numvfs makes one"
		return
	fi
	echo "The physical function, $pf"
	echo "       device $(value_of "$vf/physfn/vendor"):$(value_of "$vf/physfn/device")," \
		"$(value_of "$vf/physfn/sriov_numvfs") of $(value_of "$vf/physfn/sriov_totalvfs") VFs"
	if [ "$(driver_of "$vf/physfn")" = mlx5_core ]; then
		ok "mlx5_core drives it"
	else
		no "it is driven by '$(driver_of "$vf/physfn")'" \
			"bind it to mlx5_core: the tracker of a VF is the PF's"
	fi
	firmware=$(dmesg 2> /dev/null |
		sed -n "s/.*mlx5_core $pf: firmware version: //p" | tail -n 1)
	echo "       firmware ${firmware:-unknown (see devlink dev info pci/$pf)}"
}

check_vf() {
	echo "The virtual function, $bdf"
	echo "       device $(value_of "$vf/vendor"):$(value_of "$vf/device")"
	if [ "$(value_of "$vf/vendor")" = 0x15b3 ]; then
		ok "it is an NVIDIA (Mellanox) device"
	else
		no "it is not an NVIDIA (Mellanox) device" "use a VF of a ConnectX-6 or newer"
	fi
	group=$(readlink "$vf/iommu_group" 2> /dev/null)
	if [ -n "$group" ]; then
		ok "it is in IOMMU group $(basename "$group") of" \
			"$(find "$vf/iommu_group/devices/" -mindepth 1 | wc -l)"
	else
		no "it has no IOMMU group" "turn on the IOMMU in the firmware setup, and intel_iommu=on"
	fi
	if [ "$(driver_of "$vf")" = vfio_mlx5 ]; then
		ok "vfio_mlx5 drives it"
	else
		no "it is driven by '$(driver_of "$vf")'" \
			"echo vfio_mlx5 > $vf/driver_override, unbind it, echo $bdf > /sys/bus/pci/drivers_probe"
	fi
	ls "$vf"/vfio-dev/vfio* > /dev/null 2>&1 ||
		no "it has no VFIO character device" "the kernel needs CONFIG_VFIO_DEVICE_CDEV"
}

check_program() {
	echo "The program that tries the tracker"
	if [ -x "$here/hw_tracker" ]; then
		ok "it is built"
		return
	fi
	dir=$(cd "$here" && pwd)
	source=$(readlink -f "/lib/modules/$(uname -r)/source")
	if [ ! -e "$source/tools/testing/selftests/kselftest_harness.h" ]; then
		source='$KSRC'
		echo "       (set KSRC to the source of the kernel, which is not in /lib/modules)"
	fi
	no "$here/hw_tracker is not built" \
		"make -C $source headers_install INSTALL_HDR_PATH=/tmp/khdr &&
       make -C $(dirname "$dir") KSRC=$source KHDR=/tmp/khdr/include \\
           OUTPUT=$dir $dir/hw_tracker"
}

main() {
	echo "iommufd-dirty on hardware: a report of $(date -u '+%F %T') UTC"
	check_machine
	check_pf
	check_vf
	check_program
	if [ "$wrong" -ne 0 ]; then
		echo "prerequisites missing: $wrong; the tracker was not tried."
		return 1
	fi
	echo "The tracker"
	"$here/hw_tracker" "$vf" || wrong=1
	echo "What the kernel logged"
	dmesg 2> /dev/null | grep -E "mlx5|vfio|iommufd|WARNING|BUG" | tail -n 40 |
		sed 's/^/       /'
	if [ "$wrong" -eq 0 ]; then
		echo "Everything is as it should be. This cannot check whether a page that the VF" \
			"writes is reported: nothing made it write."
	fi
	return "$wrong"
}

case ${1:-} in
-h | --help) usage 0 ;;
'' | -*) usage 2 >&2 ;;
esac
bdf=$1
report=${2:-hw-$1.txt}
vf=/sys/bus/pci/devices/$bdf
here=$(dirname "$0")
if [ ! -d "$vf" ]; then
	echo "There is no PCI device $bdf: lspci -D -d 15b3: lists the candidates." >&2
	exit 2
fi
{
	main
	echo $? > "$report.status"
} 2>&1 | tee "$report"
status=$(cat "$report.status")
rm -f "$report.status"
echo "Also in $report: please send it, whatever it says."
exit "$status"
