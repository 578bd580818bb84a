"""One file over HTTP: resumed where it broke off, tried again where that can help."""

from __future__ import annotations

import http.client
import logging
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, TypeVar

from one2345.errors import InputError

log = logging.getLogger(__name__)

AGAIN = {408, 425, 429, 500, 502, 503, 504}
LONGEST_WAIT = 60.0
BLOCK = 1 << 18
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Hubs of models and data sets name a file by its sha256: in the answer that sends on to the storage, or in the last.
_ETAGS = ("X-Linked-Etag", "ETag")
_T = TypeVar("_T")


class Stopped(Exception):
    """The download was called off."""


class NotThere(InputError):
    """The server says that there is no such file."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """attempts: how often a file is tried. wait: seconds before the second attempt, doubled for every further
    one up to a minute. timeout: seconds without an answer after which an attempt has failed. rate: so has one
    that brings fewer bytes per second than this over `timeout`; 0 waits as long as anything comes."""

    attempts: int = 5
    wait: float = 1.0
    timeout: float = 60.0
    rate: float = 1000.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.wait < 0 or self.timeout <= 0 or self.rate < 0:
            raise InputError(
                f"{self}: attempts must be at least 1, wait and rate not negative, timeout positive"
            )


@dataclass(frozen=True)
class Told:
    """What a server says of a file before it sends it. size: bytes of the whole, None if it doesn't say.
    sha256: hexadecimal, None where it names none."""

    size: int | None
    sha256: str | None


class _Failed(Exception):
    """An attempt that failed in a way that may pass. wait: seconds that the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def fetch(
    url: str,
    part: Path,
    *,
    patience: Patience | None = None,
    limit: int = 1 << 32,
    check: Callable[[Path], None] | None = None,
    told: Callable[[Told], None] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Download `url` into the file `part`, going on after the bytes that it holds already.

    told: hears at every attempt, before anything is written, what the server says of the file, and may refuse
    it. check: refuses (InputError) a complete file that isn't what it should be; it is then downloaded once more
    from the start. limit: bytes. Raises InputError that names the url and the reason, OSError when the disk
    is full, and `Stopped` once `stop` is set; a broken-off `part` stays for the next call.
    """
    patience, stop = patience or Patience(), stop or threading.Event()
    _with_patience(url, lambda: _once(url, part, patience, limit, told, stop), patience, stop)
    if check is None:
        return
    try:
        check(part)
    except InputError as error:
        log.info("%s: %s; once more from the start", url, error)
        part.unlink(missing_ok=True)
        _with_patience(url, lambda: _once(url, part, patience, limit, told, stop), patience, stop)
        try:
            check(part)
        except InputError:
            part.unlink(missing_ok=True)
            raise


def read(
    url: str, *, patience: Patience | None = None, limit: int = 1 << 26, stop: threading.Event | None = None
) -> bytes:
    """The content of a small file. Raises as `fetch` does."""
    patience, stop = patience or Patience(), stop or threading.Event()

    def once() -> bytes:
        response, _ = _open(url, patience, start=0)
        with response:
            content = b"".join(_blocks(response, limit, url, patience, stop))
        _check_length(len(content), _length(response))
        return content

    return _with_patience(url, once, patience, stop)


def _with_patience(url: str, once: Callable[[], _T], patience: Patience, stop: threading.Event) -> _T:
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url}: only http and https addresses are downloaded")
    for attempt in range(1, patience.attempts + 1):
        if stop.is_set():
            raise Stopped
        try:
            return once()
        except _Failed as failure:
            if attempt == patience.attempts:
                raise InputError(f"{url}: {failure} ({attempt} attempts)") from failure
            wait = min(max(patience.wait * 2 ** (attempt - 1), failure.wait), LONGEST_WAIT)
            log.info("%s: %s; again in %.0f s", url, failure, wait)
            stop.wait(wait)
    raise AssertionError("unreachable")


def _once(
    url: str,
    part: Path,
    patience: Patience,
    limit: int,
    told: Callable[[Told], None] | None,
    stop: threading.Event,
) -> None:
    """One attempt: ask for what `part` lacks, and append it."""
    start = part.stat().st_size if part.is_file() else 0
    try:
        response, sha256 = _open(url, patience, start=start)
    except _WholeAlready as answer:
        if answer.total != start:
            part.unlink()
            raise _Failed(f"has {answer.total} bytes, fewer than the {start} that were there") from answer
        if told is not None:
            told(Told(answer.total, answer.sha256))
        return
    with response:
        begin, total = _place(response)
        if told is not None:
            told(Told(total, sha256))
        if begin not in (0, start):
            raise _Failed(f"sends bytes from {begin}, asked for {start}")
        with part.open("ab" if begin else "wb") as handle:
            size = begin
            for block in _blocks(response, limit - begin, url, patience, stop):
                handle.write(block)
                size += len(block)
    if total is not None and size > total:
        part.unlink()
    _check_length(size, total)


class _WholeAlready(Exception):
    """The server has nothing after the bytes that are there. total: the size that it states, or None."""

    def __init__(self, total: int | None, sha256: str | None) -> None:
        super().__init__()
        self.total, self.sha256 = total, sha256


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows http and https only, and keeps the checksum that an answer on the way named."""

    sha256: str | None = None

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        self.sha256 = self.sha256 or _sha256(headers)
        if not newurl.startswith(("http://", "https://")):
            raise InputError(f"{req.full_url}: sends on to {newurl}; only http and https are followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _sha256(headers: Message) -> str | None:
    tags = [(headers.get(name) or "").removeprefix("W/").strip('"').lower() for name in _ETAGS]
    return next((tag for tag in tags if _SHA256.fullmatch(tag)), None)


def _open(url: str, patience: Patience, *, start: int) -> tuple[HTTPResponse, str | None]:
    """The answer, and the sha256 of the file where it or one on the way to it names it."""
    from one2345 import __version__

    redirects = _Redirects()
    opener = urllib.request.build_opener(redirects)

    headers = {"User-Agent": f"one2345/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=patience.timeout)
        return response, redirects.sha256 or _sha256(response.headers)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and start:
                total = (error.headers.get("Content-Range") or "").removeprefix("bytes */")
                sha256 = redirects.sha256 or _sha256(error.headers)
                raise _WholeAlready(int(total) if total.isdigit() else None, sha256) from error
            answer = f"the server answers {error.code} {error.reason}"
            if error.code in AGAIN:
                wait = error.headers.get("Retry-After") or ""
                raise _Failed(answer, float(wait) if wait.isdigit() else 0.0) from error
            raise (NotThere if error.code in (404, 410) else InputError)(f"{url}: {answer}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Failed(f"cannot be reached: {getattr(error, 'reason', None) or _named(error)}") from error


def _blocks(
    response: HTTPResponse, limit: int, url: str, patience: Patience, stop: threading.Event
) -> Iterator[bytes]:
    """The content, piece by piece, as long as it comes fast enough."""
    since, came = time.monotonic(), 0
    while True:
        if stop.is_set():
            raise Stopped
        if (seconds := time.monotonic() - since) > patience.timeout:
            if came < patience.rate * seconds:
                raise _Failed(f"too slow: {came} bytes in {seconds:.0f} s")
            since, came = time.monotonic(), 0
        try:
            # What is there now: `read` would wait for a full block, however slowly it fills.
            block = response.read1(BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _Failed(f"broke off: {_named(error)}") from error
        if not block:
            return
        limit -= len(block)
        came += len(block)
        if limit < 0:
            raise InputError(f"{url}: is larger than anything that is expected here; given up")
        yield block


def _place(response: HTTPResponse) -> tuple[int, int | None]:
    """The first byte that is sent, and the size of the whole file where the server states it."""
    if response.status != 206:
        return 0, _length(response)
    match = _RANGE.fullmatch(response.headers.get("Content-Range") or "")
    if match is None:
        raise _Failed("sends a part of the file without saying which")
    return int(match[1]), int(match[2]) if match[2] != "*" else None


def _length(response: HTTPResponse) -> int | None:
    stated = response.headers.get("Content-Length") or ""
    return int(stated) if stated.isdigit() else None


def _check_length(size: int, total: int | None) -> None:
    if total is not None and size != total:
        raise _Failed(f"broke off: {size} of {total} bytes came")


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
