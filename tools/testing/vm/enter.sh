#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Enters the toolchain root. Runs as root in a mount and PID namespace of its own
# (lib.sh: in_root), so that every mount and process goes with it.
#
# enter.sh ROOT UID:GID REPO KERNEL SOURCE CARGO COMMAND...
set -eu

root=$1 user=$2 repo=$3 kernel=$4 source=$5 cargo=$6
shift 6

mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind /dev "$root/dev"
mount --bind "$repo" "$root/repo"
mount --bind "$cargo" "$root/cargo"
mount --bind "$kernel" "$root/kernel"
if [ "$source" != "$kernel/src" ]; then
	mount --bind "$source" "$root/kernel/src"
fi

# Names and certificates as on the host: cargo fetches the test dependencies.
for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
	if [ -s "$file" ] && [ -f "$root$file" ]; then
		mount --bind "$(realpath "$file")" "$root$file"
	fi
done

# A new process is a member of few groups: QEMU needs that of /dev/kvm.
groups=
if [ -e /dev/kvm ]; then
	groups=--groups=$(stat -c %g /dev/kvm)
fi

# Nothing in the caller's environment affects a build, except the proxies.
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 \
	TERM="${TERM:-dumb}" CARGO_HOME=/cargo CARGO_TARGET_DIR=/repo/build/cargo \
	KBUILD_BUILD_TIMESTAMP=1970-01-01 KBUILD_BUILD_USER=user KBUILD_BUILD_HOST=host \
	${http_proxy:+"http_proxy=$http_proxy"} ${https_proxy:+"https_proxy=$https_proxy"} \
	${HTTP_PROXY:+"HTTP_PROXY=$HTTP_PROXY"} ${HTTPS_PROXY:+"HTTPS_PROXY=$HTTPS_PROXY"} \
	${no_proxy:+"no_proxy=$no_proxy"} ${NO_PROXY:+"NO_PROXY=$NO_PROXY"} \
	chroot --userspec="$user" ${groups:+"$groups"} "$root" \
	sh -c 'cd /repo && exec "$@"' sh "$@"
