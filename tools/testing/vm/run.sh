#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Boots a VM for each STAGE, a script guest/STAGE.sh, and judges what it did.
. "$(dirname "$0")/lib.sh"

stages() {
	find "$VM/guest" -name '*.sh' -printf '%f\n' | sed 's/\.sh$//' | sort |
		grep -vxE 'lib|stage' | tr '\n' ' '
}

usage() {
	cat << END
usage: run.sh [--kernel fast|debug|stock|kdir] [--timeout SECONDS] [--show] [--as-is]
              [--count] STAGE...

  --show   print what the stage prints, without the lines that only run.sh reads
  --as-is  boot what is built; do not look whether something has to be built
  --count  let an emulated processor's clock count instructions, one for a
           nanosecond: measuring is exact then, whatever else the machine does

A STAGE is one of: $(stages)
END
	exit "$1"
}

# In the console's log these mean that the kernel found a bug, whatever the tests
# say. The pattern starts at the end of the time stamp.
SPLAT='\] (WARNING: |BUG: |KASAN: |UBSAN: |INFO: task .* blocked|INFO: rcu|rcu: INFO: '
SPLAT+='|Oops: |Kernel panic|kernel BUG|general protection|list_(add|del) corruption'
SPLAT+='|refcount_t: |ODEBUG: |stack segment|unregister_netdevice: waiting|watchdog: BUG)'
SPLAT+='|rust_kernel: panicked|possible recursive locking|DEBUG_LOCKS_WARN_ON'

# qemu ACCEL TIMEOUT COMMAND_LINE QEMU_ARGUMENT...
qemu() {
	local accel=$1 limit=$2 memory=${memory_of_stage:-2G} processors=(-smp 2) command_line
	command_line="console=ttyS0 panic=-1 oops=panic hugepages=80 kunit.autorun=1 vm.kernel=$kernel $3"
	# The watchdog of 7.3 waits with its interrupts off for another CPU. That one may be in
	# stop_machine() and wait for it: forever, as long as time is jiffies.
	command_line+=" tsc=nowatchdog"
	# The boot checks the timer's interrupt with real time, and panics on a busy host.
	command_line+=" no_timer_check"
	shift 3
	if [ "$kernel" = debug ]; then
		memory=4G
		# Each page that mlx5_core maps costs milliseconds: leave its DMA untranslated.
		command_line+=" panic_on_warn=1 iommu=pt"
	fi
	command_line+=$parameters
	if $count && [ "$accel" != kvm ]; then
		accel=tcg,thread=single
		processors=(-smp 1 -icount "shift=0,sleep=off")
	elif [ "$accel" != kvm ]; then
		# The boot measures its TSC. If it has to wait for a processor of a busy
		# host just then, its clock runs several times too fast ever after.
		command_line+=" tsc_early_khz=$tsc_khz"
	fi
	local machine=() model=()
	if [ -n "$mlx5_model" ]; then
		# The model accesses the guest's memory through the file that backs it.
		machine=(-machine memory-backend=ram
			-object "memory-backend-memfd,id=ram,size=$memory,share=on")
		model=(tools/testing/vm/with-model.sh "$mlx5_model" "${logs_of_model#"$REPO"/}")
	fi
	# No LA57: identify_cpu() forgets for a moment that the CPU has it. If an interrupt comes
	# just then, KASAN takes any address for a wild one.
	# In the foreground: Ctrl-C and the terminal stay QEMU's.
	in_root "$entry" "${model[@]}" timeout --foreground -k 5 "$limit" qemu-system-x86_64 \
		-M q35 -accel "$accel" \
		-cpu max,la57=off "${processors[@]}" -m "$memory" -nodefaults -display none -no-reboot \
		-kernel /kernel/bzImage -initrd "/repo/build/$kernel/$initramfs" \
		-append "$command_line" "${machine[@]}" "$@" "${devices[@]}"
}

# What a stage needs from the machine is in guest/STAGE.qemu: QEMU's arguments, one
# option and its value per line. -append adds parameters of the kernel; -mlx5-model
# starts tools/testing/mlx5-model with these arguments, its sockets in /tmp; -vmm adds
# what vmm.sh packed, and says how much memory that takes (the debug kernel has more).
devices=() parameters='' mlx5_model='' logs_of_model='' initramfs=initramfs memory_of_stage=''
read_machine() {
	local option value file=$VM/guest/$1.qemu
	devices=() parameters='' mlx5_model='' logs_of_model=$LOGS/$1-$kernel.model
	initramfs=initramfs memory_of_stage=''
	[ -f "$file" ] || return 0
	while read -r option value; do
		case $option in
		'' | '#'*) ;;
		-append) parameters+=" $value" ;;
		-mlx5-model) mlx5_model=$value ;;
		-vmm) initramfs=initramfs-vmm memory_of_stage=$value ;;
		*) devices+=("$option" "$value") ;;
		esac
	done < "$file"
}

