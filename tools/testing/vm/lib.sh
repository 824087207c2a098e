# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What the scripts here share: places, messages, the cache, the toolchain root.

set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd -P)
VM=$REPO/tools/testing/vm
OUT=$REPO/build
LOGS=$OUT/logs
CACHE=${XDG_CACHE_HOME:-${HOME:?HOME is not set: set it, or XDG_CACHE_HOME}/.cache}/iommufd-dirty

# From the command line of make; a relative path is valid in that directory only.
KDIR=${KDIR:+$(realpath "$KDIR")}
KSRC=${KSRC:+$(realpath "$KSRC")}
export KDIR KSRC

LINUX_SERIES=7.3
PROXIES=http_proxy,https_proxy,no_proxy,HTTP_PROXY,HTTPS_PROXY,NO_PROXY

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Sleeps without a process, which would keep the locks and the output open.
pause() {
	local never
	exec {never}<> <(:)
	read -r -t "$1" -u "$never" || :
	exec {never}>&-
}

# Asks for sudo's password once, and keeps what it gave until the script ends.
need_root() {
	if [ "$(id -u)" -eq 0 ] || [ -n "${SUDO_KEPT:-}" ]; then
		return
	fi
	command -v sudo > /dev/null ||
		die "this needs root, and there is no sudo: run it as root, or install sudo"
	say "sudo is for a chroot: the toolchain root is made by debootstrap, and entered with" \
		"mounts of its own. What is built in it is built as $(id -un)."
	sudo -v || die "$(id -un) may not use sudo: run it as root"
	while pause 50 && kill -0 $$ 2> /dev/null; do
		sudo -n -v
	done &
	export SUDO_KEPT=1
}

# Runs a command as root, through sudo if need be.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo --preserve-env=$PROXIES "$@"
	fi
}

hash_of() { sha256sum | cut -c 1-16; }

ROOT=$CACHE/root-$(cat "$VM/packages" "$VM/root.sh" | hash_of)

# One process at a time makes what is at the path $1. Held until the script ends.
lock() {
	local fd
	mkdir -p "$(dirname "$1")"
	exec {fd}> "$1.lock"
	flock -n "$fd" || {
		say "Another run is making $1; waiting for it."
		flock "$fd"
	}
}

# Keeps the cache's entry $1 from being pruned for as long as the script runs.
use_entry() {
	local fd
	touch "$1"
	exec {fd}< "$1"
	flock -s "$fd"
}

# Removes the entries $2... that nobody uses, except the $1 newest.
prune() {
	local keep=$1 entry
	shift
	# Names are made here: a word, a dash and hex digits.
	# shellcheck disable=SC2012
	ls -dt "$@" 2> /dev/null | tail -n "+$((keep + 1))" | while read -r entry; do
		flock -n -x "$entry" mv "$entry" "$entry.old" || continue
		as_root rm -rf --one-file-system "$entry.old"
	done
}

# The configuration of kernel $1, as a file that make allnoconfig takes.
config_of() {
	cat "$VM/config/base.config"
	case $1 in
	debug | tree) cat "$VM/config/$1.config" ;;
	esac
}

# The patches of kernel $1, in their order. A source given by KSRC is not patched here.
patches_of() {
	local series
	if [ "$1" = tree ]; then
		for series in fixes iommufd-dirty vfio-mlx5 x86-dirty; do
			find "$OUT/series/$series" -name '0*.patch' ! -name '0000-*' | LC_ALL=C sort
		done
	elif [ "$1" != stock ] && [ -z "${KSRC:-}" ]; then
		find "$REPO/patches" -maxdepth 1 -name '*.patch' | LC_ALL=C sort
	fi
}

# The cache's entry of the kernel's source as Debian has it.
pristine() {
	printf '%s' "$CACHE/source-$(head -n 1 "$ROOT/versions" | tr -c 'A-Za-z0-9.\n' _)"
}

# The cache's entry of kernel $1: its name depends on everything that made it.
kernel_entry() {
	local key
	if [ "$1" = kdir ]; then
		printf '%s' "$OUT/kdir-kernel"
		return
	fi
	key=$({
		cat "$ROOT/versions"
		config_of "$1"
		patches_of "$1" | xargs -r -d '\n' cat
		printf '%s' "${KSRC:-}"
	} | hash_of)
	printf '%s' "$CACHE/kernel-$1-$key"
}

# The patches of QEMU, in their order.
qemu_patches() {
	find "$REPO/patches/qemu" -name '0*.patch' ! -name '0000-*' | LC_ALL=C sort
}

# The cache's entry of QEMU with these patches.
qemu_entry() {
	local key
	key=$({
		cat "$ROOT"/usr/src/qemu_*.dsc "$VM/qemu.sh" "$REPO/tools/testing/migrate/break.sh"
		qemu_patches | xargs -r -d '\n' cat
	} | hash_of)
	printf '%s' "$CACHE/qemu-$key"
}

# Where the tests for kernel $1 are: in the tree that make series made, or here.
selftests_of() {
	if [ "$1" = tree ]; then
		printf '%s' /kernel/src
	else
		printf '%s' /repo
	fi
	printf '%s' /tools/testing/selftests/iommufd-dirty
}

# The source of the user's built tree KDIR, and whether clang built it.
kdir_source() { realpath -e "$KDIR/source" 2> /dev/null || realpath "$KDIR"; }
kdir_llvm() { sed -n 's/^CONFIG_CC_IS_CLANG=y/1/p' "$KDIR/.config"; }

# What the entry $1 is built from: a tree of the user's, or its own copy.
source_of() {
	if [ "$1" = "$OUT/kdir-kernel" ]; then
		kdir_source
	else
		printf '%s' "${KSRC:-$1/src}"
	fi
}

# in_root KERNEL COMMAND...: runs COMMAND in the toolchain root, as the calling user.
# It sees this repository at /repo, the entry KERNEL at /kernel with its source
# at /kernel/src, and nothing else of the machine.
in_root() {
	local kernel=$1
	shift
	mkdir -p "$CACHE/cargo"
	as_root unshare --mount --pid --fork --kill-child \
		"$VM/enter.sh" "$ROOT" "$(id -u):$(id -g)" "$REPO" "$kernel" \
		"$(source_of "$kernel")" "$CACHE/cargo" "$@"
}

# logged LOG COMMAND...: COMMAND's output goes to LOG; where it stands is shown
# every few seconds, and the end of LOG when it fails.
logged() {
	local log=$1 status=0 watcher began=$SECONDS
	shift
	mkdir -p "$(dirname "$log")"
	: > "$log"
	watch_log "$log" &
	watcher=$!
	"$@" > "$log" 2>&1 < /dev/null || status=$?
	kill "$watcher" 2> /dev/null || :
	wait "$watcher" 2> /dev/null || :
	if [ -t 1 ]; then
		printf '\r\033[K'
	fi
	if [ "$status" -ne 0 ]; then
		say "  failed; the end of $log:"
		tail -n 30 "$log" | sed 's/^/    /'
		return "$status"
	fi
	say "  done in $((SECONDS - began)) s"
}

watch_log() {
	local began=$SECONDS every=30 before='  ' after='\n'
	if [ -t 1 ]; then
		every=2 before='\r\033[K  ' after=
	fi
	# Ends with the script that it reports to, however that one ends.
	while pause "$every" && kill -0 $$ 2> /dev/null; do
		# shellcheck disable=SC2059
		printf "$before%4d s, %5d lines: %.60s$after" $((SECONDS - began)) \
			"$(wc -l < "$1")" "$(tail -n 1 "$1" | tr -cd '[:print:]')"
	done
}
