# What the scripts share: finding or installing what a build needs, and one build of RocksDB for all of them.
# Sourced from the top of the repository by scripts that have `set -euo pipefail`.
#
#   CONCLAVE_TARGET_DIR   where cargo builds            (default: ~/.cache/conclave/target)
#   XDG_CACHE_HOME        what ~/.cache stands for
# shellcheck shell=bash

conclave_cache=${XDG_CACHE_HOME:-$HOME/.cache}/conclave
export CARGO_TARGET_DIR=${CONCLAVE_TARGET_DIR:-$conclave_cache/target}

# Something under way or done.
say() { printf '\033[1m==>\033[0m %s\n' "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi; }

# Ends the script with a reason.
die() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# ensure_cargo [component...]: the Rust toolchain, and parts of it that a minimal one lacks.
ensure_cargo() {
  if ! command -v cargo >/dev/null && [ -r "$HOME/.cargo/env" ]; then
    # shellcheck disable=SC1091
    source "$HOME/.cargo/env"
  fi
  command -v cargo >/dev/null || die "no Rust toolchain found; install one from https://rustup.rs and run this again"
  local component
  for component in "$@"; do
    cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$component" ||
      die "cargo has no $component; install it and run this again"
  done
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "root is needed for: $*"
  fi
}

apt_index_is_fresh=
# install_packages NAME...: from Debian's or Ubuntu's archive.
install_packages() {
  command -v apt-get >/dev/null || die "please install the equivalents of these Debian packages: $*"
  say "installing $*"
  if [ -z "$apt_index_is_fresh" ]; then
    as_root apt-get update -qq || say "apt-get update failed; trying with the package lists there are"
    apt_index_is_fresh=yes
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
    die "apt-get could not install: $*"
}

# ensure_package PACKAGE COMMAND: a command, from a package if it is not there.
ensure_package() {
  command -v "$2" >/dev/null || install_packages "$1"
}

# What faults are made with, most of which need root: without it these are of no use.
ensure_fault_packages() {
  [ "$(id -u)" -eq 0 ] || return 0
  ensure_package iproute2 ip
  ensure_package e2fsprogs mkfs.ext4
  ensure_package mount mount
  ensure_package strace strace
}

package_is_installed() {
  dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'
}

# What compiling takes: a C++ compiler and libclang for RocksDB and its bindings, protoc for the API.
ensure_build_packages() {
  ensure_cargo
  local wanted=(build-essential clang libclang-dev pkg-config protobuf-compiler libprotobuf-dev curl ca-certificates) missing=() package
  if ! command -v dpkg-query >/dev/null; then
    for package in c++ make clang protoc curl; do
      command -v "$package" >/dev/null || die "$package is missing; of Debian's packages these are needed: ${wanted[*]}"
    done
    return
  fi
  for package in "${wanted[@]}"; do
    package_is_installed "$package" || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
}

# Compiles RocksDB once and lets every profile link the result (docs/decisions/0008, 0020).
# The archive depends on the version in Cargo.lock and on the features the workspace asks for, both of which its name holds.
ensure_rocksdb() {
  ensure_cargo
  local version features archive_dir
  version=$(sed -n '/^name = "librocksdb-sys"$/{n;s/^version = "\(.*\)"$/\1/p;q}' Cargo.lock)
  [ -n "$version" ] || die "Cargo.lock names no librocksdb-sys"
  features=$(sed -n 's/^rocksdb = .*features = \[\([^]]*\)\].*/\1/p' Cargo.toml | tr -d '" ' | tr ',' '\n' |
    { grep -Ev '^bindgen-' || true; } | sort | paste -sd- -)
  if [ "$features $(uname -s) $(getconf LONG_BIT)" != "lz4 Linux 64" ]; then
    say "RocksDB is left to cargo, which compiles it once for each profile: scripts/build-rocksdb is for 64-bit Linux and lz4"
    return
  fi
  archive_dir=$conclave_cache/rocksdb-$version
  if [ ! -f "$archive_dir/librocksdb.a" ]; then
    mkdir -p "$archive_dir"
    # One at a time: a second script waits here and then finds the archive.
    exec 9>"$conclave_cache/rocksdb.lock"
    flock 9
    if [ ! -f "$archive_dir/librocksdb.a" ]; then
      say "compiling RocksDB $version, once: about 15 minutes of one core, spread over all cores"
      scripts/build-rocksdb "$archive_dir/librocksdb.a" || die "RocksDB did not compile"
    fi
    exec 9>&-
  fi
  export ROCKSDB_LIB_DIR=$archive_dir ROCKSDB_STATIC=1
}

# build_programs PROFILE: the server and the command line, into $CARGO_TARGET_DIR/PROFILE. `release` is what ships; `quick`
# compiles in a fraction of the time, for trying things out.
build_programs() {
  ensure_build_packages
  ensure_rocksdb
  say "compiling conclave and conclavectl (profile $1)"
  cargo build --locked --profile "$1" -p conclave-server --bin conclave -p conclave-cli --bin conclavectl
}
