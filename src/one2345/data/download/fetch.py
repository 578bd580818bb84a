"""One file over HTTP: resumed where it broke off, tried again where that can help."""

from __future__ import annotations

import http.client
import logging
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import TypeVar

from one2345.errors import InputError

log = logging.getLogger(__name__)

AGAIN = {408, 425, 429, 500, 502, 503, 504}
LONGEST_WAIT = 60.0
BLOCK = 1 << 18
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_T = TypeVar("_T")


class Stopped(Exception):
    """The download was called off."""


class NotThere(InputError):
    """The server says that there is no such file."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """attempts: how often a file is tried. wait: seconds before the second attempt, doubled for every further
    one up to a minute. timeout: seconds without an answer after which an attempt has failed."""

    attempts: int = 5
    wait: float = 1.0
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.wait < 0 or self.timeout <= 0:
            raise InputError(f"{self}: attempts must be at least 1, wait not negative, timeout positive")


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
    stop: threading.Event | None = None,
) -> None:
    """Download `url` into the file `part`, going on after the bytes that it holds already.

    check: refuses (InputError) a complete file that isn't what it should be; it is then downloaded once more
    from the start. limit: bytes. Raises InputError that names the url and the reason, OSError when the disk
    is full, and `Stopped` once `stop` is set; a broken-off `part` stays for the next call.
    """
    patience, stop = patience or Patience(), stop or threading.Event()
    _with_patience(url, lambda: _once(url, part, patience, limit, stop), patience, stop)
    if check is None:
        return
    try:
        check(part)
    except InputError as error:
        log.info("%s: %s; once more from the start", url, error)
        part.unlink(missing_ok=True)
        _with_patience(url, lambda: _once(url, part, patience, limit, stop), patience, stop)
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
        with _open(url, patience, start=0) as response:
            content = b"".join(_blocks(response, limit, url, stop))
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


def _once(url: str, part: Path, patience: Patience, limit: int, stop: threading.Event) -> None:
    """One attempt: ask for what `part` lacks, and append it."""
    start = part.stat().st_size if part.is_file() else 0
    try:
        response = _open(url, patience, start=start)
    except _WholeAlready as answer:
        if answer.total != start:
            part.unlink()
            raise _Failed(f"has {answer.total} bytes, fewer than the {start} that were there") from answer
        return
    with response:
        begin, total = _place(response)
        if begin not in (0, start):
            raise _Failed(f"sends bytes from {begin}, asked for {start}")
        with part.open("ab" if begin else "wb") as handle:
            size = begin
            for block in _blocks(response, limit - begin, url, stop):
                handle.write(block)
                size += len(block)
    if total is not None and size > total:
        part.unlink()
    _check_length(size, total)


class _WholeAlready(Exception):
    """The server has nothing after the bytes that are there. total: the size that it states, or None."""

    def __init__(self, total: int | None) -> None:
        super().__init__()
        self.total = total


def _open(url: str, patience: Patience, *, start: int) -> HTTPResponse:
    from one2345 import __version__

    headers = {"User-Agent": f"one2345/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=patience.timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and start:
                total = (error.headers.get("Content-Range") or "").removeprefix("bytes */")
                raise _WholeAlready(int(total) if total.isdigit() else None) from error
            answer = f"the server answers {error.code} {error.reason}"
            if error.code in AGAIN:
                wait = error.headers.get("Retry-After") or ""
                raise _Failed(answer, float(wait) if wait.isdigit() else 0.0) from error
            raise (NotThere if error.code in (404, 410) else InputError)(f"{url}: {answer}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Failed(f"cannot be reached: {getattr(error, 'reason', None) or _named(error)}") from error


def _blocks(response: HTTPResponse, limit: int, url: str, stop: threading.Event):
    """The content, piece by piece."""
    while True:
        if stop.is_set():
            raise Stopped
        try:
            block = response.read(BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _Failed(f"broke off: {_named(error)}") from error
        if not block:
            return
        limit -= len(block)
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
