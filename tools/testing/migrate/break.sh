#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Adds to a source of QEMU with patches/qemu that it leaves out what BROKEN in its
# environment names, so that a test can see that nothing of it is there for nothing:
#
#   harvest  the harvest before memory is unmapped
#   final    the last read, after the devices were stopped
#   unmap    the read after memory was unmapped
#   range    one range of memory in each read: the last one
#
# break.sh SOURCE
set -eu

cd "$1/hw/vfio"

# edit PATTERN EXPRESSION: PATTERN is in one line of one file; sed(1) does EXPRESSION there.
edit() {
	if [ "$(cat iommufd-dirty*.c | grep -cF "$1")" -ne 1 ]; then
		echo "break.sh: not in one place of iommufd-dirty*.c: $1" >&2
		exit 1
	fi
	sed -i "$2" "$(grep -lF "$1" iommufd-dirty*.c)"
}

cat > iommufd-dirty-broken.h << END
static inline bool is_broken(const char *what)
{
    return !g_strcmp0(getenv("BROKEN"), what);
}
END
sed -i 's/^#include "trace.h"$/&\n#include "iommufd-dirty-broken.h"/' iommufd-dirty*.c

edit 'dirty_harvest(container, runs) != 0' \
	's/[a-z_]*dirty_harvest(container, runs) != 0/!is_broken("harvest") \&\& &/'
edit 'iommufd_dirty_read(container, runs, 0, NULL)' \
	's/iommufd_dirty_read(container, runs, 0, NULL)/(!is_broken("unmap") \&\& &)/'
edit 'flags |= IOMMUFD_DIRTY_READ_FINAL;' \
	's/flags |= IOMMUFD_DIRTY_READ_FINAL;/if (is_broken("final")) { return; } &/'
edit ' runs = vfio_iova_maps_runs(&container->dirty->maps, 0, UINT64_MAX);' \
	's/ runs = vfio_iova_maps_runs(&container->dirty->maps, 0, UINT64_MAX);/&\
    g_array_set_size(runs, runs->len - (is_broken("range") \&\& runs->len));/'
