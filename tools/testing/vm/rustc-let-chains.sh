#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# For cargo, as RUSTC_WRAPPER. iommufd-ioctls 0.4 has let chains, which are stable in
# rustc 1.88; the root's 1.85 has them too, if they are enabled.
case " $* " in
*' --crate-name iommufd_ioctls '*)
	export RUSTC_BOOTSTRAP=1
	set -- "$@" '-Zcrate-attr=feature(let_chains)'
	;;
esac
exec "$@"
