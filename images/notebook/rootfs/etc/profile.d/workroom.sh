# The same environment for log-in shells (browser terminal, ssh) as for notebooks.
PATH="$HOME/.local/bin:/opt/workroom/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
export PATH
for notice in /var/lib/workroom/notice /tmp/workroom-*/notice; do
    [ -s "$notice" ] && [ -O "$notice" ] && printf '\033[33m%s\033[0m\n' "$(cat "$notice")"
done
unset notice
# sshd starts in / when the home cannot be entered; $HOME is then what stands in for it.
[ -z "$SSH_CONNECTION" ] || [ "$PWD" != / ] || cd "$HOME" 2> /dev/null || true
# A kind of terminal this image has never heard of would keep tmux, less and editors from starting.
if [ -n "$TERM" ]; then
    entry="$(printf %.1s "$TERM")/$TERM"
    [ -e "/lib/terminfo/$entry" ] || [ -e "/usr/share/terminfo/$entry" ] ||
        [ -e "$HOME/.terminfo/$entry" ] || export TERM=xterm-256color
    unset entry
fi
umask 027
