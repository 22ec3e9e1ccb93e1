# $1 is the number of installed versions: 1 for a new installation, which is neither enabled nor started.
if [ ! -e /var/lib/trunkfs ]; then
    install -d -m 0700 -o trunkfs -g trunkfs /var/lib/trunkfs
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
fi
if [ "$1" -eq 1 ]; then
    echo "trunkfs is installed and not started: edit /etc/trunkfs/config.yaml, then run systemctl enable --now trunkfs"
fi
