# An emulated guest, for machines where no tap can be made: needs no rights. It boots a Debian kernel that is
# unpacked and not installed, from an initramfs just large enough to mount this machine's file system by 9p.
# shellcheck shell=bash

QEMU_KERNEL=$REPO/target/e2e-tools/kernel
QEMU_MODULES=(virtio_pci 9pnet_virtio 9p virtio_net virtio_rng)

qemu_require() {
    need qemu-system-x86_64 qemu-system-x86
    need busybox busybox-static
    need depmod kmod
    qemu_fetch_kernel
    qemu_pack
}

# The cloud kernel, where one is installed, has no 9p.
qemu_fetch_kernel() {
    compgen -G "$QEMU_KERNEL/boot/vmlinuz-*" >/dev/null && return
    local package
    package=$(apt-cache depends --important linux-image-amd64 2>/dev/null | awk '/Depends: linux-image-[0-9]/ { print $2; exit }')
    as_invoker mkdir -p "$QEMU_KERNEL"
    (cd "$QEMU_KERNEL" && as_invoker apt-get download "$package" >/dev/null 2>&1 &&
        as_invoker dpkg-deb -x linux-image-*.deb . && rm linux-image-*.deb) || {
        echo "e2e: --client qemu needs Debian's package linux-image-amd64 (apt-get download failed)" >&2
        return 1
    }
    as_invoker depmod -b "$QEMU_KERNEL" "$(basename "$QEMU_KERNEL"/lib/modules/*)"
}

qemu_pack() {
    local tree=$RUN/initramfs release module file order=()
    release=$(basename "$QEMU_KERNEL"/lib/modules/*)
    mkdir -p "$tree"/{bin,dev,proc,root,modules}
    cp "$(command -v busybox)" "$tree/bin/busybox"
    for module in "${QEMU_MODULES[@]}"; do
        while read -r _ file; do
            [[ -f $tree/modules/${file##*/} ]] && continue
            case $file in
            *.xz) xz -dc "$file" >"$tree/modules/${file##*/}" ;;
            *) cp "$file" "$tree/modules/" ;;
            esac
            order+=("/modules/${file##*/}")
        done < <(modprobe -d "$QEMU_KERNEL" -S "$release" --show-depends "$module" | grep ^insmod)
    done
    cat >"$tree/init" <<INIT
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in ${order[*]}; do /bin/busybox insmod \$module; done
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,cache=loose,msize=262144,ro root /root
exec /bin/busybox switch_root /root "\$E2E_REPO/e2e/guest/init"
INIT
    chmod 755 "$tree/init"
    (cd "$tree" && find . | busybox cpio -o -H newc >"$RUN/initramfs.cpio" 2>/dev/null)
}

client_start_qemu() {
    setsid qemu-system-x86_64 -accel tcg,thread=single,tb-size=512 \
        -cpu qemu64,+rdrand,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16 -m "$GUEST_MEMORY" -smp 1 \
        -nodefaults -no-user-config -display none -no-reboot -monitor none \
        -serial "file:$LOGS/console" -serial "file:$LOGS/output" \
        -kernel "$QEMU_KERNEL"/boot/vmlinuz-* -initrd "$RUN/initramfs.cpio" \
        -virtfs local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap \
        -virtfs "local,path=$RUN/control,mount_tag=share,security_model=none" \
        -netdev user,id=net -device virtio-net-pci,netdev=net,romfile= -device virtio-rng-pci \
        -append "console=ttyS0 quiet norandmaps panic=-1 mitigations=off ipv6.disable=1 no_timer_check \
            random.trust_cpu=on E2E_REPO=$REPO E2E_ADDRESS=10.0.2.15/24 E2E_INTERFACE=eth0 E2E_OUTPUT=/dev/ttyS1 \
            E2E_MODULES=target/e2e-tools/kernel/lib/modules" \
        >"$RUN/qemu.log" 2>&1 </dev/null &
    CLIENT_PID=$!
}
