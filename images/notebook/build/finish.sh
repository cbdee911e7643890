#!/bin/sh
# Last touches: byte-code of our own files, owners and modes of what people's processes write.
set -eu
site=/opt/workroom/lib/python3.11/site-packages
/opt/workroom/bin/python -m compileall -q "$site/workroom_server"

# Browsers keep JupyterLab's extensions: another content is another name.
cd /opt/workroom/share/jupyter/labextensions/workroom
entry="static/remoteEntry.$(sha256sum static/remoteEntry.js | cut -c-16).js"
mv static/remoteEntry.js "$entry"
sed -i "s|static/remoteEntry.js|$entry|" package.json
cd /

# Keys, principals and the runtime files of a server: outside the home and /tmp, readable by the
# person's processes only, gone with the container.
install -d -o workroom -g workroom -m 0700 /var/lib/workroom /var/lib/workroom/ssh
ln -sf /usr/bin/vim.tiny /usr/local/bin/vim
cat /opt/workroom/etc/R/Rprofile.site >> /etc/R/Rprofile.site
rm -f /etc/ssh/sshd_config.d/*
rm -rf /tmp/build
