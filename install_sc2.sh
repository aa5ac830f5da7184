#!/usr/bin/env bash
# Fetches StarCraft II 4.10 for Linux, and the maps of SMAC, SMACv2 and the team battles.
#
#   ./install_sc2.sh               asks for the password, which accepts the game's licence
#   ./install_sc2.sh <FILE         reads the password from FILE, where nobody sits at a terminal
#   ./install_sc2.sh --dry-run     tells what would be fetched and where it would go; writes nothing
#
# SC2PATH       the game's folder, by default 3rdparty/StarCraftII in this checkout
# SC2_BASE_URL  a mirror that has SC2.4.10.zip, SMAC_Maps.zip and empty_passive.SC2Map
#
# What is there is not fetched again; an interrupted download goes on where it stopped.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"

LICENCE="Blizzard's AI and Machine Learning License,"
LICENCE+=" https://blzdistsc2-a.akamaihd.net/AI_AND_MACHINE_LEARNING_LICENSE.html"
PASSWORD="iagreetotheeula"

# Blizzard gives no checksum of the game: its archive is proved by the checksums inside it. The maps are files of public
# repositories at the commits that are part of their addresses.
GAME_URL="https://blzdistsc2-a.akamaihd.net/Linux/SC2.4.10.zip"
MAPS_URL="https://github.com/oxwhirl/smacv2/raw/577ab5a2cff2391f8df582da5731ea9cd6adf3c6"
MAPS_URL+="/smacv2/env/starcraft2/maps/SMAC_Maps/SMAC_Maps.zip"
MAPS_SUM="e507cc53b49f0ac334732d62628a42e0be2c53e9df29eeeaf608bb861a2a76cd"
EMPTY_URL="https://github.com/shariqiqbal2810/REFIL/raw/ffe23a1c62fd3f7304e700e69b30dcb0c29586cc"
EMPTY_URL+="/src/envs/starcraft2/maps/SMAC_Maps/empty_passive.SC2Map"
EMPTY_SUM="ce199420732acd50fed831dc21e971e747f054aebf98912452add5fbdbbb0ce2"

if [[ -n "${SC2_BASE_URL:-}" ]]; then
    GAME_URL="${SC2_BASE_URL%/}/${GAME_URL##*/}"
    MAPS_URL="${SC2_BASE_URL%/}/${MAPS_URL##*/}"
    EMPTY_URL="${SC2_BASE_URL%/}/${EMPTY_URL##*/}"
fi

game="$(realpath -m -- "${SC2PATH:-$root/3rdparty/StarCraftII}")"
maps="$game/Maps/SMAC_Maps" # where pysc2 looks for them
downloads="$game.download"

fail() {
    echo "error: $*" >&2
    exit 2
}

has_sum() { # has the file $1 the SHA-256 $2?
    [[ -f "$1" && "$(sha256sum <"$1")" == "$2 "* ]]
}

has_game() {
    compgen -G "$game/Versions/Base*/SC2_x64" >/dev/null
}

has_maps() { # the mark is written after the last map
    [[ -f "$maps/.installed" && "$(<"$maps/.installed")" == "$MAPS_SUM" ]]
}

has_empty_map() {
    has_sum "$maps/${EMPTY_URL##*/}" "$EMPTY_SUM"
}

fetch() { # download $1, on from where it was interrupted, and check that it has the SHA-256 $2, where there is one
    local file="$downloads/${1##*/}" code=0
    if [[ ! -f "$file" ]]; then
        echo "fetching $1" >&2
        curl_to "$file.part" "$1" || code=$?
        if ((code == 33)); then # the server cannot send the rest alone
            rm "$file.part"
            code=0
            curl_to "$file.part" "$1" || code=$?
        fi
        ((code == 0)) || fail "could not fetch $1 (curl's exit code $code); the next call goes on where it stopped"
        mv "$file.part" "$file"
    fi
    if [[ -n "${2:-}" ]] && ! has_sum "$file" "$2"; then
        rm "$file"
        fail "$1 is not the file it should be: its SHA-256 is not $2"
    fi
}

