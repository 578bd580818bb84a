"""Models of the hub, from its local cache or fetched: their configuration and weights, nothing that runs.

Light on purpose: the command line asks it whether weights are there before anything heavy is imported.
"""

from __future__ import annotations

import http.client
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .files import TIMEOUT, WeightsUnavailable, sha256, stated_sha256
from .layouts import Choose, list_files

_WORD = r"\w[\w.-]*"
_NAME = re.compile(rf"(?P<id>{_WORD}/{_WORD})(@(?P<revision>{_WORD}(/{_WORD})*))?", re.ASCII)


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


def _then(choices: str) -> str:
    return f"; {choices}" if choices else ""


def _cached(model: str, revision: str, choose: Choose, anchor: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, anchor, revision=revision)
    if not isinstance(found, str):
        return None
    folder = Path(found).parents[anchor.count("/")]
    return folder if choose(list_files(folder)) is not None else None


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
