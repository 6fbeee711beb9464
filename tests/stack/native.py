"""Runs the services of a compose file as plain processes: same commands, environment, users, ports and volumes."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.stack import namespace


class StackError(AssertionError):
    """A service did not start, run or stop as the compose file requires; the message shows its log."""


class Image(NamedTuple):
    """What an image holds, as far as it matters.

    :param environment: its ``ENV``.
    :param directory: its ``WORKDIR``.
    :param mounts: local folders that stand for folders of the image.
    :param files: its files; by default those of this machine.
    :param stop: the signal that ends it.
    """

    environment: Mapping[str, str]
    directory: str = "/"
    mounts: tuple[tuple[Path, str, bool], ...] = ()
    files: Path | None = None
    stop: signal.Signals = signal.SIGTERM


class Native:
    """The services of a compose file, inside namespaces.

    :param document: the file, with variables put in.
    :param images: what each image holds, by its name without the tag.
    :param folder: where volumes and logs lie.
    :param profiles: whose services are started beside those of no profile.
    """

    def __init__(
        self, document: Mapping[str, Any], images: Mapping[str, Image], folder: Path, profiles: Sequence[str] = ()
    ) -> None:
        self.services: Mapping[str, Mapping[str, Any]] = {
            name: service
            for name, service in document["services"].items()
            if not service.get("profiles") or set(service["profiles"]) & set(profiles)
        }
        self._configs = document.get("configs", {})
        self._images = images
        self._folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "logs").mkdir(exist_ok=True)
        self._know_hosts_and_users()
        self._roots: dict[str, Path] = {}
        for name in self.services:
            if (files := self.image(name).files) is not None:
                self._roots[name] = folder / "roots" / name
                namespace.layer(files, folder / "layers" / name, self._roots[name])

    def _know_hosts_and_users(self) -> None:
        hosts = ["127.0.0.1 localhost"]
        hosts += [f"127.0.1.{number} {name}" for number, name in enumerate(self.services, start=1)]
        Path("/etc/hosts").write_text("\n".join(hosts) + "\n")
        # Python may be installed in a user's home folder.
        for parent in Path(sys.base_prefix).parents:
            parent.chmod(parent.stat().st_mode | 0o055)
        users = {int(service["user"].split(":")[0]) for service in self.services.values()}
        with Path("/etc/passwd").open("a") as passwd:
            for uid in users - {entry.pw_uid for entry in pwd.getpwall()}:
                passwd.write(f"stack{uid}:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin\n")

    def image(self, name: str) -> Image:
        """The image of a service."""
        return self._images[self.services[name]["image"].split(":")[0]]

    def command(self, name: str, command: list[str] | None = None) -> list[str]:
        """How a command is run in a service; by default the service's own."""
        service, image = self.services[name], self.image(name)
        environment = {**image.environment, **service.get("environment", {}), "HOSTNAME": name, "LANG": "C.UTF-8"}
        own = [*service.get("entrypoint", ()), *service.get("command", ())]
        mounts = [*image.mounts, *self._mounts(name)]
        root, words = self._roots.get(name, Path("/")), command or own
        return namespace.as_service(root, name, service["user"], mounts, environment, image.directory, words)

    def _mounts(self, name: str) -> Iterator[tuple[Path, str, bool]]:
        service = self.services[name]
        for volume in service.get("volumes", ()):
            source, target, *mode = volume.split(":")
            path = Path(source) if source.startswith(("/", ".")) else self._folder / "volumes" / source
            if not path.exists():
                path.mkdir(parents=True)
                os.chown(path, *self._owner(name, target))
            yield path.resolve(), target, mode == ["ro"]
        for config in service.get("configs", ()):
            path = self._folder / "configs" / config["source"]
            path.parent.mkdir(exist_ok=True)
            path.write_text(self._configs[config["source"]]["content"])
            path.chmod(0o444)
            yield path, config["target"], True

    def _owner(self, name: str, target: str) -> tuple[int, int]:
        """The owner of a new volume: that of the folder in the image that it covers, or the service's user."""
        if name in self._roots:
            covered = Path(f"{self._roots[name]}{target}").stat()
            return covered.st_uid, covered.st_gid
        uid, gid = self.services[name]["user"].split(":")
        return int(uid), int(gid)

    def up(self) -> None:
        """Start all services, each one when its dependencies are ready, and wait until all are healthy."""
        done: set[str] = set()
        while len(done) < len(self.services):
            for name, service in self.services.items():
                needed = service.get("depends_on", {})
                if name in done or not set(needed) <= done:
                    continue
                for other, how in needed.items():
                    self._wait(other, how["condition"])
                self.start(name)
                done.add(name)
        for name in self.services:
            ends = self.services[name].get("healthcheck") is None
            self._wait(name, "service_completed_successfully" if ends else "service_healthy")

    def start(self, name: str) -> None:
        """Start one service."""
        print(f"{name}: starting", flush=True)
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                self.command(name), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def log(self, name: str) -> Path:
        """The output of a service."""
        return self._folder / "logs" / f"{name}.log"

    def _wait(self, name: str, condition: str) -> None:
        if condition == "service_completed_successfully":
            if (code := self.running[name].wait(300)) != 0:
                raise StackError(f"{name} ended with exit code {code}:\n{self._tail(name)}")
            return
        check = self.services[name]["healthcheck"]
        within = seconds(check.get("start_period", "0s")) + check["retries"] * seconds(check["interval"])
        deadline = time.monotonic() + within
        while not self.healthy(name):
            if self.running[name].poll() is not None:
                raise StackError(f"{name} ended early:\n{self._tail(name)}")
            if time.monotonic() > deadline:
                raise StackError(f"{name} was not healthy within {within:.0f} s:\n{self._tail(name)}")
            time.sleep(1)

    def healthy(self, name: str) -> bool:
        """Run a service's health check once."""
        check = self.services[name]["healthcheck"]
        kind, *words = check["test"]
        command = words if kind == "CMD" else ["sh", "-c", words[0]]
        with self._folder.joinpath("logs", f"{name}.health.log").open("ab") as log:
            try:
                done = subprocess.run(
                    self.command(name, command),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    timeout=seconds(check.get("timeout", "30s")),
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return False
        return done.returncode == 0

    def down(self) -> None:
        """Stop everything in reverse order; only the DAG processor may exceed its grace period."""
        for name in reversed(list(self.running)):
            process = self.running.pop(name)
            if process.poll() is not None:
                continue
            process.send_signal(self.image(name).stop)
            grace = seconds(self.services[name].get("stop_grace_period", "10s"))
            try:
                # Two cores are shared by all services here.
                process.wait(grace * 3)
            except subprocess.TimeoutExpired:
                if name != "airflow-dag-processor":
                    raise StackError(f"{name} did not end within {grace * 3:.0f} s:\n{self._tail(name)}") from None
                # Seen once on a busy machine: it parsed files for 90 s after the signal. Docker kills it, too.
                process.kill()
                process.wait()
            print(f"{name}: ended with {process.returncode}", flush=True)

    def _tail(self, name: str) -> str:
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-60:])


def seconds(duration: str) -> float:
    """Read a compose duration such as ``1m30s``."""
    total, number = 0, ""
    for letter in duration:
        if letter.isdigit():
            number += letter
        else:
            total += int(number) * {"h": 3600, "m": 60, "s": 1}[letter]
            number = ""
    return float(total)


def privileges() -> dict[str, tuple[int, int]]:
    """User id and effective capabilities of all processes in here but this one, by their command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) in (os.getpid(), 1):
            continue
        try:
            status = dict(
                line.split(":\t", 1) for line in (folder / "status").read_text().splitlines() if ":\t" in line
            )
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if status["State"].startswith("Z"):
            continue
        found[f"{folder.name} {b' '.join(words).decode()}"] = (int(status["Uid"].split()[1]), int(status["CapEff"], 16))
    return found
