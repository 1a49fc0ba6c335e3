#!/bin/sh
# Prometheus 3 and its Alertmanager, unpacked into a folder, from the Debian that comes next: Debian 12 has Prometheus
# 2.42. Nothing is installed, nobody needs to be root; where it cannot be had, that is said and the exit code is 0.
set -eu
into=$1
[ -x "$into/usr/bin/promtool" ] && exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "no apt here: no Prometheus 3" >&2; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
cd "$work"
apt() {
    timeout 120 apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User= "$@"
}
# From where apt is told to take Debian itself, however that is written down (sources.list or deb822).
archives() {
    apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Component: main" 2>/dev/null \
        | grep -v security | sort -u
}
key=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$key" ] && signed="[signed-by=$key] " || signed=
fetch() {
    for uri in $(archives); do
        echo "deb $signed$uri forky main" >"$work/sources.list"
        if apt update && apt download prometheus promtool prometheus-alertmanager; then return 0; fi
    done
    return 1
}
if fetch; then
    for package in *.deb; do
        dpkg-deb -x "$package" unpacked
    done
    if unpacked/usr/bin/prometheus --version >/dev/null 2>&1 && unpacked/usr/bin/promtool --version >/dev/null 2>&1; then
        mkdir -p "$into"
        cp -R unpacked/usr "$into"
        exit 0
    fi
    echo "Debian's next Prometheus does not run here" >&2
else
    echo "Debian's next Prometheus cannot be had here" >&2
fi
