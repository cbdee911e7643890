# Runs an unprivileged sshd as the SSH gateway would use it.
cd /var/lib/workroom/ssh && rm -f host_* && touch environment.conf && chmod 600 environment.conf
ssh-keygen -q -t ed25519 -N '' -f host_ed25519
mkdir -p /tmp/keys && cd /tmp/keys && rm -f *
for key in ca mine other; do ssh-keygen -q -t ed25519 -N '' -f $key; done
cp ca.pub /var/lib/workroom/ssh/user_ca.pub
echo workroom-abc > /var/lib/workroom/ssh/principals
ssh-keygen -q -s ca -I mine -n workroom-abc -V +5m mine.pub
ssh-keygen -q -s ca -I other -n workroom-xyz -V +5m other.pub
config=/etc/ssh/workroom_sshd_config
/usr/sbin/sshd -t -f $config
/usr/sbin/sshd -f $config -E /tmp/keys/log
trap 'kill "$(cat /var/lib/workroom/ssh/sshd.pid)"' EXIT
go() { ssh -n -p 2222 -o BatchMode=yes -o StrictHostKeyChecking=no \
    -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o IdentitiesOnly=yes -i "$1" workroom@127.0.0.1 "$2"; }
go mine 'echo in as $(id -un)'
options="-p 2222 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
rsync -e "ssh $options -i mine" mine.pub workroom@127.0.0.1:/tmp/keys/copied
cmp mine.pub copied && echo copied
go other 'echo in' 2>/dev/null || echo other principal refused
rm -f mine-cert.pub; go mine 'echo in' 2>/dev/null || echo plain key refused
