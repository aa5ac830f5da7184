#!/usr/bin/env bash
# Builds the images that docker/run.sh runs (docs/docker.md).
#
#   docker/build.sh         muster:gpu
#   docker/build.sh sc2     muster:gpu, and on top of it muster:sc2, which has what StarCraft II needs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    echo "error: $*" >&2
    exit 2
}

case "$*" in
"" | sc2) ;;
*) fail "'$*' is no image: docker/build.sh, or docker/build.sh sc2" ;;
esac
command -v docker >/dev/null || fail "docker/build.sh needs docker"

revision="$(git rev-parse HEAD 2>/dev/null || true)"
if [[ -n "$revision" && -n "$(git status --porcelain)" ]]; then revision+=" dirty"; fi
docker build --file docker/Dockerfile --tag muster:gpu --build-arg "REVISION=$revision" .
if [[ "$*" == sc2 ]]; then docker build --file docker/Dockerfile.sc2 --tag muster:sc2 .; fi
