# $1 is the number of versions that remain: 1 for an upgrade, which restarts what runs.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    if [ "$1" -ge 1 ]; then
        systemctl try-restart trunkfs.service || :
    fi
fi
if [ "$1" -eq 0 ] && [ -d /var/lib/trunkfs ] && ! rmdir /var/lib/trunkfs 2>/dev/null; then
    echo "trunkfs is removed; its data and the user trunkfs, who owns them, are kept: /var/lib/trunkfs"
fi
# Folders belong to no rpm.
if [ "$1" -eq 0 ]; then
    rmdir /usr/share/doc/trunkfs/docs /usr/share/doc/trunkfs/examples /usr/share/doc/trunkfs /usr/share/licenses/trunkfs \
        /etc/trunkfs 2>/dev/null || :
fi
