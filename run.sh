#!/usr/bin/env bash
# Runs Muster in an environment of its own (.venv), which it makes on the first call.
#
#   ./run.sh --config=copa --env-config=sc2_sz with seed=1   train or test; ./run.sh --help explains the words
#   ./run.sh queue [--status]                                the long trainings of src/studies/queue.py, in the background
#   ./run.sh board [URL]                                     Omniboard on a MongoDB with runs (docs/recording.md)
#   ./run.sh export CHECKPOINT --out policy.pt2              a policy as a program of its own (docs/export.md)
#   ./run.sh docs [serve]                                    the pages of docs/ as a site, in site/ or on this machine
#   ./run.sh test [pytest's words]                           what CI runs: ruff, mypy, pytest
#   ./run.sh test -m faults                                  the long campaign against faults (docs/reliability.md)
#   ./run.sh tool NAME ...                                   one of these alone, such as: tool pytest -k config
#   ./run.sh python FILE ...                                 any program in that environment, src on its path
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
venv="$root/.venv"

fail() {
    echo "error: $*" >&2
    exit 2
}

supported() { # is the program $1 a Python that Muster runs on?
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

hash_of() {
    if command -v sha256sum >/dev/null; then sha256sum <"$1"; else shasum -a 256 <"$1"; fi
}

make_venv() {
    local candidate
    for candidate in python3 python3.12 python3.11 python3.10; do
        if command -v "$candidate" >/dev/null && supported "$candidate"; then
            echo "making $venv with $candidate" >&2
            # --clear: what an interrupted call has left is no start
            "$candidate" -m venv --clear "$venv" || fail "$candidate cannot make a virtual environment (is its venv package installed?)"
            return
        fi
    done
    fail "Muster needs Python 3.10, 3.11 or 3.12; python3 is $(python3 --version 2>&1 || echo missing)"
}

installed() { # was the file $1 installed as it is now? The stamp in .venv is its hash.
    local stamp="$venv/.installed-$1"
    [[ -x "$venv/bin/python" && -f "$stamp" && "$(<"$stamp")" == "$(hash_of "$root/$1")" ]]
}

install() { # install the file $1, once
    installed "$1" && return
    # one installer at a time; the lock ends with the program that holds it
    exec 9<"$root"
    if command -v flock >/dev/null; then flock 9; fi
    if ! installed "$1"; then
        supported "$venv/bin/python" || make_venv
        echo "installing $1" >&2
        local options=(--quiet --disable-pip-version-check)
        # a whole list, without what pysc2 asks for beside it: the file says why
        [[ "$1" != requirements-sc2.txt ]] || options+=(--no-deps)
        "$venv/bin/python" -m pip install "${options[@]}" -r "$root/$1" >&2 ||
            fail "could not install $1; the next call tries again"
        hash_of "$root/$1" >"$venv/.installed-$1"
    fi
    exec 9<&-
}

install_tools() { # what the checks need; the stand-in for StarCraft II is tested through pysc2 itself
    install requirements-dev.txt
    install requirements-docs.txt
    install requirements-export.txt
    install requirements-cluster.txt
    install requirements-sc2.txt
}

install requirements.txt
case "${1:-}" in
test)
    shift
    install_tools
    cd "$root"
    "$venv/bin/python" -m ruff check .
    "$venv/bin/python" -m ruff format --check .
    "$venv/bin/python" -m mypy
    # all tests: on all cores, those of a file one after the other
    (($#)) || set -- --numprocesses=auto --maxprocesses=8 --dist=loadfile
    exec "$venv/bin/python" -m pytest "$@"
    ;;
tool)
    shift
    install_tools
    exec "$venv/bin/python" -m "$@"
    ;;
python)
    shift
    export PYTHONPATH="$root/src${PYTHONPATH:+:$PYTHONPATH}"
    exec "$venv/bin/python" "$@"
    ;;
board)
    shift
    exec "$venv/bin/python" "$root/src/board.py" "$@"
    ;;
export)
    shift
    [[ "$* " != *".onnx "* ]] || install requirements-export.txt
    exec "$venv/bin/python" "$root/src/export.py" "$@"
    ;;
docs)
    shift
    install requirements-docs.txt
    export NO_MKDOCS_2_WARNING=1 # the theme's word on its successor, at every build
    cd "$root"
    [[ "${1:-}" != serve ]] || exec "$venv/bin/python" -m mkdocs serve --strict "${@:2}"
    exec "$venv/bin/python" -m mkdocs build --strict "$@"
    ;;
queue)
    shift
    exec "$venv/bin/python" "$root/src/evidence.py" "$@"
    ;;
*)
    exec "$venv/bin/python" "$root/src/main.py" "$@"
    ;;
esac
