# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=busybox
# For the stages: each prints KTAP by check and run, and ends with its own status.

TESTS=0

# check DESCRIPTION COMMAND...: one test.
check() {
	local description=$1 verdict=ok
	shift
	"$@" || verdict="not ok"
	TESTS=$((TESTS + 1))
	echo "$verdict $TESTS $description"
	[ "$verdict" = ok ]
}

skip() {
	TESTS=$((TESTS + 1))
	echo "ok $TESTS $1 # SKIP $2"
}

# run PROGRAM [ARGUMENT...]: a program of /selftests or /upstream, which prints
# KTAP with a plan of its own. Run it by its path: some have the name of a command.
run() {
	local name=$1 path=/selftests/$1 status=0
	shift
	[ -x "$path" ] || path=/upstream/$name
	echo "# begin $name"
	"$path" "$@" || status=$?
	echo "# end $name $status"
}

# The modules that this project built, as the kernel calls them.
our_modules() {
	find /lib/modules/*/updates -name '*.ko' | sed 's,.*/,,; s,\.ko$,,; s,-,_,g'
}

unload() {
	local module
	for module in $(our_modules) $(our_modules); do
		if grep -q "^$module " /proc/modules; then
			rmmod "$module" 2> /dev/null || :
		fi
	done
	for module in $(our_modules); do
		if grep "^$module " /proc/modules; then
			return 1
		fi
	done
}

# Two scans: the first one sees objects that are in flight, and an object counts
# when it is five seconds old.
no_leak() {
	local leaks=/sys/kernel/debug/kmemleak
	sleep 5
	echo scan > $leaks
	sleep 1
	echo scan > $leaks
	cat $leaks > /tmp/leaks
	sed 's/^/# /' /tmp/leaks
	[ ! -s /tmp/leaks ]
}

# tools/testing/mlx5-model, the devices of mlx5.qemu: its PF, and its VFs' drivers.
PF=/sys/bus/pci/devices/0000:00:04.0

driver_of() { basename "$(readlink "$1/driver")"; }

# mlx5_bind DRIVER VFS
mlx5_bind() {
	local vf
	for vf in $(seq 0 $(($2 - 1))); do
		echo "$1" > "$PF/virtfn$vf/driver_override"
		basename "$(readlink "$PF/virtfn$vf")" > /sys/bus/pci/drivers_probe
		check "$1 drives VF $vf" [ "$(driver_of "$PF/virtfn$vf")" = "$1" ]
	done
}

# mlx5_rebind VF DRIVER: the VF may have another driver.
mlx5_rebind() {
	local path=$PF/virtfn$1
	if [ -e "$path/driver" ]; then
		basename "$(readlink "$path")" > "$path/driver/unbind"
	fi
	echo "$2" > "$path/driver_override"
	basename "$(readlink "$path")" > /sys/bus/pci/drivers_probe
	check "$2 drives VF $1" [ "$(driver_of "$path")" = "$2" ]
}

# Nothing that mlx5_core logs is a warning, or worse.
mlx5_no_complaint() {
	dmesg -r | grep mlx5_core | grep '^<[0-4]>' | sed 's/^/# /' > /tmp/complaints
	cat /tmp/complaints
	[ ! -s /tmp/complaints ]
}

# mlx5_up VFS
mlx5_up() {
	check "the PF can have VFs" modprobe mlx5-model-sriov
	check "they are none yet" [ "$(cat $PF/sriov_totalvfs):$(cat $PF/sriov_numvfs)" = "$1:0" ]
	check "mlx5_core loads" modprobe mlx5_core
	check "it drives the PF" [ "$(driver_of $PF)" = mlx5_core ]
	check "and has no complaint" mlx5_no_complaint
	echo 0 > $PF/sriov_drivers_autoprobe
	echo "$1" > $PF/sriov_numvfs
	check "there are VFs" test -e "$PF/virtfn$(($1 - 1))"
	check "and no complaint" mlx5_no_complaint
	check "iommufd-dirty loads" modprobe iommufd-dirty
	if [ "$KERNEL" != stock ]; then
		check "iommufd-dirty-vfio loads" modprobe iommufd-dirty-vfio
	fi
}

mlx5_down() {
	echo 0 > $PF/sriov_numvfs
	check "the VFs are gone" test ! -e $PF/virtfn0
	check "mlx5_core unloads" rmmod mlx5_core
}

# Devices that can migrate: the emulated ones are created here, and the driver of
# iommu-testdev takes those that exist.
MIGRATABLE=/sys/class/mdev_bus/iommufd-dirty-migratable

# migratable_up plain|log
migratable_up() {
	local n device
	check "iommufd-dirty-migratable loads" modprobe iommufd-dirty-migratable
	check "iommufd-dirty-testdev loads" modprobe iommufd-dirty-testdev
	for n in 0 1 2 3; do
		echo "0000000$n-0000-0000-0000-000000000000" > \
			"$MIGRATABLE/mdev_supported_types/iommufd-dirty-migratable-$1/create"
	done
	check "the emulated devices are there" test -e $MIGRATABLE/00000003-*/vfio-dev
	for device in /sys/bus/pci/devices/*; do
		if [ "$(cat "$device/vendor"):$(cat "$device/device")" = 0x1b36:0x0005 ]; then
			echo iommufd-dirty-testdev > "$device/driver_override"
			basename "$device" > /sys/bus/pci/drivers_probe
		fi
	done
}
