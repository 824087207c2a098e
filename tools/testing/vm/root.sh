#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Makes the toolchain root: Debian 13 with the compilers, QEMU, and the sources of the
# kernel and of QEMU, so that a build needs nothing of the host's distribution.
. "$(dirname "$0")/lib.sh"

RELEASE=trixie
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

packages() {
	awk -v "from=$1" '!/^#/ && $2 == from { print $1 }' "$VM/packages"
}

# Debian's own default mirror, and the same one for what comes from backports.
bootstrap() {
	as_root unshare --mount --pid --fork --kill-child \
		debootstrap --variant=minbase --keyring="$KEYRING" $RELEASE "$1" || return
	awk -v "suite=$RELEASE" '
		$1 == "deb" {
			$1 = "deb-src"; print
			$1 = "deb"; $3 = suite "-backports"; print
			exit
		}' "$1/etc/apt/sources.list" |
		as_root tee "$1/etc/apt/sources.list.d/more.list" || return
	as_root mkdir "$1/repo" "$1/kernel" "$1/cargo"
}

install_packages() {
	local apt='apt-get install -y --no-install-recommends'
	# shellcheck disable=SC2046
	as_root unshare --mount --pid --fork --kill-child \
		"$VM/enter.sh" "$1" 0:0 "$REPO" "$CACHE" "$CACHE/src" "$CACHE" \
		env DEBIAN_FRONTEND=noninteractive sh -ec "
			apt-get update
			$apt $(packages '' | tr '\n' ' ')
			$apt -t $RELEASE-backports $(packages backports | tr '\n' ' ')
			cd /usr/src
			apt-get source --download-only qemu/$RELEASE
			chmod a+r qemu_*
			apt-get clean
			{
				dpkg-query -W -f '\${Version}\n' linux-source-$LINUX_SERIES
				clang --version | head -n 1
				rustc --version
				bindgen --version
			} > /versions"
}

lock "$CACHE/root"
if [ -d "$ROOT" ]; then
	exit 0
fi

say "Toolchain root: Debian $RELEASE with clang, rustc, QEMU (usually 2 minutes, 2.5 GB)"
part=$ROOT.part
as_root rm -rf --one-file-system "$part"
make_it() {
	bootstrap "$part" && install_packages "$part"
}
logged "$LOGS/root.log" make_it ||
	die "cannot make the toolchain root. It takes Debian's packages from its default mirror:" \
		"is that reachable from here (http_proxy is honoured)?"
as_root mv "$part" "$ROOT"
prune 1 "$CACHE"/root-????????????????
