"""Memory that a command has freed is kept, unless the user has told the allocator something else."""

import os
import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys
from one2345.cli import machine
if sys.argv[1] == "well":
    machine.use_well()
import os, torch
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(16):  # in which the heap finds its shape
    torch.ones(2**24).add_(1)
before = faults()
for _ in range(8):
    torch.ones(2**24).add_(1)
print(os.environ.get("OMP_WAIT_POLICY"), faults() - before)
"""


def run(how: str, **told: str) -> tuple[str, int]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "OMP_"))} | told
    done = subprocess.run(
        [sys.executable, "-c", CODE, how], env=environment, capture_output=True, text=True, check=True
    )
    policy, faults = done.stdout.split()
    return policy, int(faults)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the allocator is not that of the GNU C library"
)
def test_freed_memory_is_kept_and_threads_sleep() -> None:
    policy, kept = run("well")
    assert policy == "PASSIVE"
    policy, usual = run("as it is")
    assert policy == "None" and usual > 1000 and kept < usual / 4


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the allocator is not that of the GNU C library"
)
def test_what_the_user_has_set_stays() -> None:
    policy, faults = run("well", OMP_WAIT_POLICY="ACTIVE", MALLOC_ARENA_MAX="2")
    assert policy == "ACTIVE" and faults > 1000
