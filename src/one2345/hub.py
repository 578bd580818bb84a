"""Models of the hub, from its local cache or fetched: their configuration and weights, nothing that runs.

Light on purpose: the command line asks it whether weights are there before anything heavy is imported.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from one2345.errors import InputError
from one2345.files import aside_name

TIMEOUT = 3.0
"""Seconds without an answer after which a server counts as out of reach."""

_WORD = r"\w[\w.-]*"
_NAME = re.compile(rf"(?P<id>{_WORD}/{_WORD})(@(?P<revision>{_WORD}(/{_WORD})*))?", re.ASCII)
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")

Choose = Callable[[Sequence[str]], list[str] | None]
"""Given the names of a repository's files, those that are needed; None where something needed is not among them."""


class WeightsUnavailable(InputError):
    """Weights that are not here: what needs them is not computed, and the rest goes on."""


def is_hub_name(name: str) -> bool:
    """Whether `name` has the form of `organisation/model` or `organisation/model@revision`."""
    return _NAME.fullmatch(name) is not None


def hub_folder(
    name: str,
    *,
    choose: Choose,
    anchor: str = "config.json",
    download: bool,
    what: str = "",
    choices: str = "",
    probe: bool = False,
) -> Path:
    """Folder of `organisation/model` or `organisation/model@revision` with the chosen files.

    anchor: a file that every complete copy has. what: said beside the name, as in "about 5 GB". choices: the
    ways that are left without these weights, the end of the message. probe: where something must be fetched,
    only ask whether the hub can be reached, and return the folder of the cache.
    No question goes out where it is in the local cache. Interrupted downloads are resumed. Raises
    WeightsUnavailable where it isn't there and may not or can't be fetched, within seconds if the hub is out of
    reach.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise WeightsUnavailable(
            f"weights are not here: {name} is no folder, nor organisation/model of the hub{_then(choices)}"
        )
    model, revision = match["id"], match["revision"] or "main"
    folder = _cached(model, revision, choose, anchor)
    if folder is not None:
        return folder
    title = f"{name} ({what})" if what else name
    if not download:
        raise WeightsUnavailable(
            f"weights are not here ({title}: no folder, nor in the hub's local cache {cache_folder()})"
            f"{_then(choices)}"
        )
    try:
        _reach(model)
        if probe:
            return cache_folder()
        _fetch(model, revision, choose)
    except WeightsUnavailable as error:
        raise WeightsUnavailable(
            f"{title} is not in the hub's local cache {cache_folder()}, and {error}{_then(choices)}"
        ) from error
    folder = _cached(model, revision, choose, anchor)
    if folder is None:
        raise WeightsUnavailable(f"{title}: the hub sent less than it listed{_then(choices)}")
    return folder


def cache_folder() -> Path:
    """Where the hub's client keeps what it fetched."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def choose_diffusers(parts: Iterable[str | Sequence[str]], *, variant: str | None = None) -> Choose:
    """Files of pipelines in diffusers' layout: configuration and weights of each part, a subfolder.

    parts: names of subfolders; of several in one entry, one must be there. Safetensors are taken where there
    are any, else pickled `.bin` files; shards with their index.
    """
    wanted = [(part,) if isinstance(part, str) else tuple(part) for part in parts]

    def choose(names: Sequence[str]) -> list[str] | None:
        there = set(names)
        chosen = [n for n in ("model_index.json", "scheduler/scheduler_config.json") if n in there]
        for alternatives in wanted:
            found = next((f for p in alternatives if (f := part_files(there, p, variant=variant))), None)
            if found is None:
                return None
            chosen += found
        return chosen

    return choose


def part_files(names: Iterable[str], part: str, *, variant: str | None = None) -> list[str]:
    """Files of one part of a pipeline: its config.json, then its weights; nothing where either is not there."""
    files = {n.removeprefix(f"{part}/") for n in names if n.startswith(f"{part}/") and n.count("/") == 1}
    kind = f".{variant}" if variant else ""
    for suffix in (".safetensors", ".bin"):
        for stem in _STEMS:
            name, index = f"{stem}{kind}{suffix}", f"{stem}{suffix}.index{kind}.json"
            shards = sorted(f for f in files if (m := _SHARD.fullmatch(f)) and m["stem"] in (stem, stem + kind)
                            and m["suffix"] == suffix)  # fmt: skip
            weights = [name] if name in files else []
            if not weights and index in files and shards and _whole(shards):
                weights = [index, *shards]
            if weights and "config.json" in files:
                return [f"{part}/{f}" for f in ("config.json", *weights)]
    return []


