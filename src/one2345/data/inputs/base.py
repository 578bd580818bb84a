"""What stands between stored views and the network, and the case in which nothing does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ...seeding import Part

if TYPE_CHECKING:
    from ...views import ObjectRecord, PosedViews


class Inputs(Protocol):
    """Turns the true source views of an object into those that the network is given.

    Names, roles and parents stay as they are; images and masks may change, and cameras where a network is to be given
    wrong ones (else the poses are nominal).
    `key` is (seed, epoch, object id) or whatever names the draw: the same key gives the same bytes, whatever
    the order of the views and whichever process asks. wants_depth: whether true depth of the sources helps.
    """

    wants_depth: bool

    def __call__(
        self, record: ObjectRecord | None, sources: PosedViews, *, key: tuple[Part, ...]
    ) -> PosedViews: ...


class ExactInputs:
    """The true renders, unchanged."""

    wants_depth = False

    def __call__(
        self, record: ObjectRecord | None, sources: PosedViews, *, key: tuple[Part, ...]
    ) -> PosedViews:
        return sources
