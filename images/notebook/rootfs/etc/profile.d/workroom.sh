# The same environment for log-in shells (browser terminal, ssh) as for notebooks.
PATH="/opt/workroom/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
[ -d "$HOME/.local/bin" ] && PATH="$HOME/.local/bin:$PATH"
export PATH
for notice in /var/lib/workroom/notice /tmp/workroom-*/notice; do
    [ -s "$notice" ] && [ -O "$notice" ] && printf '\033[33m%s\033[0m\n' "$(cat "$notice")"
done
unset notice
umask 027
