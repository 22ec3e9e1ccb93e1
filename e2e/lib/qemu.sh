# shellcheck shell=bash
qemu_require() { echo no; return 1; }
