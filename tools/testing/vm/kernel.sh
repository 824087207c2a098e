#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Makes one kernel: fast, debug, stock (as fast, without the patches), or tree (with
# what make series makes, and so with the modules).
# An entry of the cache holds src/, build/ (the O= directory) and mods/.
. "$(dirname "$0")/lib.sh"

name=$1
[ -d "$ROOT" ] || die "there is no toolchain root yet: tools/testing/vm/setup.sh makes it"
entry=$(kernel_entry "$name")
part=$entry.part

# A copy of the source by hard links. patch(1) replaces a file and so leaves the
# other copies alone.
make_source() {
	local patch
	rm -rf "$part/src"
	cp -al "$(pristine)/src" "$part/src"
	: > "$part/patched"
	patches_of "$name" | while read -r patch; do
		say "  $(basename "$patch")"
		sed -n 's,^+++ b/\([^	]*\).*,\1,p' "$patch" >> "$part/patched"
		in_root "$part" patch -d /kernel/src -p1 -sf --no-backup-if-mismatch \
			-i "/repo/${patch#"$REPO"/}" ||
			die "${patch#"$REPO"/} does not apply to linux-source-$LINUX_SERIES" \
				"$(head -n 1 "$ROOT/versions"): rebase it"
	done
}

# A finished build that differs only a little: the newest one with the same configuration,
# or else the newest one of the same name. Fast and stock differ in the patches only. A
# build continues from a copy of it. What is patched in one of the two must look newer
# than its objects, unless it is the same in both.
find_seed() {
	local like entry newest='' wanted
	case $name in
	fast) like=stock ;;
	stock | tree) like=fast ;;
	*) like=$name ;;
	esac
	wanted=$(config_of "$name")
	while read -r entry; do
		cmp -s "$entry/versions" "$ROOT/versions" || continue
		if [ "$(cat "$entry/wanted.config")" = "$wanted" ]; then
			printf '%s' "$entry"
			return
		fi
		newest=${newest:-$entry}
	done < <({
		ls -dt "$CACHE/kernel-$name"-????????????????
		ls -dt "$CACHE/kernel-$like"-????????????????
	} 2> /dev/null)
	printf '%s' "$newest"
}

plant() {
	local seed=$1 file
	use_entry "$seed"
	cp -a --reflink=auto "$seed/build" "$part/build"
	sort -u "$seed/patched" "$part/patched" | while read -r file; do
		if [ -f "$part/src/$file" ]; then
			cp --preserve=mode "$part/src/$file" "$part/src/$file.new"
			mv "$part/src/$file.new" "$part/src/$file"
			if cmp -s "$seed/src/$file" "$part/src/$file"; then
				touch -r "$seed/src/$file" "$part/src/$file"
			fi
		fi
	done
}

configure() {
	config_of "$name" > "$part/wanted.config"
	logged "$LOGS/config-$name.log" in_root "$part" env \
		KCONFIG_ALLCONFIG=/kernel/wanted.config \
		make -C /kernel/src O=/kernel/build LLVM=1 allnoconfig
	check_config
}

# kconfig silently drops what is not possible.
check_config() {
	local missing
	missing=$(awk -F= '
		/^# CONFIG_.* is not set$/ { split($0, word, " "); $0 = word[2] "=n" }
		!/^CONFIG_/ { next }
		NR == FNR { wanted[$1] = $2; next }
		{ got[$1] = $2 }
		END {
			for (symbol in wanted)
				if (wanted[symbol] != (symbol in got ? got[symbol] : "n"))
					print "  " symbol "=" wanted[symbol]
		}' "$part/wanted.config" "$part/build/.config")
	if [ -n "$missing" ]; then
		say "$missing"
		die "the $name kernel's .config lacks these lines of tools/testing/vm/config:" \
			"something that they depend on is not enabled"
	fi
}

build() {
	logged "$LOGS/kernel-$name.log" in_root "$part" sh -ec '
		cd /kernel/build
		make -j"$(nproc)" LLVM=1 bzImage modules
		make LLVM=1 headers
		rm -rf /kernel/mods
		make LLVM=1 INSTALL_MOD_PATH=/kernel/mods modules_install
		cp arch/x86/boot/bzImage /kernel/bzImage'
}

lock "$CACHE/kernel-$name"
if [ -d "$entry" ] && [ -z "${KSRC:-}" ]; then
	exit 0
fi

if [ -n "${KSRC:-}" ]; then
	# make knows what changed in a tree of the user's: it is asked each time.
	say "$name kernel from $KSRC, which has the patches in patches/ if you applied them"
	part=$entry
	mkdir -p "$part/src" "$part/build"
else
	"$VM/source.sh"
	seed=$(find_seed)
	if [ -d "$part" ]; then
		say "$name kernel: continuing where an earlier run was interrupted"
	else
		rm -rf "$CACHE/kernel-$name"-*.part*
		mkdir -p "$part.new"
		part=$part.new
		make_source
		if [ -n "$seed" ]; then
			say "$name kernel from $(basename "$seed") (usually 2 minutes)"
			plant "$seed"
		else
			mkdir "$part/build"
			case $name in
			debug) say "debug kernel: KASAN, lockdep, kmemleak (usually 20 minutes)" ;;
			*) say "$name kernel (usually 15 minutes)" ;;
			esac
		fi
		mv "$part" "$entry.part"
		part=$entry.part
	fi
fi

configure
build
cp "$ROOT/versions" "$part/versions"
if [ "$part" != "$entry" ]; then
	mv "$part" "$entry"
	prune 2 "$CACHE/kernel-$name"-????????????????
fi
