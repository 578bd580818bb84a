"""What --help prints: the command with examples, its groups and keys as conf/<name>.yaml has them; --help GROUP the
options of a group, each with the first comment of its file."""

import re
import shutil
import sys
import textwrap
from pathlib import Path

from one2345.build import did_you_mean
from one2345.cli.compose import groups
from one2345.errors import InputError
from one2345.paths import conf_dir

WIDEST, NARROWEST = 120, 60
_INCLUDED = re.compile(r"^  - (\w+)$", re.MULTILINE)
_DEFAULT = re.compile(r"^\s*- (?:override )?(\w+): (\S+)", re.MULTILINE)


def help_text(name: str, docstring: str, of: str | None = None) -> str:
    """The help of command `name`, whose module says what it does; of: only the options of this group.

    Raises InputError for a group that the command does not have.
    """
    head, _, body = (conf_dir() / f"{name}.yaml").read_text(encoding="utf-8").partition("\n# keys\n")
    heads = [head, *(_head(other) for other in _INCLUDED.findall(head))]
    defaults = {group: option for h in heads for group, option in _DEFAULT.findall(h) if group in groups()}
    program = _program(name)
    if of is not None:
        if of not in defaults:
            near = did_you_mean(of, defaults) or f"; it has {', '.join(sorted(defaults)) or 'none'}"
            raise InputError(f"--help {of}: {name} has no such group{near}")
        return "\n".join(_options(of, defaults[of]))
    lines = [docstring.strip(), "", f"usage: {program} [group=option ...] [key=value ...]"]
    if examples := [line[2:].strip() for line in head.splitlines() if line.startswith("#   ")]:
        lines += ["", "examples:", *(f"  {line}" for line in examples)]
    if defaults:
        lines += ["", f"groups and options (* default; {program} --help GROUP says what each option is):"]
        width = max(map(len, defaults)) + 4
        for group in sorted(defaults):
            marked = [f"{o}*" if o == defaults[group] else o for o in groups()[group]]
            lines += _hanging(f"  {group}".ljust(width), ", ".join(marked))
    and_groups = " (any key of the groups too, as in trainer.max_steps=100)" if name == "train" else ""
    lines += ["", f"keys{and_groups}:"]
    for line in body.strip("\n").splitlines():
        lines += _key(f"  {line}".rstrip())
    lines += [
        "",
        "Paths and texts need no quoting beyond the shell's. -m runs every combination of key=a,b",
        "(paths: key=[a,b]). --cfg job prints the configuration instead of running.",
    ]
    return "\n".join(lines)


def _head(name: str) -> str:
    """The head of another command's file that a command's own includes."""
    file = conf_dir() / f"{name}.yaml"
    return file.read_text(encoding="utf-8").partition("\n# keys\n")[0] if file.is_file() else ""


def _program(name: str) -> str:
    """What the user typed to come here; some stages of prepare are commands of their own."""
    called = Path(sys.argv[0]).name
    if called == "__main__.py":
        return f"python -m {sys.modules['__main__'].__spec__.parent}"  # type: ignore[union-attr]
    program = f"python {called}" if called.endswith(".py") else called
    return f"{program} stage={name}" if name in ("predict", "pack", "status") else program


def _options(group: str, default: str) -> list[str]:
    """Every option of a group, with what its file says of itself."""
    lines = [f"{group}=... (* default)"]
    names = groups()[group]
    width = max(map(len, names)) + 5
    for name in names:
        text = (conf_dir() / group / f"{name}.yaml").read_text(encoding="utf-8")
        said = (line[2:] for line in text.splitlines() if line.startswith("# ") and "@package" not in line)
        lines += _hanging(f"  {name}{'*' if name == default else ''}".ljust(width), next(said, ""))
    return lines


def _key(line: str) -> list[str]:
    """A line of YAML; a comment that is too long for the terminal goes on below its beginning."""
    code, mark, comment = line.partition("# ")
    return _hanging(code + mark, comment, below=" " * len(code) + mark) if mark else [line]


def _hanging(first: str, text: str, *, below: str | None = None) -> list[str]:
    """`text` after `first`, wrapped to the terminal; further lines start with `below` (as many spaces)."""
    width = min(max(shutil.get_terminal_size((WIDEST, 24)).columns, NARROWEST), WIDEST)
    below = " " * len(first) if below is None else below
    if len(first) > width // 2:  # no room to wrap in
        return [first + text]
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=below,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]