curl_to() { # append to the file $1 what it lacks of $2
    local progress=(--silent --show-error) status code=0
    if [[ -t 2 ]]; then progress=(--progress-bar); fi
    status="$(curl --fail --location --proto '=http,https' --retry 3 "${progress[@]}" --continue-at - --output "$1" \
        --write-out '%{http_code}' "$2")" || code=$?
    # 416: there is no rest; some versions of curl call that an error. The checks that follow tell whether it is so.
    [[ "$status" == 416 ]] || return "$code"
}

unpack() { # unpack the archive $1 of $downloads into the folder $2; more words are unzip's
    local archive="$downloads/$1" folder="$2" code=0
    shift 2
    unzip -q -o "$@" "$archive" -d "$folder" </dev/null >&2 || code=$?
    if ((code == 50)); then
        fail "no room for $folder: the disk is full"
    elif ((code != 0)); then
        rm "$archive"
        fail "$archive was damaged (unzip's exit code $code) and has been removed; the next call fetches it anew"
    fi
}

accept_licence() {
    local answer=""
    echo "StarCraft II may be used under $LICENCE" >&2
    echo "By typing $PASSWORD you accept it." >&2
    if [[ -t 0 ]]; then echo -n "> " >&2; fi
    read -r answer || true
    [[ "$answer" == "$PASSWORD" ]] || fail "the licence was not accepted: '$answer' is not $PASSWORD; nothing was fetched"
}

install_game() {
    local unpacked="$downloads/unpacked"
    if [[ -e "$game" ]]; then # an empty folder may be there
        rmdir "$game" 2>/dev/null || fail "SC2PATH=$game is there and holds no StarCraft II; name another folder"
    fi
    fetch "$GAME_URL"
    rm -rf "$unpacked"
    echo "unpacking into $game" >&2
    unpack "${GAME_URL##*/}" "$unpacked" -P "$PASSWORD"
    compgen -G "$unpacked/StarCraftII/Versions/Base*/SC2_x64" >/dev/null || fail "$GAME_URL holds no StarCraft II"
    chmod +x "$unpacked"/StarCraftII/Versions/Base*/SC2_x64
    mv "$unpacked/StarCraftII" "$game" # whole, or not there
}

dry_run() {
    has_game || printf "would fetch %s\n  into %s, once you accept\n  %s\n" "$GAME_URL" "$game" "$LICENCE"
    has_maps || printf "would fetch %s\n  into %s\n" "$MAPS_URL" "$maps"
    has_empty_map || printf "would fetch %s\n  into %s\n" "$EMPTY_URL" "$maps"
}

case "$*" in
"" | --dry-run) ;;
*) fail "'$*': install_sc2.sh knows no word but --dry-run" ;;
esac
if has_game && has_maps && has_empty_map; then
    echo "StarCraft II and the maps are in $game"
    exit
fi
if [[ "$*" == --dry-run ]]; then
    dry_run
    exit
fi

for tool in curl unzip sha256sum; do
    command -v "$tool" >/dev/null || fail "install_sc2.sh needs $tool; install it with the system's packages"
done
has_game || accept_licence
mkdir -p "$downloads" || fail "cannot write $downloads; set SC2PATH to a folder that you may write"
exec 9<"$downloads"
if command -v flock >/dev/null; then flock --nonblock 9 || fail "another install_sc2.sh is at work on $game"; fi
has_game || install_game
mkdir -p "$maps" || fail "cannot write $maps"
if ! has_maps; then
    fetch "$MAPS_URL" "$MAPS_SUM"
    unpack "${MAPS_URL##*/}" "$maps" -j
    echo "$MAPS_SUM" >"$maps/.installed"
fi
if ! has_empty_map; then
    fetch "$EMPTY_URL" "$EMPTY_SUM"
    mv "$downloads/${EMPTY_URL##*/}" "$maps"
fi
rm -r "$downloads"
echo "StarCraft II and the maps are in $game"
