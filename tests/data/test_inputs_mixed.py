"""Mixed inputs: which kind an example gets depends on its key alone, as often as the shares say."""

from __future__ import annotations

from collections import Counter

import pytest

from one2345.data.inputs import ExactInputs, MixedInputs
from one2345.errors import InputError


class Named:
    """Answers with its name in place of views."""

    def __init__(self, name: str, *, wants_depth: bool = False) -> None:
        self.name, self.wants_depth = name, wants_depth

    def __call__(self, record, sources, *, key):
        return self.name, sources, key


def test_kinds_are_drawn_by_the_key_as_often_as_their_shares() -> None:
    mixed = MixedInputs(kinds={"a": Named("a"), "b": Named("b")}, shares={"a": 3, "b": 1})
    keys = [(0, epoch, 0, f"object-{i}") for epoch in range(40) for i in range(50)]
    kinds = [mixed(None, "views", key=key) for key in keys]
    assert all(kind[1:] == ("views", key) for kind, key in zip(kinds, keys, strict=True))
    count = Counter(kind[0] for kind in kinds)
    assert count["a"] / len(keys) == pytest.approx(0.75, abs=0.03)
    assert kinds == [mixed(None, "views", key=key) for key in keys]


def test_without_shares_all_kinds_are_as_likely() -> None:
    mixed = MixedInputs(kinds={"a": Named("a"), "b": Named("b", wants_depth=True)})
    assert mixed.wants_depth
    assert not MixedInputs(kinds={"exact": ExactInputs()}).wants_depth
    count = Counter(mixed.kind((0, i)) for i in range(2000))
    assert count["a"] / 2000 == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize(
    ("shares", "message"),
    [({"a": 1}, "'b' stands in one"), ({"a": 0, "b": 0}, "nor all 0"), ({"a": 2, "b": -1}, "negative")],
)
def test_shares_that_say_nothing_are_refused(shares: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MixedInputs(kinds={"a": Named("a"), "b": Named("b")}, shares=shares)
