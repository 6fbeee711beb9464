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
for seen in {seen}; do
    mkdir -p {scratch}/root$seen
    mount --bind $seen {scratch}/root$seen
    mount -o remount,bind,ro {scratch}/root$seen
done
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


def enter(folder: Path, seen: Sequence[Path], command: Sequence[str], scratch: Path) -> list[str]:
    """The command that runs another one inside new namespaces.

    :param folder: the one folder whose changes stay.
    :param seen: folders that are there although they may lie below ``/tmp``, which is empty inside; read-only.
    :param scratch: an empty folder to build the overlay in.
    """
    script = _ENTER.format(
        scratch=shlex.quote(str(scratch)),
        folder=shlex.quote(str(folder)),
        seen=shlex.join(map(str, seen)),
        command=shlex.join(command),
    )
    flags = ["--net", "--mount", "--pid", "--uts", "--ipc", "--propagation", "private", "--fork", "--kill-child"]
    return ["unshare", *flags, "sh", "-c", script]


def layer(lower: Path, upper: Path, root: Path) -> None:
    """Mount the files of a container: those of its image, and over them what it writes itself.

    :param lower: the files of the image, which stay as they are.
    :param upper: where the container's own files lie.
    :param root: where both are seen together, with what every container has of the machine.
    """
    work = upper.with_name(f"{upper.name}.work")
    for folder in (upper, work, root):
        folder.mkdir(parents=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mounts = [("-t", "overlay", "-o", options, "overlay", str(root))]
    mounts += [("--rbind", place, f"{root}{place}") for place in ("/dev", "/sys", "/proc")]
    mounts.append(("-t", "tmpfs", "-o", "mode=1777", "tmpfs", f"{root}/tmp"))
    for mount in mounts:
        subprocess.run(["mount", *mount], check=True)
    shutil.copyfile("/etc/hosts", root / "etc/hosts")


def as_service(
    root: Path,
    hostname: str,
    user: str,
    mounts: Sequence[tuple[Path, str, bool]],
    environment: Mapping[str, str],
    directory: str,
    command: Sequence[str],
) -> list[str]:
    """The command that runs another one as a container would: own host name and mounts, no root, no capabilities.

    :param root: the folder that it sees as the root of all files.
    :param mounts: what lies where below the root, and whether it is read-only.
    :param directory: where it starts; made, if the root has it not, as the user's home.
    """
    uid, gid = user.split(":")
    inside = "" if root == Path("/") else str(root)
    lines = ["set -eu", f"hostname {shlex.quote(hostname)}"]
    home = shlex.quote(f"{inside}{directory}")
    lines.append(f"[ -d {home} ] || install -d -o {uid} -g {gid} {home}")
    for source, target, read_only in mounts:
        place = shlex.quote(f"{inside}{target}")
        make = f"mkdir -p {place}" if source.is_dir() else f"mkdir -p $(dirname {place}); [ -e {place} ] || : > {place}"
        lines += [make, f"mount --bind {shlex.quote(str(source))} {place}"]
        if read_only:
            lines.append(f"mount -o remount,bind,ro {place}")
    privileges = ["--reuid", uid, "--regid", gid, "--clear-groups", "--no-new-privs"]
    privileges += ["--inh-caps=-all", "--bounding-set=-all"]
    pairs = [f"{key}={value}" for key, value in environment.items()]
    inner = ["setpriv", *privileges, "env", "-i", "-C", directory, *pairs, *command]
    lines.append(f"exec chroot {shlex.quote(str(root))} {shlex.join(inner)}")
    return ["unshare", "--mount", "--uts", "--propagation", "private", "sh", "-c", "\n".join(lines)]