def _whole(shards: Sequence[str]) -> bool:
    return any(int(m["count"]) <= len(shards) for s in shards if (m := _SHARD.fullmatch(s)))


def _then(choices: str) -> str:
    return f"; {choices}" if choices else ""


def _cached(model: str, revision: str, choose: Choose, anchor: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, anchor, revision=revision)
    if not isinstance(found, str):
        return None
    folder = Path(found).parents[anchor.count("/")]
    return folder if choose(list_files(folder)) is not None else None


def list_files(folder: Path) -> list[str]:
    """Files of a folder and of its subfolders, one level down, as the hub would name them."""
    files = [f for pattern in ("*", "*/*") for f in folder.glob(pattern) if f.is_file()]
    return sorted(f.relative_to(folder).as_posix() for f in files)


def _reach(model: str) -> None:
    """One question, to which any answer will do.

    The hub's client asks again and again for half a minute, without end where a server is silent; and a name
    server that is out of reach keeps the question for longer than any timeout, so it waits in a thread.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise WeightsUnavailable("HF_HUB_OFFLINE forbids to fetch it")
    faults: list[Exception | None] = []

    def ask() -> None:
        try:
            question = urllib.request.Request(f"{constants.ENDPOINT}/api/models/{model}", method="HEAD")
            urllib.request.urlopen(question, timeout=TIMEOUT).close()
        except urllib.error.HTTPError:
            faults.append(None)
        except (OSError, http.client.HTTPException, ValueError) as error:
            faults.append(error)
        else:
            faults.append(None)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(TIMEOUT + 0.5)
    fault = faults[0] if faults else TimeoutError("timed out")
    if fault is not None:
        raise WeightsUnavailable(f"can't be fetched: {constants.ENDPOINT}: {fault}") from fault


def _fetch(model: str, revision: str, choose: Choose) -> None:
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    # the root of what the client's HTTP library raises, whichever that is in this version
    network: Any = HfHubHTTPError.__mro__[1]
    try:
        info = HfApi().model_info(model, revision=revision, timeout=TIMEOUT)
        names = [file.rfilename for file in info.siblings or []]
        chosen = choose(names)
        if chosen is None:
            raise WeightsUnavailable(f"has no such weights on the hub, or of another kind ({_some(names)})")
        folder = Path(
            snapshot_download(model, revision=revision, allow_patterns=chosen, etag_timeout=TIMEOUT)
        )
    except (OSError, network, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsUnavailable(f"can't be fetched from {constants.ENDPOINT}: {reason}") from error
    for name in chosen:
        stated = stated_sha256(folder / name)
        if stated is not None and sha256(folder / name) != stated:
            (folder / name).resolve().unlink()
            (folder / name).unlink()
            raise WeightsUnavailable(f"{name} arrived damaged (its SHA-256 is not {stated}); it was removed")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "it is empty"


def stated_sha256(file: Path) -> str | None:
    """The digest by which the hub's cache names a large file; None for files from elsewhere."""
    name = file.resolve().name
    return name if file.is_symlink() and _SHA256.fullmatch(name) else None


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fetch(url: str, path: Path, *, digest: str, timeout: float = TIMEOUT) -> None:
    """Load `url` into `path`, which appears whole and with the stated SHA-256 or not at all.

    digest: its first hexadecimal digits. timeout: seconds that the server may be silent. Raises
    WeightsUnavailable.
    """
    aside = path.with_name(f".{aside_name()}.part")
    found = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=timeout) as answer, aside.open("wb") as target:
            while block := answer.read(1 << 20):
                found.update(block)
                target.write(block)
        if not found.hexdigest().startswith(digest):
            raise WeightsUnavailable(
                f"{url} sent something else: SHA-256 {found.hexdigest()}, expected {digest}…; nothing was kept"
            )
        os.replace(aside, path)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsUnavailable(f"could not be fetched from {url}: {error}") from error
    finally:
        aside.unlink(missing_ok=True)
