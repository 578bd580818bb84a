"""Tests use the machine as the commands do."""

from one2345.cli import machine

machine.use_well()
