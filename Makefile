# SPDX-License-Identifier: GPL-2.0
#
# The targets that people use. kbuild reads Kbuild instead.

KDIR_DEFAULT := /lib/modules/$(shell uname -r)/build
LLVM ?= 1

VM := tools/testing/vm
MODULES = $(MAKE) -C "$(or $(KDIR),$(KDIR_DEFAULT))" LLVM=$(LLVM) \
	M="$(CURDIR)" MO="$(CURDIR)/build/modules"

export KDIR KSRC

help:
	@echo 'On a fresh machine (Debian 12/13 or Ubuntu 24.04, x86-64, root or sudo):'
	@echo '  demo             set up what is missing, and show in a VM what this does'
	@echo '  test             set up what is missing, and run every test'
	@echo '  vm               a shell in a VM with the modules loaded'
	@echo '  bench            measure in a VM; a table, and build/bench.json'
	@echo '  fuzz             feed vfio-mlx5 what firmware may say, for SECONDS= (default 600)'
	@echo '  check            static checks: rustfmt, clippy, checkpatch, sparse, shellcheck'
	@echo 'For the kernel lists:'
	@echo '  series           patches for a kernel tree, as mails and as branches, in build/series'
	@echo 'For a kernel of your own:'
	@echo '  modules          build the modules for KDIR, into build/modules'
	@echo '  install          install them, the uAPI header, a udev rule, and what loads them at'
	@echo '                   boot (below INSTALL_MOD_PATH=, as in the kernel)'
	@echo 'And:'
	@echo '  clean            remove what was built here; the cache stays'
	@echo 'Variables:'
	@echo '  KDIR=  a built kernel tree; demo, test and vm then run on it'
	@echo '         (modules: default $(KDIR_DEFAULT))'
	@echo '  KSRC=  a kernel source tree to build the kernels of demo, test and vm from;'
	@echo '         apply patches/ to it first'
	@echo '  LLVM=  for modules: 1 (default) builds with clang, empty with gcc'
	@echo '  XDG_CACHE_HOME=  holds iommufd-dirty/: the compilers and the kernels, up to 15 GB'

demo:
	@$(VM)/run.sh --kernel $(if $(KDIR),kdir,fast) --show demo

test:
	@$(VM)/test.sh

vm:
	@$(VM)/run.sh --kernel $(if $(KDIR),kdir,fast) shell

bench:
	@$(VM)/bench.sh $(if $(KDIR),kdir,fast)

fuzz:
	@$(VM)/fuzz.sh $(or $(SECONDS),600) $(if $(KDIR),kdir,fast)

check:
	@$(VM)/check.sh

series:
	@tools/series/make.sh

modules:
	$(MODULES) modules

# Below the root that the kernel's own targets know by this name.
root = $(INSTALL_MOD_PATH)

install:
	$(MODULES) modules_install
	install -D -m 644 include/uapi/linux/iommufd_dirty.h \
		"$(root)/usr/include/linux/iommufd_dirty.h"
	install -D -m 644 tools/install/60-iommufd-dirty.rules \
		"$(root)/usr/lib/udev/rules.d/60-iommufd-dirty.rules"
	install -D -m 644 tools/install/modules-load.conf \
		"$(root)/usr/lib/modules-load.d/iommufd-dirty.conf"

clean:
	rm -rf build
	find drivers tools \( -name '*.o' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' \
		-o -name '.*.cmd' -o -name '*_generated.rs' -o -name modules.order \) -delete
	rm -f Module.symvers modules.order

.PHONY: help demo test vm bench fuzz check series modules install clean
