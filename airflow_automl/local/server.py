"""Serves a :class:`~airflow_automl.local.service.Service` on a socket until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable, Iterator

from airflow_automl.local.errors import StartupError
from airflow_automl.local.service import Service, Settings
from airflow_automl.local.state.folder import DataFolder

log = logging.getLogger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """Take a port.

    :param port: 0 chooses a free one.
    :raises StartupError: if it is taken or may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise StartupError(
            f"can't listen on {host} port {port} ({reason}); name another port with --port, or 0 for a free one"
        ) from error
    return listener


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(settings: Settings, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    :param ready: called with the service's address once it can serve.
    :raises StartupError: if it can't start.
    """
    import uvloop

    folder = DataFolder(settings.data_dir)
    folder.prepare()
    with folder.lock(), listen(host, port) as listener:
        uvloop.run(_serve(settings, listener, host, ready))


async def _serve(settings: Settings, listener: socket.socket, host: str, ready: Callable[[str], None]) -> None:
    import uvicorn

    from airflow_automl.local.http.application import Application

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # The signals are handled below, also while the service is starting.
            yield

    service = Service(settings)
    config = uvicorn.Config(
        Application(service, service.runtime, service.others, service.signatures),
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=3,
    )
    server = Server(config)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    waiting = asyncio.create_task(ended.wait())
    serving: asyncio.Task[None] | None = None
    try:
        starting = asyncio.create_task(service.start())
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            return
        await starting
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not serving.done():  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # uvicorn has no event for it
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listener.getsockname()[1]}"
        service.folder.write_info(service.info(url))
        ready(url)
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        log.info("stopping the service")
        server.should_exit = True
        if serving is not None:
            await serving
        service.folder.forget_info()
        await service.stop()


def check_exposure(host: str, protected: bool) -> None:
    """Refuse to serve other machines without credentials.

    :raises StartupError: if that was asked for.
    """
    if not is_loopback(host) and not protected:
        raise StartupError(
            f"--host {host} allows requests of other machines, which needs credentials: "
            "add --credentials-file, or --access-key and --secret-key"
        )
