"""Takes from this process what tested code must not have: files, network, processes, time, memory.

Linux's own means, none of which needs a privilege or a package: resource limits, Landlock for
files, a seccomp filter for system calls, a user namespace for a scratch disk in memory. `lock` says
what could not be taken, and the caller decides whether to go on.

Source: man pages landlock(7), seccomp(2), user_namespaces(7); the kernel's
include/uapi/linux/landlock.h and its tables of system calls.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys

TYPE_CHECKING = False  # typing, contextlib and signal together cost 15 ms per check
if TYPE_CHECKING:
    from typing import Any

FILE_BYTES = 16 * 2**20
SCRATCH = "size=64m,nr_inodes=4096,mode=700"
OPEN_FILES = 64
LAST_CALL = 451  # cachestat: newer calls are not there for tested code
EPERM, ENOSYS = 1, 38
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store")
READABLE = ("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo", "/dev/urandom")

# Denied system calls: numbers on x86-64 and on AArch64 (None where it has no such call).
DENIED: dict[str, tuple[int | None, int | None]] = {
    # other machines, and other processes' sockets
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    # processes: threads alone are made, by clone with CLONE_THREAD
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "setsid": (112, 157), "setpgid": (109, 154),
    # what reaches into other processes of the same user
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setaffinity": (203, 122),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    # what Landlock does not cover: a file's mode, owner, times, attributes, length
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "truncate": (76, 45), "open_by_handle_at": (304, 265),
    # memory that outlives the process or that its limit does not count
    "memfd_create": (319, 279), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190),
    "mq_open": (240, 180), "memfd_secret": (447, 447), "shmat": (30, 196), "shmctl": (31, 195),
    "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187), "semop": (65, 193),
    "semtimedop": (220, 192), "semctl": (66, 191),
    # ways round the other rules, and parts of the kernel no program needs
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428), "fsopen": (430, 430),
    "move_mount": (429, 429), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "prctl": (157, 167), "personality": (135, 92),
}  # fmt: skip
# (column of DENIED, audit architecture; clone, clone3, kill, tgkill, prlimit64, fcntl, ioctl)
MACHINES = {
    "x86_64": (0, 0xC000003E, 56, 435, 62, 234, 302, 72, 16),
    "aarch64": (1, 0xC00000B7, 220, 435, 129, 131, 261, 25, 29),
}
# Commands of fcntl and ioctl that let the kernel send signals to other processes (F_SETOWN,
# F_SETSIG, F_SETOWN_EX, FIOSETOWN, SIOCSPGRP), hold up who writes to a file (F_SETLEASE) or type
# into a terminal (TIOCSTI, TIOCLINUX).
COMMANDS = {"fcntl": (8, 10, 15, 1024), "ioctl": (0x8901, 0x8902, 0x5412, 0x541C)}


def lock(scratch: str, seconds: int, memory_mb: int) -> list[str]:
    """Takes all it can from this process, for good; says which of four it could not.

    `files`: nothing outside the scratch folder is written and little else than the standard library
    read. `network`: no socket. `processes`: none started, none signalled. `disk`: the scratch
    folder holds 64 MB in memory; without it nothing can be written there either.
    """
    linux = sys.platform.startswith("linux")
    libc: Any = ctypes.CDLL(None, use_errno=True) if linux else None
    disk = linux and _scratch_disk(libc, scratch)
    _limits(seconds, memory_mb)
    if not linux:
        return ["files", "network", "processes", "disk"]
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    files = _landlock(libc, scratch if disk else "")
    _drop_capabilities(libc)
    calls = _seccomp(libc)
    if not calls:
        _limit("RLIMIT_NPROC", 64, 64)
    held = {"files": files, "network": calls, "processes": calls, "disk": disk}
    return [name for name, holds in held.items() if not holds]


def _limits(seconds: int, memory_mb: int) -> None:
    size = memory_mb * 2**20
    wanted = {
        "RLIMIT_CPU": (seconds, seconds + 1),
        "RLIMIT_AS": (size, size),
        "RLIMIT_FSIZE": (FILE_BYTES, FILE_BYTES),
        "RLIMIT_NOFILE": (OPEN_FILES, OPEN_FILES),
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_MEMLOCK": (0, 0),
    }
    for name, (soft, hard) in wanted.items():
        _limit(name, soft, hard)


def _limit(name: str, soft: int, hard: int) -> None:
    try:
        resource.setrlimit(getattr(resource, name), (soft, hard))
    except (AttributeError, ValueError, OSError):
        return  # macOS refuses some


def _scratch_disk(libc: Any, scratch: str) -> bool:
    """A file system in memory over the scratch folder, which only this process sees."""
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(0x10000000 | 0x00020000 | 0x08000000):  # CLONE_NEWUSER, NEWNS, NEWIPC
        return False
    try:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123  # pathlib costs 5 ms
                file.write(text)
    except OSError:
        return False
    private, quiet = 0x4000 | 0x40000, 0x2 | 0x4 | 0x8  # MS_REC|MS_PRIVATE; nosuid, nodev, noexec
    if libc.mount(b"none", b"/", None, private, None):
        return False
    if libc.mount(b"tmpfs", os.fsencode(scratch), b"tmpfs", quiet, SCRATCH.encode()):
        return False
    os.chdir(scratch)
    return True


def _landlock(libc: Any, scratch: str) -> bool:
    abi = libc.syscall(444, None, 0, 1)
    if abi < 1:
        return False
    every = (1 << (13 + (abi >= 2) + (abi >= 3))) - 1 | (1 << 15 if abi >= 5 else 0)
    # TCP where it knows it; signals and abstract sockets of processes outside.
    attributes = struct.pack("QQQ", every, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    ruleset = libc.syscall(444, attributes, 8 if abi < 4 else 16 if abi < 6 else 24, 0)
    if ruleset < 0:
        return False
    read_file, read_dir, write_file = 1 << 2, 1 << 3, 1 << 1
    library = os.path.dirname(os.__file__)  # noqa: PTH120
    rules = [(library, read_dir)]  # whose names are needed to import
    rules += [(path, read_file | read_dir) for path in (*LIBRARIES, *READABLE, *_standard(library))]
    rules += [("/dev/null", read_file | write_file)]
    if scratch:
        # All but programs and device nodes, sockets and pipes.
        rules.append((scratch, every & ~(1 << 0 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 15)))
    for path, access in rules:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        if not os.path.isdir(path):  # noqa: PTH112
            access &= 0b111 | 1 << 14
        libc.syscall(445, ruleset, 1, struct.pack("=Qi", access, fd), 0)
        os.close(fd)
    done = libc.syscall(446, ruleset, 0) == 0
    os.close(ruleset)
    return bool(done)


def _standard(library: str) -> list[str]:
    """What of the interpreter's own folders is the standard library and what it links to: beside
    these lie packages that somebody installed, with their code in them."""
    own = [name for name in os.listdir(library) if not name.endswith("-packages")]  # noqa: PTH208
    beside = f"{sys.base_prefix}/lib"
    try:
        linked = [name for name in os.listdir(beside) if ".so" in name]  # noqa: PTH208
    except OSError:
        linked = []
    return [f"{library}/{name}" for name in own] + [f"{beside}/{name}" for name in linked]


def _drop_capabilities(libc: Any) -> None:
    header = struct.pack("Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    libc.capset(header, bytes(24))


def _seccomp(libc: Any) -> bool:
    """Denies by EPERM every call named above, and by ENOSYS every call that is newer."""
    machine = MACHINES.get(os.uname().machine)
    if machine is None or struct.calcsize("P") != 8:
        return False
    column, arch, clone, clone3, kill, tgkill, prlimit, fcntl, ioctl = machine
    allow, deny, absent = 0x7FFF0000, 0x00050000 | EPERM, 0x00050000 | ENOSYS
    load, equal, at_least, has, give = 0x20, 0x15, 0x35, 0x45, 0x06
    code: list[tuple[int, int, int, int]] = [
        (load, 0, 0, 4), (equal, 1, 0, arch), (give, 0, 0, 0x80000000),  # kill the process
        (load, 0, 0, 0), (at_least, 0, 1, LAST_CALL + 1), (give, 0, 0, absent),
        (equal, 0, 1, clone3), (give, 0, 0, absent),  # whose flags a filter cannot see
    ]  # fmt: skip
    for number in sorted(n for pair in DENIED.values() if (n := pair[column]) is not None):
        code += [(equal, 0, 1, number), (give, 0, 0, deny)]
    # Calls that depend on their first argument: threads, one's own signals, one's own limits.
    own = os.getpid()
    for number, test, value in (
        (clone, has, 0x00010000), (kill, equal, own), (tgkill, equal, own), (prlimit, equal, 0),
    ):  # fmt: skip
        code += [(equal, 0, 4, number), (load, 0, 0, 16), (test, 0, 1, value)]
        code += [(give, 0, 0, allow), (give, 0, 0, deny)]
    for number, commands in ((fcntl, COMMANDS["fcntl"]), (ioctl, COMMANDS["ioctl"])):
        code += [(equal, 0, 2 * len(commands) + 2, number), (load, 0, 0, 24)]
        for command in commands:
            code += [(equal, 0, 1, command), (give, 0, 0, deny)]
        code.append((give, 0, 0, allow))
    code.append((give, 0, 0, allow))
    body = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in code))
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(body))
    return bool(libc.prctl(22, 2, program, 0, 0) == 0)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
