"""A server that answers like the one the `objaverse` package expects, on this machine, and misbehaves on request."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

import trimesh


def uid_of(name: str) -> str:
    """32 hexadecimal digits, as Objaverse has them."""
    return hashlib.md5(name.encode()).hexdigest()


def ball(subdivisions: int = 2) -> bytes:
    """A GLB of a closed ball: 320 faces by default, 12 kB."""
    return cast(bytes, trimesh.creation.icosphere(subdivisions=subdivisions).export(file_type="glb"))


def annotation(uid: str, *, licence: str = "by", **changes: object) -> dict[str, object]:
    """What Objaverse says of an object, as far as it is read here."""
    return {
        "uid": uid,
        "uri": f"https://api.example.org/models/{uid}",
        "name": f"object {uid[:4]}",
        "license": licence,
        "user": {"username": "ada", "displayName": "Ada L."},
        "faceCount": 320,
        "animationCount": 0,
    } | changes


class ObjaverseServer:
    """models: name -> GLB. licences, categories: name -> value (else 'by', 'ball').

    faults: path below the address (or uid) -> what all requests for it meet: an int (that status), 'truncated'
    (Content-Length is larger than the body), 'slow' (a byte at a time), 'corrupt' (a byte in the middle is
    changed), 'page' (a page of text with status 200). once: the same, for one request each, in order.
    redirects: objects are sent on to a storage, by an answer that names their sha256, as large files of hubs
    are. asked: (path, Range header) of every request.
    """

    def __init__(
        self,
        models: Mapping[str, bytes],
        *,
        licences: Mapping[str, str] | None = None,
        categories: Mapping[str, str] | None = None,
        changes: Mapping[str, dict[str, object]] | None = None,
        folders: int = 2,
        redirects: bool = False,
    ) -> None:
        uids = {name: uid_of(name) for name in models}
        self.uids = uids
        paths = {uid: f"glbs/000-{i % folders:03d}/{uid}.glb" for i, uid in enumerate(uids.values())}
        self.paths = {name: paths[uid] for name, uid in uids.items()}
        self.files: dict[str, bytes] = {paths[uids[name]]: glb for name, glb in models.items()}
        notes: dict[str, dict[str, object]] = defaultdict(dict)
        table: dict[str, list[str]] = defaultdict(list)
        for name, uid in uids.items():
            licence = (licences or {}).get(name, "by")
            note = annotation(uid, licence=licence, **(changes or {}).get(name, {}))
            notes[f"metadata/{paths[uid].split('/')[1]}.json.gz"][uid] = note
            table[(categories or {}).get(name, "ball")].append(uid)
        self.files |= {name: zipped(content) for name, content in notes.items()}
        self.files["object-paths.json.gz"] = zipped(paths)
        self.files["lvis-annotations.json.gz"] = zipped(table)
        self.redirects = redirects
        self.faults: dict[str, int | str] = {}
        self.once: dict[str, list[int | str]] = defaultdict(list)
        self.asked: list[tuple[str, str | None]] = []
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with suppress(ConnectionError):  # who asked has had enough
                    server.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/resolve/main"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def objects_asked(self) -> list[str]:
        return [path for path, _ in self.asked if path.startswith("glbs/")]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        where, _, path = request.path.partition("/main/")
        stored = where == "/storage"
        asked = request.headers.get("Range")
        with self._lock:
            if not stored:
                self.asked.append((path, asked))
            fault = self.once[path].pop(0) if self.once[path] else self.faults.get(path)
        content = self.files.get(path)
        if content is None or isinstance(fault, int):
            self._send(request, b"no such file", fault if isinstance(fault, int) else 404)
        elif self.redirects and path.startswith("glbs/") and not stored:
            request.send_response(302)
            request.send_header("Location", f"/storage/main/{path}")
            request.send_header("X-Linked-Etag", f'"{hashlib.sha256(content).hexdigest()}"')
            request.send_header("Content-Length", "0")
            request.end_headers()
        elif fault == "page":
            self._send(request, b"<!DOCTYPE html><title>Log in</title>", 200)
        else:
            self._file(request, content, asked, fault)

    def _file(
        self, request: BaseHTTPRequestHandler, content: bytes, asked: str | None, fault: str | None
    ) -> None:
        if fault == "corrupt":
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
        start = 0 if asked is None else int(asked.removeprefix("bytes=").removesuffix("-"))
        size = len(content) + 1000 if fault == "truncated" else len(content)
        if start >= size:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{size}")
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        request.send_header("Content-Length", str(size - start))
        request.end_headers()
        if fault != "slow":
            request.wfile.write(content[start:])
            return
        for byte in content[start:]:
            request.wfile.write(bytes([byte]))
            time.sleep(0.02)

    def _send(self, request: BaseHTTPRequestHandler, content: bytes, status: int) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)


def zipped(content: object) -> bytes:
    return gzip.compress(json.dumps(content).encode())
