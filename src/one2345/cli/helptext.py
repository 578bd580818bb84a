"""What --help prints: the command, its groups with their options, its keys as conf/<name>.yaml has them."""

import sys
from pathlib import Path

from one2345.cli.compose import groups
from one2345.paths import conf_dir


def help_text(name: str, docstring: str) -> str:
    """The help of command `name`, whose module says what it does."""
    text = (conf_dir() / f"{name}.yaml").read_text(encoding="utf-8")
    head, _, body = text.partition("\n# keys\n")
    used = [g for g in groups() if f"- {g}:" in head or f"- override {g}:" in head]
    program = Path(sys.argv[0]).name
    program = f"python {program}" if program.endswith(".py") else program
    lines = [
        docstring.strip(),
        "",
        f"usage: {program} [group=option ...] [key=value ...]",
        "",
        "groups and options:",
    ]
    width = max((len(group) for group in used), default=0) + 2
    lines += [f"  {group:<{width}}{', '.join(groups()[group])}" for group in used]
    lines += ["", "keys (any key of the groups too, as in trainer.max_steps=100):"]
    lines += [f"  {line}".rstrip() for line in body.strip().splitlines()]
    lines += [
        "",
        "Paths and texts need no quoting beyond the shell's. -m runs every combination of key=a,b",
        "(paths: key=[a,b]). --cfg job prints the configuration instead of running.",
    ]
    return "\n".join(lines)
