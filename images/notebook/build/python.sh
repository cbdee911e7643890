#!/bin/sh
# Installs the locked Python packages into /opt/workroom and takes out what nobody uses.
set -eu
here="$(dirname "$0")"

# System packages stay visible, so that `pip install` in a notebook goes to the person's own
# folder (pip refuses that in a closed environment).
python3 -m venv --system-site-packages --without-pip /opt/workroom

# uv unpacks several times faster than pip; it is a build tool only.
python3 -m venv /tmp/installer
/tmp/installer/bin/pip install -q --no-cache-dir --disable-pip-version-check \
    --require-hashes -r "$here/installer.txt"
[ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="$PIP_INDEX_URL"
/tmp/installer/bin/uv pip install -q --no-cache --link-mode copy --require-hashes --no-deps \
    --python /opt/workroom/bin/python -r "$here/requirements.txt"

/opt/workroom/bin/python "$here/slim.py" /opt/workroom/lib/python3.11/site-packages
/opt/workroom/bin/python -m compileall -q -j 0 /opt/workroom/lib
rm -rf /tmp/installer /tmp/build /root/.cache
