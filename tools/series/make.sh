#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# make series: this repository as patch series for a kernel tree, in build/series/.
#
# Each series is a directory here with a cover letter and a list: what is on a line is
# a file of patches/, or one of commits/ with a message, and the files that it adds.
. "$(dirname "$0")/../testing/vm/lib.sh"

HERE=$REPO/tools/series
SERIES=(fixes iommufd-dirty vfio-mlx5 x86-dirty)
out=$OUT/series
stage=$out/stage

export GIT_DIR=$out/linux.git GIT_INDEX_FILE=$out/index
# Two runs make the same commits of the same source.
if ! git var GIT_AUTHOR_IDENT > /dev/null 2>&1; then
	export GIT_AUTHOR_NAME=nobody GIT_AUTHOR_EMAIL=nobody@example.com
	export GIT_COMMITTER_NAME=nobody GIT_COMMITTER_EMAIL=nobody@example.com
fi
export GIT_AUTHOR_DATE='2026-11-28 12:00:00 +0000' GIT_COMMITTER_DATE='2026-11-28 12:00:00 +0000'

# A repository with one commit: the kernel's source as Debian has it.
import() {
	local entry
	"$VM/source.sh"
	entry=$CACHE/git-$(basename "$(pristine)")
	lock "$CACHE/git"
	if [ ! -d "$entry" ]; then
		say "A git repository of the kernel's source (usually 1 minute)"
		rm -rf "$entry.part"
		env -u GIT_INDEX_FILE GIT_DIR="$entry.part" git init -q --bare -b base
		logged "$LOGS/series-import.log" env -u GIT_INDEX_FILE GIT_DIR="$entry.part" \
			sh -ec '
				git --work-tree="$1/src" add --all --force .
				git update-ref refs/heads/base "$(git -c user.name=nobody \
					-c user.email=nobody commit-tree -m "$2" "$(git write-tree)")"' \
			sh "$(pristine)" "linux-source-$LINUX_SERIES $(head -n 1 "$ROOT/versions")"
		mv "$entry.part" "$entry"
	fi
	base_repo=$entry
}

# This repository's files, in the places that they have in a kernel tree.
fill_stage() {
	local file to parts=(drivers include scripts Documentation tools/testing/selftests)
	rm -rf "$stage"
	# All that git would take, in a clone or in an unpacked archive.
	git -C "$REPO" -c core.bare=false --work-tree="$REPO" ls-files --others --exclude-standard \
		"${parts[@]/#/$REPO/}" | LC_ALL=C sort |
		while read -r file; do
			to=$(printf '%s' "$file" | sed -f "$HERE/tree.sed")
			if left_out "$file"; then
				continue
			fi
			mkdir -p "$(dirname "$stage/$to")"
			sed -f "$HERE/tree.sed" "$REPO/$file" > "$stage/$to"
			if [ -x "$REPO/$file" ]; then
				chmod +x "$stage/$to"
			fi
		done
	# What the modules share is elsewhere, seen from each.
	sed -i 's,"../iommufd-dirty/,"../../iommu/iommufd-dirty/,' \
		"$stage"/drivers/vfio/iommufd-dirty/*.rs
	sed -i -e 's,"../iommufd-dirty/,"../../../iommu/iommufd-dirty/,' \
		-e 's,"../iommufd-dirty-vfio/,"../../iommufd-dirty/,' \
		"$stage"/drivers/vfio/pci/vfio-mlx5/*.rs
	# In a tree, the hooks are there. unifdef says 1 where it changed something.
	in_root "$(pristine)" sh -ec '
		cc -o /tmp/unifdef /kernel/src/scripts/unifdef.c
		cd "build/series/stage/drivers/vfio/pci/vfio-mlx5/abi"
		for file in *.c; do
			/tmp/unifdef -DVFIO_MLX5_SPACE -DVFIO_MLX5_BITMAP_ERRORS "$file" > /tmp/c ||
				[ $? -eq 1 ]
			cat /tmp/c > "$file"
		done'
}

left_out() {
	local pattern
	while read -r pattern; do
		# shellcheck disable=SC2254
		case $1 in
		$pattern) return 0 ;;
		esac
	done < <(grep -v '^#' "$HERE/leave-out")
	return 1
}

# commit MESSAGE-FILE: what is in the index, on top of $branch.
commit() {
	local tree
	tree=$(git write-tree)
	if [ "$tree" = "$(git rev-parse "$branch^{tree}")" ]; then
		die "this commit changes nothing: $(head -n 1 "$1")"
	fi
	git update-ref "refs/heads/$branch" \
		"$(git commit-tree "$tree" -p "$branch" -F "$1")"
}

# A hunk that does not fit says so by itself.
put() {
	git apply --cached --whitespace=nowarn "$1" || die "${1#"$REPO"/} does not apply"
}

# No person stands behind the patches until one sends them, and signs.
# See Documentation/process/coding-assistants.rst in the kernel's source.
add_patch() {
	local patch subject
	patch=$(echo "$REPO/patches/$1"-*.patch)
	put "$patch"
	git mailinfo "$out/body" /dev/null < "$patch" > "$out/info"
	subject=$(sed -n 's/^Subject: //p' "$out/info")
	{
		printf '%s\n\n' "$subject"
		sed -e '/^---$/,$d' -e 's/^Signed-off-by: .*/Assisted-by: LLM/' "$out/body"
	} > "$out/message"
	commit "$out/message"
}

