#!/bin/sh
# Fills .venv with exactly what requirements/ names, and puts `workroom` into it.
#
#   infra/local/bootstrap.sh          what the platform needs
#   infra/local/bootstrap.sh dev      what the checks need as well
#
# Nothing is done when nothing changed. Interrupted at any point, the next run puts it right.
# WORKROOM_PYTHON names another Python; pip's own settings (mirror, proxy, certificates) apply.
set -eu
cd "$(dirname "$0")/../.."

kind=${1:-hub}
venv=.venv
stamp=$venv/.workroom-$kind
lock=requirements/$kind.txt

say() { printf '%s\n' "$*"; }
die() { say "Error: $1" "To fix it: $2" >&2; exit 1; }

wanted=$(cat pyproject.toml requirements/bootstrap.txt "$lock" infra/local/bootstrap.sh | cksum)
wanted="$wanted $PWD"
if [ -x $venv/bin/workroom ] && [ ! -e $venv/.unfinished ] &&
   [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] &&
   $venv/bin/python -c '' 2>/dev/null; then
    exit 0
fi

# Two at once would fill the same folder.
if command -v flock >/dev/null 2>&1 && [ -z "${WORKROOM_BOOTSTRAP_LOCKED:-}" ]; then
    WORKROOM_BOOTSTRAP_LOCKED=1 exec flock pyproject.toml sh infra/local/bootstrap.sh "$kind"
fi

works() { # PYTHON: new enough, and able to make a virtual environment?
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for python in ${WORKROOM_PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if works "$python"; then say "$python"; return 0; fi
    done
    return 1
}

python=$(find_python) || {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "Installing Python from the distribution's packages: python3 python3-venv"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            python3 python3-venv ca-certificates </dev/null >/dev/null ||
            die "apt-get could not install python3-venv." "run: apt-get install python3 python3-venv"
        python=$(find_python) || die "This distribution's Python is older than 3.11." \
            "install Python 3.11 or newer and run: WORKROOM_PYTHON=/path/to/python3.11 make up"
    else
        die "Workroom needs Python 3.11 or newer with its venv module." \
            "sudo apt-get install -y python3 python3-venv   (or WORKROOM_PYTHON=/path/to/python3 make up)"
    fi
}

begun=$(date +%s)
if [ -e $venv/.unfinished ] || ! $venv/bin/python -c 'import pip' 2>/dev/null; then
    say "Making the Python environment $venv with $python"
    rm -rf $venv
    "$python" -m venv $venv || die "The environment could not be made." "read the lines above"
fi
: >$venv/.unfinished
rm -f $venv/.workroom-*

pip() { $venv/bin/python -m pip --disable-pip-version-check "$@"; }

say "Installing the Python packages of $lock"
pip install -qq --require-hashes -r requirements/bootstrap.txt ||
    die "pip could not install the installer." \
        "see pip's lines above; a mirror is set with PIP_INDEX_URL, certificates with PIP_CERT"

# uv is many times faster; it reads no pip settings, so the ones that matter are handed over.
setting() { pip config get "global.$1" 2>/dev/null || true; }
index=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$(setting index-url)}}
certificates=${SSL_CERT_FILE:-${PIP_CERT:-$(setting cert)}}
[ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
[ -z "$certificates" ] || export SSL_CERT_FILE="$certificates"
export UV_LINK_MODE="${UV_LINK_MODE:-copy}" UV_COMPILE_BYTECODE=1 UV_NO_PROGRESS=1
if ! $venv/bin/uv pip install -q --python $venv/bin/python --require-hashes -r "$lock"; then
    say "uv could not install them; pip, which reads its own settings, tries."
    pip install -q --require-hashes -r "$lock" ||
        die "The packages of $lock could not be installed." \
            "see pip's lines above; a mirror is set with PIP_INDEX_URL, certificates with PIP_CERT"
fi
$venv/bin/uv pip install -q --offline --python $venv/bin/python --no-deps --no-build-isolation \
    --editable . || die "Workroom itself could not be installed into $venv." "see the lines above"
# Tests use the data API as the image's users do: as a distribution of its own.
[ "$kind" = hub ] || $venv/bin/uv pip install -q --offline --python $venv/bin/python --no-deps \
    --no-build-isolation --editable images/data-api/python ||
    die "The data API could not be installed into $venv." "see the lines above"

printf '%s' "$wanted" >"$stamp"
# Everything of `hub` is in `dev` too.
[ "$kind" = hub ] || printf '%s' "$(cat pyproject.toml requirements/bootstrap.txt \
    requirements/hub.txt infra/local/bootstrap.sh | cksum) $PWD" >$venv/.workroom-hub
rm -f $venv/.unfinished
say "The Python environment is ready ($(($(date +%s) - begun)) s)."
