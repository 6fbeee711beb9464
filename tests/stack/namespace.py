"""Namespaces of Linux in place of containers: a network, processes, names and files of their own.

What runs inside sees an overlay of this machine's files, so that accounts, host names and mount points can be made
without a trace; its network is a loopback of its own, so that every service has the ports that the compose file says.
When the first process inside ends, the kernel ends all others.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

TOOLS = ("unshare", "mount", "ip", "setpriv", "chroot", "hostname")

_ENTER = """
set -eu
ip link set lo up
mount -t tmpfs tmpfs {scratch}
mkdir {scratch}/upper {scratch}/work {scratch}/root
mount -t overlay overlay -o lowerdir=/,upperdir={scratch}/upper,workdir={scratch}/work {scratch}/root
mount --rbind /dev {scratch}/root/dev
mount --rbind /sys {scratch}/root/sys
mount -t proc proc {scratch}/root/proc
mount -t tmpfs -o mode=1777 tmpfs {scratch}/root/tmp
mkdir -p {scratch}/root{checkout}
mount --bind {checkout} {scratch}/root{checkout}
mount -o remount,bind,ro {scratch}/root{checkout}
mkdir -p {scratch}/root{folder}
mount --bind {folder} {scratch}/root{folder}
exec chroot {scratch}/root {command}
"""


def missing() -> str | None:
    """Why namespaces can't be used here; ``None`` if they can."""
    if sys.platform != "linux":
        return "namespaces are Linux's"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    if os.geteuid() != 0:
        return "needs root (for namespaces, and to run each service as a user of its own)"
    tried = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, text=True, check=False)
    return f"no namespaces here: {tried.stderr.strip()}" if tried.returncode else None


def enter(folder: Path, checkout: Path, command: Sequence[str], scratch: Path) -> list[str]:
    """The command that runs another one inside new namespaces.

    :param folder: the one folder whose changes stay.
    :param checkout: a folder that is there although it may lie below ``/tmp``, which is empty inside; read-only.
    :param scratch: an empty folder to build the overlay in.
    """
    script = _ENTER.format(
        scratch=shlex.quote(str(scratch)),
        folder=shlex.quote(str(folder)),
        checkout=shlex.quote(str(checkout)),
        command=shlex.join(command),
    )
    flags = ["--net", "--mount", "--pid", "--uts", "--ipc", "--propagation", "private", "--fork", "--kill-child"]
    return ["unshare", *flags, "sh", "-c", script]


def as_service(
    hostname: str,
    user: str,
    mounts: Sequence[tuple[Path, str, bool]],
    environment: Mapping[str, str],
    directory: str,
    command: Sequence[str],
) -> list[str]:
    """The command that runs another one as a container would: own host name and mounts, no root, no capabilities.

    :param mounts: what lies where, and whether it is read-only.
    :param directory: where it starts, which is the user's home where it is not the root.
    """
    uid, gid = user.split(":")
    lines = ["set -eu", f"hostname {shlex.quote(hostname)}"]
    if directory != "/":
        lines.append(f"install -d -o {uid} -g {gid} {shlex.quote(directory)}")
    for source, target, read_only in mounts:
        place = shlex.quote(target)
        make = f"mkdir -p {place}" if source.is_dir() else f"mkdir -p $(dirname {place}); [ -e {place} ] || : > {place}"
        lines += [make, f"mount --bind {shlex.quote(str(source))} {place}"]
        if read_only:
            lines.append(f"mount -o remount,bind,ro {place}")
    lines.append(f"cd {shlex.quote(directory)}")
    privileges = ["--reuid", uid, "--regid", gid, "--clear-groups", "--no-new-privs"]
    privileges += ["--inh-caps=-all", "--bounding-set=-all"]
    pairs = [f"{key}={value}" for key, value in environment.items()]
    lines.append(f"exec setpriv {shlex.join(privileges)} env -i {shlex.join(pairs)} {shlex.join(command)}")
    return ["unshare", "--mount", "--uts", "--propagation", "private", "sh", "-c", "\n".join(lines)]