# /dev/kvm may exist and not run a guest: try it, and measure the TSC, once for each
# boot of the host.
choose_accel() {
	local answer tsc_khz
	answer=$OUT/machine-$(cat /proc/sys/kernel/random/boot_id)
	lock "$OUT/machine" >&2
	if [ ! -e "$answer" ]; then
		rm -f "$OUT"/machine-*
		tsc_khz=$(in_root "$entry" sh -ec '
			gcc -O2 -o /tmp/tsc_khz tools/testing/vm/tsc_khz.c
			/tmp/tsc_khz')
		# In one step: an answer cut off by Ctrl-C would be taken for a complete one.
		if [ -e /dev/kvm ] && qemu kvm 20 vm.stage=none \
			-serial file:/repo/build/logs/kvm.log \
			-serial file:/repo/build/logs/kvm.ktap < /dev/null > /dev/null 2>&1 &&
			grep -q '^# vm: end' "$LOGS/kvm.ktap"; then
			echo kvm "$tsc_khz"
		else
			echo tcg,thread=multi "$tsc_khz"
		fi > "$OUT/machine.new"
		mv "$OUT/machine.new" "$answer"
	fi
	cat "$answer"
}

# What is wrong with the run of stage $1, one line each; then the counts.
judge() {
	local log=$1.log ktap=$1.ktap status=$2 extra=0
	if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
		say "it hung: killed after $timeout s"
		extra=$((extra + 1))
	elif [ "$status" -ne 0 ]; then
		say "QEMU ended with status $status"
		extra=$((extra + 1))
	fi
	if grep -aqE "$SPLAT" "$log"; then
		say "the kernel found a bug: $(grep -aE -m 1 "$SPLAT" "$log" | tr -d '\r')"
		extra=$((extra + 1))
	fi
	awk -v "extra=$extra" -f "$VM/results.awk" "$ktap"
}

run_stage() {
	local stage=$1 base=$LOGS/$1-$kernel status=0 verdict counts passed failed skipped
	local began=$SECONDS
	lock "$base"
	rm -f "$base".log "$base".ktap "$base".qemu "$base".result "$base".why
	: > "$base.log"
	: > "$base.ktap"
	read_machine "$stage"
	if $show; then
		qemu "$accel" "$timeout" "vm.stage=$stage" \
			-serial "file:/repo/${base#"$REPO"/}.log" \
			-chardev "stdio,id=ktap,signal=off,logfile=/repo/${base#"$REPO"/}.ktap" \
			-serial chardev:ktap < /dev/null |
			sed -u -E '/^(ok |not ok |1\.\.|# vm: end)/d' || status=$?
	else
		qemu "$accel" "$timeout" "vm.stage=$stage" \
			-serial "file:/repo/${base#"$REPO"/}.log" \
			-serial "file:/repo/${base#"$REPO"/}.ktap" \
			< /dev/null > "$base.qemu" 2>&1 || status=$?
	fi
	verdict=$(judge "$base" "$status")
	counts=$(printf '%s\n' "$verdict" | tail -n 1)
	read -r passed failed skipped <<< "$counts"
	say "$stage on $kernel: $passed passed, $failed failed, $skipped skipped" \
		"($((SECONDS - began)) s)"
	printf '%s %s %s\n' "$stage $kernel" "$counts" $((SECONDS - began)) > "$base.result"
	if [ "$failed" -ne 0 ]; then
		{
			printf '%s\n' "$verdict" | sed '$d; s/^/    /'
			say "    the kernel's last line: $(tail -n 1 "$base.log" | tr -d '\r')"
			say "    kernel log: ${base#"$REPO"/}.log, test output: ${base#"$REPO"/}.ktap"
		} | tee "$base.why"
		return 1
	fi
}

kernel=fast timeout=300 show=false build=true count=false
while [ $# -gt 0 ]; do
	case $1 in
	--kernel) kernel=${2:?} && shift ;;
	--timeout) timeout=${2:?} && shift ;;
	--show) show=true ;;
	--as-is) build=false ;;
	--count) count=true ;;
	--help | -h) usage 0 ;;
	-*) usage 2 >&2 ;;
	*) break ;;
	esac
	shift
done
[ $# -gt 0 ] || usage 2 >&2
for stage; do
	[ -f "$VM/guest/$stage.sh" ] || die "there is no guest/$stage.sh"
done

if $build; then
	"$VM/setup.sh" "$kernel"
fi
entry=$(kernel_entry "$kernel")
[ -e "$OUT/$kernel/initramfs" ] || die "nothing is built for $kernel: run it without --as-is"
use_entry "$entry"
mkdir -p "$LOGS"
read -r accel tsc_khz < <(choose_accel)

if [ "$1" = shell ]; then
	read_machine shell
	qemu "$accel" infinity "quiet vm.stage=shell" -serial mon:stdio
	exit
fi

status=0
for stage; do
	run_stage "$stage" || status=1
done
exit $status
