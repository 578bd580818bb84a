"""Some examples with source views of one kind, some of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from ...errors import InputError
from ...seeding import Part, torch_rng
from .base import Inputs

if TYPE_CHECKING:
    from ...views import ObjectRecord, PosedViews


class MixedInputs:
    """Each example's source views are of one of the `kinds`, drawn by its key.

    kinds: by name. shares: how often each is drawn, any numbers that don't sum to 0; None: equally often.
    """

    def __init__(self, *, kinds: Mapping[str, Inputs], shares: Mapping[str, float] | None = None) -> None:
        if not kinds:
            raise InputError("inputs.kinds is empty; give {name: inputs, ...}")
        shares = dict.fromkeys(kinds, 1.0) if shares is None else shares
        for name in (*kinds, *shares):
            if (name in kinds) != (name in shares):
                raise InputError(f"inputs: {name!r} stands in one of kinds and shares only")
        if any(share < 0 for share in shares.values()) or sum(shares.values()) <= 0:
            raise InputError(f"inputs.shares={dict(shares)}: must not be negative, nor all 0")
        self.kinds = dict(kinds)
        self.shares = torch.tensor([float(shares[name]) for name in kinds], dtype=torch.float64)
        self.wants_depth = any(kind.wants_depth for kind in kinds.values())

    def kind(self, key: Sequence[Part]) -> str:
        """The kind of the example that `key` names."""
        drawn = torch.multinomial(self.shares, 1, generator=torch_rng(*key, "kind of inputs"))
        return list(self.kinds)[int(drawn)]

    def __call__(
        self, record: ObjectRecord | None, sources: PosedViews, *, key: tuple[Part, ...]
    ) -> PosedViews:
        return self.kinds[self.kind(key)](record, sources, key=key)
