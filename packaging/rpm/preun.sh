# $1 is the number of versions that remain: 0 for a removal.
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then
    systemctl --no-reload disable --now trunkfs.service || :
fi
