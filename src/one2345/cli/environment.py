"""What is installed here and what the machine offers, as findings that say what to do where something is amiss."""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

from one2345 import __version__

PROJECT = "one2345"
MIN_FREE_GB = 5.0
# Extras of people who work on the code.
TOOLS = ("dev", "docs")
OMP_ADVICE = "OMP_WAIT_POLICY=PASSIVE: on shared cores threads that spin while they wait cost up to 80 times"


class Level(StrEnum):
    """warning: worth a look, but nothing that is needed. broken: commands will fail."""

    FINE = "fine"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """One line of the report. note: what to do, or what it is for."""

    section: str
    name: str
    value: str
    level: Level = Level.FINE
    note: str = ""


def findings(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Everything but the self-test. environment: variables as the process was given them."""
    yield from machine()
    yield from torch_facts()
    yield from packages(metadata.requires(PROJECT) or [])
    yield from kaolin()
    yield from disk(("working folder", Path.cwd()), ("temporary files", Path(tempfile.gettempdir())))
    yield from slurm(environment)
    yield from threads(environment)


def machine() -> Iterator[Finding]:
    """Interpreter, processors, memory."""
    yield Finding("machine", "one2345", __version__)
    level = Level.FINE if sys.version_info >= (3, 11) else Level.BROKEN
    yield Finding(
        "machine", "python", platform.python_version(), level, "" if level is Level.FINE else "needs 3.11"
    )
    yield Finding("machine", "system", platform.platform())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("machine", "cores of this process", f"{cores} of {os.cpu_count()}")
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        yield Finding("machine", "memory", f"{memory:.1f} GB")


def torch_facts() -> Iterator[Finding]:
    """torch and its devices."""
    try:
        import torch
    except Exception as error:  # noqa: BLE001 (a broken build fails in many ways)
        yield Finding(
            "torch", "torch", f"{type(error).__name__}: {error}", Level.BROKEN, "install torch anew"
        )
        return
    yield Finding("torch", "torch", torch.__version__)
    if torch.version.cuda is None:
        yield Finding("torch", "CUDA", "this build of torch has none: everything runs on the CPU")
    elif not torch.cuda.is_available():
        note = "nvidia-smi shows whether the driver is older than that"
        yield Finding("torch", "CUDA", f"built for {torch.version.cuda}, no device here", Level.WARNING, note)
    else:
        yield Finding("torch", "CUDA", torch.version.cuda)
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            value = (
                f"{device.name}, {device.total_memory / 2**30:.0f} GB, compute {device.major}.{device.minor}"
            )
            yield Finding("torch", f"cuda:{index}", value)
        yield Finding("torch", "NCCL", "yes" if torch.distributed.is_nccl_available() else "no")


def packages(requirements: Iterable[str]) -> Iterator[Finding]:
    """What the project asks for, core first. Missing is broken in the core, and else names the extra."""
    for text in requirements:
        wanted = Requirement(text)
        extra = _extra(wanted)
        if extra in TOOLS or (extra is None and wanted.marker is not None and not wanted.marker.evaluate()):
            continue
        if extra and wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        yield _package(wanted, extra)
    if _version("torchvision") is not None:
        note = "where it does not fit torch it breaks transformers: pip uninstall torchvision"
        yield Finding("packages", "torchvision", "installed, and not used", Level.WARNING, note)


def _package(wanted: Requirement, extra: str | None) -> Finding:
    section = f"packages: {extra}" if extra else "packages"
    found = _version(wanted.name)
    if found is None and extra:
        return Finding(section, wanted.name, "not installed", note=f"pip install '{PROJECT}[{extra}]'")
    if found is None:
        return Finding(
            section, wanted.name, "missing", Level.BROKEN, f"pip install '{wanted.name}{wanted.specifier}'"
        )
    if not wanted.specifier.contains(found, prereleases=True):
        level = Level.WARNING if extra else Level.BROKEN
        return Finding(section, wanted.name, found, level, f"needs {wanted.specifier}")
    return Finding(section, wanted.name, found)


def kaolin() -> Iterator[Finding]:
    """The optional back end: the library, PyPI's placeholder, or nothing."""
    try:
        from one2345.kaolin.library import PLACEHOLDERS, install_advice, status
    except Exception as error:  # noqa: BLE001 (it imports torch)
        yield Finding("kaolin", "kaolin", f"{type(error).__name__}: {error}", Level.WARNING)
        return
    found = status()
    if found.usable:
        yield Finding("kaolin", "kaolin", found.version or "of unknown version")
        return
    placeholder = found.version in PLACEHOLDERS
    value = f"{found.version}, a placeholder" if placeholder else (found.version or "not installed")
    if found.version is None and not _there("kaolin"):
        yield Finding("kaolin", "kaolin", value, note=f"optional; {install_advice()}")
    else:
        yield Finding("kaolin", "kaolin", value, Level.WARNING, found.problem or "")


def disk(*folders: tuple[str, Path]) -> Iterator[Finding]:
    """Room, and whether it can be written to."""
    for name, folder in folders:
        try:
            free = shutil.disk_usage(folder).free / 2**30
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"x")
        except OSError as error:
            yield Finding("disk", name, str(error), Level.BROKEN, "nothing can be written there")
            continue
        low = free < MIN_FREE_GB
        note = "a training run keeps some GB of checkpoints and data" if low else ""
        yield Finding("disk", name, f"{free:.1f} GB free", Level.WARNING if low else Level.FINE, note)


