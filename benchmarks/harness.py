"""Times of several ways to the same number, interleaved in one run."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

Values = Mapping[str, float]


@dataclass(frozen=True)
class Contest:
    """ways: by name, calls that each compute the same values. ours, baseline: names among them. bar: how many
    times less wall and CPU time ours shall take than the baseline. tolerance: how far values may differ."""

    title: str
    subject: str
    ways: Mapping[str, Callable[[], Values]]
    ours: str = ""
    baseline: str = ""
    bar: float | None = None
    tolerance: float | None = None


@dataclass
class Times:
    """Seconds of each repetition, and the values of the last one. cpu: user and system, all threads."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    values: Values = field(default_factory=dict)


def run(
    contests: Sequence[Contest], *, repeats: int, say: Callable[[str], None] = print
) -> list[dict[str, Any]]:
    """The contests' results as plain dicts. One repetition to warm up, then `repeats` that count; in each, every
    way of every contest once, so that a change in the machine's load falls on all of them."""
    times = [{name: Times() for name in contest.ways} for contest in contests]
    for repeat in range(repeats + 1):
        for contest, kept in zip(contests, times, strict=True):
            names = list(contest.ways)
            turn = repeat % len(names)
            for name in names[turn:] + names[:turn]:
                wall, cpu = time.perf_counter(), time.process_time()
                values = contest.ways[name]()
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                if repeat:
                    kept[name].wall.append(wall)
                    kept[name].cpu.append(cpu)
                kept[name].values = values
        say(f"repetition {repeat} of {repeats}" if repeat else "warmed up")
    return [_result(contest, kept) for contest, kept in zip(contests, times, strict=True)]


def _result(contest: Contest, times: Mapping[str, Times]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "title": contest.title,
        "subject": contest.subject,
        "ways": {
            name: {
                "wall": _spread(t.wall),
                "cpu": _spread(t.cpu),
                "values": {k: float(v) for k, v in t.values.items()},
            }
            for name, t in times.items()
        },
    }
    if contest.baseline:
        ours, base = times[contest.ours], times[contest.baseline]
        gain = {
            clock: median(
                b / max(a, 1e-9) for a, b in zip(getattr(ours, clock), getattr(base, clock), strict=True)
            )
            for clock in ("wall", "cpu")
        }
        result |= {"ours": contest.ours, "baseline": contest.baseline, "gain": gain, "bar": contest.bar}
        if contest.bar is not None:
            result["met"] = min(gain.values()) >= contest.bar
    if contest.tolerance is not None:
        keys = {key for t in times.values() for key in t.values}
        seen = {key: [float(t.values[key]) for t in times.values() if key in t.values] for key in keys}
        result["difference"] = max((max(v) - min(v) for v in seen.values()), default=0.0)
        result["tolerance"] = contest.tolerance
        result["agree"] = result["difference"] <= contest.tolerance
    return result


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": median(seconds), "low": min(seconds), "high": max(seconds)}


def machine(packages: Sequence[str]) -> dict[str, Any]:
    """What the times depend on."""
    versions: dict[str, str] = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "packages": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


def markdown(report: Mapping[str, Any]) -> str:
    """A table per title: one line per way and subject, median (lowest to highest) in milliseconds."""
    where = report["machine"]
    load = "unknown" if where["load"] is None else f"{where['load']:.1f}"
    lines = [
        f"{where['processor']}, {where['cores']} cores, load at the start {load}; {report['date']}; "
        f"median (lowest to highest) of {report['repeats']} interleaved repetitions.",
    ]
    for title in dict.fromkeys(r["title"] for r in report["results"]):
        lines += [
            "",
            f"## {title}",
            "",
            "| subject | way | wall ms | CPU ms | gain wall, CPU | values |",
            "|---|---|---|---|---|---|",
        ]
        for result in (r for r in report["results"] if r["title"] == title):
            for name, way in result["ways"].items():
                gain = ""
                if name == result.get("ours"):
                    gain = f"{result['gain']['wall']:.1f}x, {result['gain']['cpu']:.1f}x"
                    if result["bar"] is not None:
                        gain += f" (bar {result['bar']:g}x: {'met' if result['met'] else 'missed'})"
                values = ", ".join(f"{k} {v:.6g}" for k, v in way["values"].items())
                lines.append(
                    f"| {result['subject']} | {name} | {_ms(way['wall'])} | {_ms(way['cpu'])} | {gain} | {values} |"
                )
        apart = [r["difference"] for r in report["results"] if r["title"] == title and "difference" in r]
        if apart:
            lines += ["", f"Values differ by at most {max(apart):.1e}."]
    return "\n".join(lines) + "\n"


def _ms(spread: Mapping[str, float]) -> str:
    return " ".join(
        (f"{1e3 * spread['median']:.3g}", f"({1e3 * spread['low']:.3g} to {1e3 * spread['high']:.3g})")
    )


def as_json(report: Mapping[str, Any]) -> str:
    return json.dumps(report, indent=1, allow_nan=False) + "\n"
