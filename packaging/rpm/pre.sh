# The user who owns the configuration's group, before any file is unpacked: the lines of packaging/sysusers.d/trunkfs.conf.
systemd-sysusers --replace=/usr/lib/sysusers.d/trunkfs.conf - <<'LINES'
u trunkfs - "TrunkFS" /var/lib/trunkfs
LINES