def slurm(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether jobs can be handed in, and whether this process is in one."""
    if (sbatch := shutil.which("sbatch")) is None:
        yield Finding("SLURM", "sbatch", "not installed")
    else:
        try:
            done = subprocess.run(
                [sbatch, "--version"], capture_output=True, text=True, timeout=10, check=False
            )
            good, value = done.returncode == 0, " ".join((done.stdout or done.stderr).split())
        except (OSError, subprocess.TimeoutExpired) as error:
            good, value = False, str(error)
        yield Finding("SLURM", "sbatch", value, Level.FINE if good else Level.WARNING)
        if shutil.which("scontrol") is None:
            yield Finding(
                "SLURM", "scontrol", "not installed", Level.WARNING, "preempted jobs cannot be requeued by it"
            )
    if job := environment.get("SLURM_JOB_ID"):
        asked = {
            "tasks": "SLURM_NTASKS", "cores": "SLURM_CPUS_PER_TASK", "GPUs": "SLURM_GPUS_ON_NODE",
            "restarts": "SLURM_RESTART_COUNT",
        }  # fmt: skip
        given = ", ".join(f"{k} {environment[v]}" for k, v in asked.items() if v in environment)
        yield Finding("SLURM", "this job", f"{job} ({given})" if given else job)


def threads(environment: Mapping[str, str]) -> Iterator[Finding]:
    """What OpenMP and the C library's allocator are told."""
    policy = environment.get("OMP_WAIT_POLICY")
    passive = policy is None or policy.upper() == "PASSIVE"
    yield Finding(
        "threads",
        "OMP_WAIT_POLICY",
        policy or "not set: commands take PASSIVE",
        Level.FINE if passive else Level.WARNING,
        "" if passive else OMP_ADVICE,
    )
    yield Finding("threads", "OMP_NUM_THREADS", environment.get("OMP_NUM_THREADS", "not set"))
    told = [f"{name}={value}" for name, value in sorted(environment.items()) if name.startswith("MALLOC_")]
    yield Finding("threads", "allocator", " ".join(told) or "commands keep freed memory")


def _extra(wanted: Requirement) -> str | None:
    match = re.search(r"extra == ['\"]([\w-]+)['\"]", str(wanted.marker or ""))
    return match[1] if match else None


def _there(module: str) -> bool:
    """Whether anything of that name could be imported, installed or lying in the path."""
    return find_spec(module) is not None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
