#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Checks everything that the build needs from the host, in one go. What Debian and Ubuntu
# have as a package is installed.
. "$(dirname "$0")/lib.sh"

NEED_GB=15
NEED_RAM_GB=6

problems=()
packages=()

problem() { problems+=("$1" "    $2"); }

need() {
	if ! command -v "$1" > /dev/null && ! [ -x "/usr/sbin/$1" ] && ! [ -e "$1" ]; then
		packages+=("$2")
	fi
}

need debootstrap debootstrap
need /usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
need unshare util-linux
need flock util-linux
need awk mawk
need realpath coreutils
need make make
need git git

if [ "$(uname -sm)" != "Linux x86_64" ]; then
	problem "This is $(uname -sm); the kernels and the VM are x86-64." \
		"Use an x86-64 machine with Linux."
fi

mkdir -p "$CACHE"
if [ ! -d "$ROOT" ]; then
	free=$(df --output=avail -B1G "$CACHE" | tail -n 1)
	if [ "$free" -lt $NEED_GB ]; then
		problem "$CACHE has $free GB free; the compilers and three kernels take $NEED_GB." \
			"Make room, or: export XDG_CACHE_HOME=<a directory with room>"
	fi
	if findmnt -n -o OPTIONS --target "$CACHE" | grep -qwE 'nodev|noexec'; then
		problem "$CACHE is mounted nodev or noexec: a chroot cannot be in it." \
			"export XDG_CACHE_HOME=<a directory on another file system>"
	fi
fi

ram=$(awk '$1 == "MemTotal:" { print int($2 / 1000000) }' /proc/meminfo)
if [ "$ram" -lt $NEED_RAM_GB ]; then
	problem "There are $ram GB of memory; the debug kernel's VM alone has 4." \
		"Use a machine with $NEED_RAM_GB GB or more."
fi

if ! error=$(as_root unshare --mount mount -t tmpfs tmpfs /mnt 2>&1); then
	problem "root cannot mount here, as in a container without the right to: $error" \
		"Run it on a machine or VM, or give the container that right (docker run --privileged)."
fi

if [ ${#packages[@]} -gt 0 ]; then
	if command -v apt-get > /dev/null; then
		say "Installing from this machine's distribution: ${packages[*]}"
		install_packages() {
			as_root apt-get update &&
				as_root env DEBIAN_FRONTEND=noninteractive \
					apt-get install -y --no-install-recommends "${packages[@]}"
		}
		logged "$LOGS/prereqs.log" install_packages ||
			problem "apt-get cannot install ${packages[*]}." \
				"sudo apt-get update && sudo apt-get install ${packages[*]}"
	else
		problem "These are missing: ${packages[*]} (Debian's names)." \
			"Install them with this distribution's package manager."
	fi
fi

if [ ${#problems[@]} -gt 0 ]; then
	printf '%s\n' "${problems[@]}" >&2
	exit 1
fi
