# What the scripts of this folder share: their arguments, the programs, and what is the same in every package.
# Sourced from the top of the repository by scripts that have `set -euo pipefail`, after scripts/lib.sh.
#
# The same programs give the same bytes: entries are sorted, owned by root, and dated by SOURCE_DATE_EPOCH.
# shellcheck shell=bash

out=dist binaries='' profile=release
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
licence=$(sed -n '/^\[workspace.package\]/,/^\[/s/^license = "\(.*\)"$/\1/p' Cargo.toml)
# A date that the contents decide, not the clock: that of the last commit.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) || SOURCE_DATE_EPOCH=$(stat -c %Y CHANGELOG.md)
fi
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022

# take_option FROM NAME [VALUE]: one option; FROM is the directory that paths are relative to.
take_option() {
  case "$2" in
    --out | --binaries)
      [ $# -ge 3 ] && [ -n "$3" ] || die "$2 needs a directory"
      declare -g "${2#--}=$(cd "$1" && realpath -m "$3")"
      ;;
    --profile | --version)
      [[ "${3:-}" =~ ^[0-9A-Za-z][0-9A-Za-z.+~-]*$ ]] || die "$2 needs a value"
      declare -g "${2#--}=$3"
      ;;
    *) echo "${0##*/}: unknown argument $2; see --help" >&2; exit 2 ;;
  esac
}

# make_workspace: a directory that goes with the script, in $work.
make_workspace() {
  work=$(mktemp -d "${TMPDIR:-/tmp}/conclave-packaging.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$out"
  out=$(realpath "$out")
}

# make_test_workspace: the same for a test, with the results in it.
make_test_workspace() {
  work=$(mktemp -d "${TMPDIR:-/tmp}/conclave-packaging.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  out=$work/dist
}

# find_programs: the folder of both programs, in $binaries; they are compiled if --binaries does not name it.
find_programs() {
  [ -z "$binaries" ] || return 0
  build_programs "$profile"
  binaries=$CARGO_TARGET_DIR/$profile
}

# The names that Debian, and that images have for this machine's processor.
debian_architecture() { dpkg --print-architecture 2>/dev/null || oci_architecture; }
oci_architecture() {
  case "$(uname -m)" in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) uname -m ;;
  esac
}

# ready_programs: both programs without their debug information, in $work/bin.
ready_programs() {
  local program
  find_programs
  mkdir -p "$work/bin"
  for program in conclave conclavectl; do
    [ -x "$binaries/$program" ] || die "there is no program $program in $binaries"
    "$binaries/$program" --version >/dev/null || die "$binaries/$program does not run on this machine"
    strip --strip-unneeded -o "$work/bin/$program" "$binaries/$program"
    chmod 755 "$work/bin/$program"
  done
}

# ready_texts: manual pages in $work/man, completions in $work/completions.
ready_texts() {
  local shell
  mkdir -p "$work/man" "$work/completions"
  # Without an environment: help texts show what is set there.
  env -i "$work/bin/conclavectl" man --dir "$work/man" >/dev/null
  scripts/packaging/server-page "$work/bin/conclave" >"$work/man/conclave.1"
  for shell in bash zsh fish; do
    env -i "$work/bin/conclavectl" completion "$shell" >"$work/completions/$shell"
  done
}

# place MODE FILE PLACE: as install(1), with the folders that are missing.
place() { install -D -m "$1" "$2" "$3"; }

# date_tree DIR: every entry is dated alike.
date_tree() { find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +; }

# archive DIR ENTRY...: entries of DIR as a tar archive on standard output, owned by root.
archive() {
  tar --create --directory "$1" --format=gnu --sort=name --mtime="@$SOURCE_DATE_EPOCH" \
    --owner=0 --group=0 --numeric-owner "${@:2}"
}

# needs FILE: the shared libraries that a program asks for, and the newest versions of their symbols; one line.
needs() {
  local libraries glibc cxx
  libraries=$(objdump -p "$1" | sed -n 's/^ *NEEDED *//p' | sort | paste -sd' ')
  if [ -z "$libraries" ]; then
    echo "is linked statically and needs no library"
    return
  fi
  glibc=$(objdump -T "$1" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
  cxx=$(objdump -T "$1" | grep -o 'GLIBCXX_[0-9.]*' | sort -Vu | tail -n 1)
  echo "needs ${libraries// /, }; glibc ${glibc#GLIBC_} or later${cxx:+, libstdc++ with $cxx}"
}
