"""HTTP for the exporter: /metrics, /healthz, /readyz, and a line at / that says so."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from neurogrid.errors import RunError
from neurogrid.telemetry.exporter import Exporter
from neurogrid.telemetry.page import Format

_PLAIN = "text/plain; charset=utf-8"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    exporter: Exporter


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30.0  # of a client that says nothing
    server: _Server

    def do_GET(self) -> None:
        exporter, path = self.server.exporter, self.path.partition("?")[0]
        if path == "/metrics":
            self._metrics(exporter)
        elif path == "/healthz":
            self._say(exporter.healthy, "looking at the warehouse", "no progress in looking at the warehouse")
        elif path == "/readyz":
            self._say(exporter.ready, "ready", "the warehouse was not seen whole yet")
        elif path == "/":
            self._answer(HTTPStatus.OK, _PLAIN, b"NeuroGrid exporter: /metrics /healthz /readyz\n")
        else:
            self._answer(HTTPStatus.NOT_FOUND, _PLAIN, b"there are /metrics, /healthz and /readyz\n")

    do_HEAD = do_GET  # noqa: N815 - so called by the standard library

    def _metrics(self, exporter: Exporter) -> None:
        format_ = Format.accepted(self.headers.get("Accept", ""))
        compressed = "gzip" in self.headers.get("Accept-Encoding", "")
        page = exporter.page(format_, compressed=compressed)
        self._answer(HTTPStatus.OK, format_.content_type, page, "gzip" if compressed else "")

    def _say(self, good: bool, yes: str, no: str) -> None:
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, _PLAIN, f"{yes if good else no}\n".encode())

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes, encoding: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has in the standard library
        """A line a scrape would be noise."""


@contextmanager
def serving(exporter: Exporter, address: str, port: int) -> Iterator[int]:
    """Answers in threads of its own until the block ends; yields the port.

    Raises:
        RunError: it cannot listen there.
    """
    try:
        server = _Server((address, port), _Handler)
    except OSError as error:
        raise RunError(
            f"cannot listen on {address}:{port}", found=str(error), fix="choose another with --port or --address"
        ) from error
    server.exporter = exporter
    thread = threading.Thread(target=server.serve_forever, name="exporter-http", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
