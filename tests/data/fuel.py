"""A server that answers like Gazebo Fuel, on this machine, and misbehaves on request."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from tests.data.model_folders import official_files, zipped


class Fuel:
    """models: name -> archive. faults: name (or 'list') -> what the next requests for it meet, in order:

    an int (that status), 'cut' (the connection ends in the middle), 'html' (a page with status 200), 'range'
    (the Range header is ignored), 'elsewhere' (another part than asked for), 'wrong' (a byte is changed),
    'unsized' (no Content-Length). asked: (name, Range header) of every request. page: models per page of the
    list. last: status of a page after the last.
    """

    def __init__(self, *names: str, pad: int = 0) -> None:
        self.models = {name: zipped(official_files(name, pad)) for name in names}
        self.faults: dict[str, list[int | str]] = defaultdict(list)
        self.asked: list[tuple[str, str | None]] = []
        self.page, self.last = 2, 200
        self.list_content: bytes | None = None
        self._lock = threading.Lock()
        fuel = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fuel.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/1.0"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        path = unquote(parts.path)
        name = "list" if path == "/1.0/models" else path.removeprefix("/1.0/GoogleResearch/models/")
        name = name.removesuffix(".zip")
        asked = request.headers.get("Range")
        with self._lock:
            self.asked.append((name, asked))
            fault = self.faults[name].pop(0) if self.faults[name] else None
        if isinstance(fault, int):
            request.send_response(fault)
            request.send_header("Retry-After", "0")
            request.end_headers()
        elif fault == "html":
            self._send(request, b"<!DOCTYPE html><title>Log in</title>", 200)
        elif name == "list":
            self._list(request, int(parse_qs(parts.query)["page"][0]), parse_qs(parts.query)["q"][0])
        elif name not in self.models:
            self._send(request, b"no such model", 404)
        else:
            self._model(request, self.models[name], asked, fault)

    def _list(self, request: BaseHTTPRequestHandler, page: int, query: str) -> None:
        assert query == "collections:Scanned Objects by Google Research"
        names = sorted(self.models)[(page - 1) * self.page : page * self.page]
        rows = [{"name": name, "owner": "GoogleResearch", "filesize": 1} for name in names]
        content = self.list_content or json.dumps(rows).encode()
        self._send(request, content, 200 if names or self.list_content else self.last)

    def _model(
        self, request: BaseHTTPRequestHandler, content: bytes, asked: str | None, fault: str | None
    ) -> None:
        if fault == "wrong":
            content = content[:60] + bytes([content[60] ^ 255]) + content[61:]
        start = (
            0 if asked is None or fault == "range" else int(asked.removeprefix("bytes=").removesuffix("-"))
        )
        if start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.end_headers()
            return
        if fault == "elsewhere":
            start += 1
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if fault != "unsized":
            request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        rest = content[start:]
        request.wfile.write(rest[: len(rest) // 2] if fault in ("cut", "unsized") else rest)

    def _send(self, request: BaseHTTPRequestHandler, content: bytes, status: int) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)
