#!/bin/sh
# Last touches: byte-code of our own files, owners and modes of what people's processes write.
set -eu
/opt/workroom/bin/python -m compileall -q /opt/workroom/lib/python3.11/site-packages/workroom_server
install -d -o workroom -g workroom -m 0700 /var/lib/workroom /var/lib/workroom/ssh
rm -rf /tmp/build
