"""Models of the hub, from its local cache or fetched: their configuration and safetensors, nothing that runs."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from .published import FETCH, TIMEOUT, WeightsUnavailable

_WORD = r"\w[\w.-]*"
_NAME = re.compile(rf"(?P<id>{_WORD}/{_WORD})(@(?P<revision>{_WORD}(/{_WORD})*))?", re.ASCII)
WEIGHTS = "model*.safetensors"


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of a model's folder, sorted."""
    return sorted(file for file in folder.glob(WEIGHTS) if file.is_file())


def hub_folder(name: str, *, download: bool) -> Path:
    """Folder of `organisation/model` or `organisation/model@revision` with config.json and safetensors.

    No question goes out where it is in the local cache. Raises WeightsUnavailable where it isn't and may not or
    can't be fetched, within seconds if the hub is out of reach.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise WeightsUnavailable(
            f"weights are not here: {name} is no folder, nor organisation/model of the hub"
        )
    revision = match["revision"] or "main"
    folder = _cached(match["id"], revision)
    if folder is None and download:
        _fetch(match["id"], revision)
        folder = _cached(match["id"], revision)
        if folder is None:
            raise WeightsUnavailable(
                f"{name} has no safetensors weights on the hub; other kinds are not read"
            )
    if folder is None:
        raise WeightsUnavailable(
            f"weights are not here ({name}: no folder, nor in the hub's local cache); {FETCH}"
        )
    return folder


def _cached(model: str, revision: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, "config.json", revision=revision)
    folder = Path(found).parent if isinstance(found, str) else None
    return folder if folder is not None and weight_files(folder) else None


def _fetch(model: str, revision: str) -> None:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    # the root of what the client's HTTP library raises, whichever that is in this version
    network: Any = HfHubHTTPError.__mro__[1]
    if constants.HF_HUB_OFFLINE:
        raise WeightsUnavailable(
            f"{model} is not in the hub's local cache, and HF_HUB_OFFLINE forbids to fetch it"
        )
    # The hub's client asks again and again for half a minute, without end where a server is silent. So first
    # one question, to which any answer will do.
    try:
        question = urllib.request.Request(f"{constants.ENDPOINT}/api/models/{model}", method="HEAD")
        urllib.request.urlopen(question, timeout=TIMEOUT).close()
    except urllib.error.HTTPError:
        pass
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise WeightsUnavailable(f"{model} can't be fetched: {constants.ENDPOINT}: {error}") from error
    try:
        patterns = ["config.json", WEIGHTS, "*.safetensors.index.json"]
        snapshot_download(model, revision=revision, allow_patterns=patterns, etag_timeout=TIMEOUT)
    except (OSError, network, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsUnavailable(f"{model} can't be fetched from {constants.ENDPOINT}: {reason}") from error
