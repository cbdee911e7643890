#!/bin/sh
# The data API: the package, its command, its example notebooks. What it needs is installed already.
set -eu
here="$(dirname "$0")"
/opt/workroom/bin/python "$here/data_api.py" "$here/python" /opt/workroom
/opt/workroom/bin/python -m compileall -q /opt/workroom/lib/python3.11/site-packages/workroom_data
install -d /opt/workroom/examples
find "$here" -name '*.ipynb' -exec install -m 0644 {} /opt/workroom/examples/ \;
rm -rf /tmp/build
