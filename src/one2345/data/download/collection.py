"""What a collection of Gazebo Fuel holds, and under which addresses."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from one2345.errors import InputError
from one2345.views import check_id

from .fetch import NotThere, Patience, read

log = logging.getLogger(__name__)

PER_PAGE = 100
MOST_PAGES = 1000


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Models of one owner on a server with the interface of Gazebo Fuel, version 1.0.

    url: of the server's interface. models: how many the collection is known to hold, or None.
    """

    url: str = "https://fuel.gazebosim.org/1.0"
    owner: str
    name: str
    models: int | None = None

    def page_url(self, page: int) -> str:
        query = urlencode(
            {"page": page, "per_page": PER_PAGE, "q": f"collections:{self.name}"}, quote_via=quote, safe=":"
        )
        return f"{self.url.rstrip('/')}/models?{query}"

    def model_url(self, id: str) -> str:
        return f"{self.url.rstrip('/')}/{quote(self.owner, safe='')}/models/{quote(id, safe='')}.zip"

    def ids(self, *, patience: Patience | None = None, stop: threading.Event | None = None) -> list[str]:
        """Sorted names of all models. Pages are read until one has nothing new: a page may be short, and the
        last one be answered by 404.

        Raises InputError when the server answers with anything else, or lists none.
        """
        found: set[str] = set()
        for page in range(1, MOST_PAGES + 1):
            try:
                names = self._names(read(self.page_url(page), patience=patience, stop=stop), page)
            except NotThere:
                if page == 1:
                    raise
                break
            if not names - found:
                break
            found |= names
        if not found:
            raise InputError(f"{self.page_url(1)}: lists no models of {self.owner}")
        if self.models is not None and len(found) != self.models:
            log.warning(
                "%s: lists %d models; %s is known to have %d",
                self.page_url(1),
                len(found),
                self.name,
                self.models,
            )
        return sorted(found)

    def _names(self, content: bytes, page: int) -> set[str]:
        try:
            rows = json.loads(content)
            names = {str(row["name"]) for row in rows or [] if row.get("owner", self.owner) == self.owner}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{self.page_url(page)}: answers with no list of models, but with {content[:40]!r}"
            ) from error
        return {check_id(name) for name in names}


# Downs et al., ICRA 2022: 1,030 models, CC-BY-4.0.
GSO = Collection(owner="GoogleResearch", name="Scanned Objects by Google Research", models=1030)
