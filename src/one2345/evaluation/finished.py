"""What one object gave, and where it is kept until all others are measured, too."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from one2345.files import write_atomic

from .report import ObjectPictures, Strips
from .summary import Row

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """All that one object gave under one protocol, the number of which in the request is given."""

    protocol: int
    object: str
    rows: tuple[Row, ...]
    truth: Mapping[str, Any]
    thickness: float
    pictures: ObjectPictures | None

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Outcome:
        """From what `asdict` makes of one. Raises KeyError or TypeError for anything else."""
        fields: dict[str, Any] = {**given, "rows": tuple(Row(**row) for row in given["rows"])}
        if given["pictures"] is not None:
            shown: dict[str, Any] = dict(given["pictures"])
            shown["predictions"] = {name: Strips(**strip) for name, strip in shown["predictions"].items()}
            fields["pictures"] = ObjectPictures(**shown)
        return cls(**fields)


class Finished:
    """Outcomes of objects, a JSON file for each in `folder`, from which an evaluation that was stopped goes on.

    key: what decides the outcomes; those of another key, and files that can't be read, are as if they weren't there.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key

    def outcomes(self, id: str) -> list[Outcome] | None:
        """What an object gave, by protocol; None where it is still to be measured."""
        file = self._file(id)
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            if found["key"] == self.key:
                return [Outcome.from_dict(one) for one in found["outcomes"]]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s: can't be read and is measured anew (%s)", file, error)
            return None
        log.info("%s: of other code, settings or files; %s is measured anew", file, id)
        return None

    def keep(self, id: str, outcomes: Sequence[Outcome]) -> None:
        """Write an object's file, whole or not at all."""
        document = {"key": self.key, "outcomes": [asdict(one) for one in outcomes]}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self._file(id), json.dumps(document))

    def drop(self, ids: Sequence[str]) -> None:
        """Remove the files of these objects, and the folder if nothing else is in it."""
        for id in ids:
            self._file(id).unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _file(self, id: str) -> Path:
        return self.folder / f"{id}.json"
