#!/usr/bin/env bash
# Runs Muster in a container, on the GPU that is named first: a number, several (0,1), all, or cpu for none.
#
#   docker/run.sh 0 --config=copa --env-config=sc2_sz with seed=1
#   docker/run.sh 0 python src/main.py --config=copa --env-config=sc2_sz with seed=1     the same
#
# Results are in results/, as without a container. Where StarCraft II is installed (SC2PATH, or 3rdparty/StarCraftII in
# this checkout), it is there in the container too.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"

fail() {
    echo "error: $*" >&2
    exit 2
}

gpu="${1:-}"
words=(--rm --init --user "$(id -u):$(id -g)")
if [[ "$gpu" =~ ^([0-9]+(,[0-9]+)*|all)$ ]]; then
    # docker reads this as a line of a table, in which a comma needs quotes
    if [[ "$gpu" == all ]]; then words+=(--gpus all); else words+=(--gpus "\"device=$gpu\""); fi
elif [[ "$gpu" != cpu ]]; then
    fail "GPU '$gpu' is not a number, several (0,1), all or cpu: docker/run.sh GPU --config=..."
fi
shift
command -v docker >/dev/null || fail "docker/run.sh needs docker"

image=muster:gpu build=docker/build.sh
game="$(realpath -m -- "${SC2PATH:-$root/3rdparty/StarCraftII}")"
mkdir -p "$root/results" # docker would make it root's
words+=(--mount "type=bind,source=$root/results,target=/muster/results")
if [[ -d "$game/Versions" ]]; then
    image=muster:sc2 build="docker/build.sh sc2"
    words+=(--mount "type=bind,source=$game,target=/muster/3rdparty/StarCraftII")
fi
docker image inspect "$image" >/dev/null 2>&1 ||
    fail "there is no image $image, or docker does not run; $build makes it"

if [[ -t 0 && -t 1 ]]; then words+=(--interactive --tty); fi
name="${USER:-$(id -u)}_muster_GPU_${gpu//,/_}_$(printf '%04x' "$RANDOM")"
echo "container $name" >&2
# a run that is stopped saves a checkpoint first, which takes longer than docker's 10 seconds where the replay is in it
exec docker run --name "$name" --stop-timeout 120 "${words[@]}" "$image" "$@"
