#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# make vm: the modules loaded, and a shell.
. ./lib.sh

mlx5_up 3 > /dev/null
modprobe vfio-mlx5
mlx5_bind vfio_mlx5 3 > /dev/null
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
