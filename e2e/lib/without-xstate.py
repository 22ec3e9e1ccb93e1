#!/usr/bin/env python3
"""Runs a program, and what it starts, without PTRACE_GETREGSET of NT_X86_XSTATE: the kernel answers EINVAL.

User Mode Linux before 6.13 has room for 2,696 bytes of a processor's extended registers. Where there are more (AMX) the kernel
does not take them back (EFAULT), and its first program ends with SIGSEGV. A User Mode Linux that cannot read them uses
PTRACE_GETFPREGS, which has the registers up to SSE. Its programs must then leave AVX alone: a page fault loses the rest."""

import ctypes
import errno
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
PTRACE, PTRACE_GETREGSET, NT_X86_XSTATE = 101, 0x4204, 0x202
# struct seccomp_data: the system call's number, and the lower halves of its first and third argument.
NUMBER, REQUEST, ADDRESS = 0, 16, 32

program = [
    (LOAD, 0, 0, NUMBER),
    (JUMP_IF_EQUAL, 0, 5, PTRACE),
    (LOAD, 0, 0, REQUEST),
    (JUMP_IF_EQUAL, 0, 3, PTRACE_GETREGSET),
    (LOAD, 0, 0, ADDRESS),
    (JUMP_IF_EQUAL, 0, 1, NT_X86_XSTATE),
    (RETURN, 0, 0, SECCOMP_RET_ERRNO | errno.EINVAL),
    (RETURN, 0, 0, SECCOMP_RET_ALLOW),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))


class Filter(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


libc = ctypes.CDLL(None, use_errno=True)
filter = Filter(len(program), ctypes.cast(code, ctypes.c_void_p))
steps = (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter), 0, 0)
for step in steps:
    if libc.prctl(*step):
        sys.exit("seccomp: " + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[1], sys.argv[1:])
