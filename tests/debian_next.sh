#!/bin/sh
# Packages of the Debian that comes next, unpacked into a folder: debian_next.sh [--whole|--source] FOLDER PACKAGE...
# --whole: with all that they depend on, down to the C library. --source: what they are built from.
# Nothing is installed, nobody needs to be root. Exit code 3, and a line that says so, where they cannot be had.
set -eu
how=
case $1 in --*) how=$1; shift ;; esac
into=$1
shift
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "no apt here: no $*" >&2; exit 3; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
cd "$work"
: >nothing-installed
apt() {
    timeout 300 apt-get -qq -y -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User= \
        -o Dir::State::Status="$work/nothing-installed" -o Debug::NoLocking=true "$@"
}
get() {
    case $how in
        --whole) apt --no-install-recommends --download-only install "$@" && mv cache/archives/*.deb . ;;
        --source) apt --download-only source "$@" ;;
        *) apt download "$@" ;;
    esac
}
# From where apt is told to take Debian itself, however that is written down (sources.list or deb822).
archives() {
    apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Component: main" 2>/dev/null \
        | grep -v security | sort -u
}
key=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$key" ] && signed="[signed-by=$key] " || signed=
for uri in $(archives); do
    printf '%s\n' "deb $signed$uri forky main" "deb-src $signed$uri forky main" >sources.list
    if apt update && get "$@"; then
        mkdir -p "$into"
        for package in *.deb; do
            [ "$how" = --source ] || dpkg-deb -x "$package" "$into"
        done
        [ "$how" != --source ] || tar -xJf ./*.orig.tar.xz -C "$into" --strip-components 1
        exit 0
    fi
done
echo "Debian's next $* cannot be had here" >&2
exit 3
