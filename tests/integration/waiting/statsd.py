"""A StatsD server that records its metrics."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Received:
    """The received metrics: each one's name, its kinds and its newest value."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.metrics: dict[str, tuple[str, float]] = {}

    def take(self, packet: str) -> None:
        for line in packet.splitlines():
            name, _, rest = line.partition(":")
            value, _, kind = rest.partition("|")
            self.metrics[name] = (kind.partition("|")[0], float(value))


@contextmanager
def statsd() -> Iterator[Received]:
    """Listen on a free UDP port of loopback until the block ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        received = Received(listener.getsockname()[1])
        ended = threading.Event()

        def listen() -> None:
            while not ended.is_set():
                received.take(listener.recv(65536).decode())

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield received
        ended.set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"end:1|c", ("127.0.0.1", received.port))
        thread.join(10)
