"""What this machine and this installation are good for: python -m one2345.cli.doctor

Reports on torch, the packages of every extra, kaolin, disk, SLURM and what OpenMP was told, then tries the code itself
for some seconds. Status 1 if something that is needed is broken.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from itertools import groupby

from one2345.cli import machine
from one2345.cli.environment import Finding, Level, findings
from one2345.cli.exit_codes import CRASH, DONE
from one2345.cli.self_test import self_test


def run(argv: list[str] | None = None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m one2345.cli.doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--no-test", action="store_true", help="only report, try nothing")
    given = parser.parse_args(argv)
    given_environment = dict(os.environ)
    machine.use_well()
    found = list(findings(given_environment))
    if not given.json:
        show(found)
    if not given.no_test:
        for check in self_test():
            level = Level.FINE if check.works else Level.BROKEN
            found.append(Finding("self-test", check.name, check.detail, level, note=f"{check.seconds:.1f} s"))
            if not given.json:
                show(found[-1:], heading=check.name == "configuration")
    broken = [f for f in found if f.level is Level.BROKEN]
    if given.json:
        print(json.dumps({"works": not broken, "findings": [asdict(f) for f in found]}, indent=1))
    else:
        print(
            "\n" + (f"broken: {', '.join(f.name for f in broken)}" if broken else "all that is needed works")
        )
    return CRASH if broken else DONE


def show(found: Iterable[Finding], *, heading: bool = True) -> None:
    """One line a finding, those of one section together."""
    marks = {Level.FINE: "  ", Level.WARNING: "! ", Level.BROKEN: "X "}
    for section, lines in groupby(found, key=lambda f: f.section):
        if heading:
            print(f"\n{section}")
        for line in lines:
            note = f"  ({line.note})" if line.note else ""
            print(f"{marks[line.level]}{line.name:<24} {line.value}{note}", flush=True)


if __name__ == "__main__":
    sys.exit(run())
