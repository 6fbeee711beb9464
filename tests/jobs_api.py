"""Ray's Jobs API over HTTP without Ray: tests set the state of its jobs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class JobsApi:
    """A server on a free port of loopback.

    :param begin: called with each new submission; by default, jobs stay ``PENDING``.
    """

    def __init__(self, begin: Callable[[dict[str, Any]], None] = lambda body: None) -> None:
        self.submitted: list[dict[str, Any]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.stops: list[str] = []
        #: Whether answers are lost, and a status with which submissions are refused.
        self.silent, self.refuses = False, 0
        #: A status with which everything is refused.
        self.denies = 0
        self.version: dict[str, str] = {"version": "4", "ray_version": "2.60.0"}
        #: The log of every job.
        self.output = ""
        self._begin = begin
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                if name == "logs":
                    self._answer({"logs": api.output})
                    return
                self._answer(api.version if name == "version" else api.jobs.get(name))

            def do_DELETE(self) -> None:
                self._answer(api.jobs.pop(self.path.rpartition("/")[2], None))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.path.endswith("/stop"):
                    api.stops.append(self.path.split("/")[-2])
                    self._answer({"stopped": True})
                    return
                self._answer(*({}, 0) if api.denies else api._submit(json.loads(body)))

            def _answer(self, document: Any, status: int = 200) -> None:
                if api.silent:
                    self.close_connection = True
                    return
                data = json.dumps(document or "unknown").encode()
                self.send_response(api.denies or (status if document else 404))
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()

    def _submit(self, body: dict[str, Any]) -> tuple[Any, int]:
        name = body["submission_id"]
        if self.refuses:
            return "memory is not valid", self.refuses
        if name in self.jobs:
            return f"Job with submission_id {name} already exists", 500
        self.submitted.append(body)
        self.jobs[name] = {"status": "PENDING", "message": "waiting", "error_type": None}
        self._begin(body)
        return {"submission_id": name}, 200
