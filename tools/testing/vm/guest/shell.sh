#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# make vm: the modules loaded, and a shell.
. ./lib.sh

vfs 2 vfio-mlx5
for module in $(our_modules); do
	modprobe "$module"
done
cat << END

The $KERNEL kernel. Loaded: $(our_modules | tr '\n' ' ')
Test programs are in /selftests (this project's) and /upstream (the kernel's own).
To leave: poweroff -f, or Ctrl-A X.

END
cd /
setsid cttyhack sh
poweroff -f
