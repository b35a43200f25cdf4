# Ends one run for good: its processes, mounts, namespaces, control groups and files. It runs beside the harness and waits for
# the harness to let go of its stdin, which also happens when the harness dies of SIGKILL.
#
#   guard.sh wait|now ID ENTRY
#
# ENTRY is the run's directory in the register; `scratch` in it names where the volumes are, `cgroups` where the control groups are.
# The run's processes have TRIALS_RUN=ID in their environment, from birth. Exit status 1 says that something would not go.
mode=$1 id=$2 entry=$3
if [ "$mode" = wait ]; then
  trap '' INT TERM HUP QUIT
  cat >/dev/null
fi
[ -d "$entry" ] || exit 0
scratch=$(cat "$entry/scratch" 2>/dev/null)
cgroups=$(cat "$entry/cgroups" 2>/dev/null)
left=

processes() { grep -lzsxF "TRIALS_RUN=$id" /proc/[0-9]*/environ | cut -d/ -f3; }
mounts() { while read -r _ directory _; do case $directory in "$scratch"/*) echo "$directory" ;; esac; done </proc/mounts; }

# retry COMMAND...: until it succeeds, for ten seconds.
retry() {
  tries=0
  until "$@" 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || return 1
    sleep 0.1
  done
}

none_lives() {
  alive=$(processes)
  [ -n "$alive" ] || return 0
  # shellcheck disable=SC2086
  kill -9 $alive
  sleep 0.02
  [ -z "$(processes)" ]
}

# Each holds too if another sweep was faster.
unmounted() { umount "$1" || ! mounts | grep -Fqx "$1"; }
unnamed() { ip netns del "${1##*/}" || [ ! -e "$1" ]; }
ungrouped() { rmdir "$1" || [ ! -d "$1" ]; }

retry none_lives || left="$left processes"
if [ -n "$scratch" ]; then
  for directory in $(mounts); do
    retry unmounted "$directory" || { umount -l "$directory"; left="$left $directory"; }
  done
fi
for namespace in /run/netns/"$id"-*; do
  [ -e "$namespace" ] || continue
  retry unnamed "$namespace" || left="$left $namespace"
done
if [ -n "$cgroups" ]; then
  for group in "$cgroups/$id"-*; do
    [ -d "$group" ] || continue
    retry ungrouped "$group" || left="$left $group"
  done
fi
case $scratch in */"$id") rm -rf "$scratch" ;; esac
if [ -n "$left" ]; then
  echo "could not remove:$left" >&2
  exit 1
fi
rm -rf "$entry"
