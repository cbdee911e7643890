#!/bin/sh
# Adds RStudio Server, as RSTUDIO says:
#   auto      if its package can be had; otherwise write down what is missing
#   required  or fail
#   off       not at all
# The package is a rstudio-server*.deb of the build context, else RSTUDIO_MIRROR, else the
# vendor's address in rstudio.env. Its checksum must be the one in rstudio.env in every case.
set -eu
here="$(dirname "$0")"
. "$here/rstudio.env"
note=/opt/workroom/share/rstudio-note
version_file=/opt/workroom/share/rstudio-version
mkdir -p "$(dirname "$note")"

add="To add it: put the vendor's package rstudio-server-$RSTUDIO_VERSION-amd64.deb into the folder images/notebook, or let the build fetch it (RSTUDIO_MIRROR=address of a copy), then run: workroom build"

leave_out() {
    printf '%s\n%s\n' "$1" "$add" > "$note"
    : > "$version_file"
    rm -rf /tmp/build
    echo "rstudio: not in this image. $1" >&2
    echo "rstudio: $add" >&2
    if [ "$RSTUDIO" = required ]; then
        echo "rstudio: RSTUDIO=required, so the build stops here." >&2
        exit 1
    fi
    exit 0
}

case "$RSTUDIO" in
    auto | required) ;;
    off) leave_out "It was switched off when this image was built (RSTUDIO=off); RSTUDIO=auto switches it on." ;;
    *)
        echo "rstudio: RSTUDIO=$RSTUDIO is not one of auto, required, off" >&2
        exit 2
        ;;
esac
[ "$(dpkg --print-architecture)" = amd64 ] ||
    leave_out "Its vendor has no package of version $RSTUDIO_VERSION for this kind of machine."

package=/tmp/build/rstudio.deb
given="$(find "$here" -name 'rstudio-server*.deb' | head -n 1)"
if [ -n "$given" ]; then
    mv "$given" "$package"
    from="$(basename "$given") of the build folder"
else
    from="${RSTUDIO_MIRROR:-$RSTUDIO_URL}"
    curl --fail --silent --show-error --location --connect-timeout 8 --speed-limit 1024 \
        --speed-time 20 --output "$package" "$from" ||
        leave_out "Its package could not be fetched from $from."
fi
if ! echo "$RSTUDIO_SHA256  $package" | sha256sum --check --status; then
    found="$(sha256sum "$package" | cut -d ' ' -f 1)"
    leave_out "The package from $from has the checksum $found instead of the one in rstudio.env, so it was refused."
fi

export DEBIAN_FRONTEND=noninteractive
apt-get -qq -o Acquire::Languages=none update
apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 install "$package"
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /tmp/build
rm -f "$note"
echo "$RSTUDIO_VERSION" > "$version_file"
echo "rstudio: $RSTUDIO_VERSION added"
