"""How a command's process uses the machine: threads that sleep while they wait, memory that stays once it is taken."""

import ctypes
import os
from collections.abc import Mapping

# Parameters of mallopt(3) of the GNU C library, and what they are set to.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_NEVER, _PAD = -1, 2**28


def use_well(environment: Mapping[str, str] = os.environ) -> None:
    """To be called before torch is imported, which reads OMP_WAIT_POLICY then. What the user has set stays.

    Threads of OpenMP that spin while they wait make a step up to 80 times slower where others share the cores. Large
    tensors come from the kernel page by page and go back at once: a training step on a CPU frees and takes them all the
    time, and spends up to half of its time on page faults. So freed memory is kept, where the C library is GNU's.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if any(name.startswith("MALLOC_") for name in environment):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, _NEVER)
    mallopt(_M_TOP_PAD, _PAD)