# Files: patterns of names in a kernel tree.
add_commit() {
	local pattern file mode found
	if [ -e "$HERE/hooks/$1.patch" ]; then
		put "$HERE/hooks/$1.patch"
	fi
	while read -r pattern; do
		found=
		while read -r file; do
			mode=100644
			if [ -x "$stage/$file" ]; then
				mode=100755
			fi
			git update-index --add --cacheinfo \
				"$mode,$(git hash-object -w "$stage/$file"),$file"
			rm "$stage/$file"
			found=1
		done < <(cd "$stage" && find . -type f -path "./$pattern" -printf '%P\n' | LC_ALL=C sort)
		[ -n "$found" ] || die "commits/$1: there is no $pattern"
	done < <(sed -n 's/^Files: //p' "$HERE/commits/$1")
	{
		sed '/^Files: /d' "$HERE/commits/$1"
		printf '\nAssisted-by: LLM\n'
	} | cat -s > "$out/message"
	commit "$out/message"
}

# make_branch NAME ON: the branch NAME on top of the branch ON.
make_branch() {
	local what name
	branch=$1
	git update-ref "refs/heads/$branch" "$2"
	git read-tree "$branch"
	while read -r what name; do
		"add_$what" "$name"
	done < "$HERE/$1/list"
}

# Who gets it, as the kernel's MAINTAINERS has it.
recipients() {
	# shellcheck disable=SC2016
	in_root "$(pristine)" sh -ec 'cd /kernel/src
		perl scripts/get_maintainer.pl --no-tree --no-git --no-git-fallback --no-rolestats \
			"/repo/build/series/$1"/*.patch' sh "$1" 2> /dev/null |
		sed 's/^/--cc=/'
}

# mail NAME ON: the patches between the two, as mails.
mail() {
	local cc=() base=() rfc=(--rfc)
	if [ "$1" = fixes ]; then
		rfc=()
	fi
	if [ -n "${KSRC:-}" ] && [ "$base_repo" = "$KSRC" ]; then
		base=(--base="$(git rev-parse base)")
	fi
	format() {
		rm -rf "${out:?}/$1"
		git config "branch.$1.description" "$(cat "$HERE/$1/cover")"
		git format-patch -q --cover-letter \
			--cover-from-description=subject \
			"${rfc[@]}" "${base[@]}" "${cc[@]}" -o "$out/$1" "$2..$1"
	}
	format "$1" "$2"
	mapfile -t cc < <(recipients "$1")
	format "$1" "$2"
}

say "Patch series for Linux $LINUX_SERIES, in build/series (usually 30 s)"
need_root
"$VM/prereqs.sh"
"$VM/root.sh"
use_entry "$ROOT"
mkdir -p "$out"
rm -rf "$GIT_DIR" "$GIT_INDEX_FILE"
if [ -n "${KSRC:-}" ] && env -u GIT_DIR git -C "$KSRC" rev-parse HEAD > /dev/null 2>&1; then
	"$VM/source.sh"
	base_repo=$KSRC
else
	import
fi
env -u GIT_DIR -u GIT_INDEX_FILE git clone -q --bare --shared "$base_repo" "$GIT_DIR"
git update-ref refs/heads/base HEAD
fill_stage
on=base
for series in "${SERIES[@]}"; do
	make_branch "$series" "$on"
	on=$series
done
if [ -n "$(find "$stage" -type f)" ]; then
	find "$stage" -type f -printf '  %P\n'
	die "no commit of tools/series/ has these: add them to one, or to leave-out"
fi
on=base
for series in "${SERIES[@]}"; do
	mail "$series" "$on"
	say ""
	say "build/series/$series: $(git rev-list --count "$on..$series") patches"
	git log --reverse --format='  %s' "$on..$series"
	git diff --shortstat "$on" "$series"
	on=$series
done
say ""
say "They are branches of build/series/linux.git, too. Nobody has signed them off:" \
	"that is for who reviews and sends them (git format-patch --signoff)."
