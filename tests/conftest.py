"""Tests use the machine as the commands do."""

import pytest

from one2345.cli import machine

machine.use_well()

LONG = 3000
"""Seconds; a test that may take that long is not to be the last one, with the other processes idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that may take longest come first, the others in their order."""
    limits = {item: item.get_closest_marker("timeout") for item in items}
    items.sort(key=lambda item: (limit := limits[item]) is None or not limit.args or limit.args[0] < LONG)
