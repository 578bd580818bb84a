"""Values that are text or paths, put in quotes before Hydra's override grammar reads them.

`image=my photo, (1).png` is one file name, not a sweep over two. Whatever follows the `=` of a key listed
here is taken literally: commas, spaces, brackets, `=`, quotes, backslashes, `${`, non-ASCII letters. The one
word with a meaning is `null`, which unsets the key (a file of that name is `./null`).
"""

import re

from one2345.errors import InputError

# One list for all commands. A key matches whole; deeper keys of a listed one do not.
TEXT_KEYS = frozenset(
    {
        "text",
        "image",
        "ckpt",
        "weights",
        "root",
        "views.weights",
        "posed",
        "views.object",
        "views.root",
        "text_to_image.weights",
        "elevation_estimator.matcher.weights",
        "truth",
        "evaluate.list",
        "evaluate.cache",
        "appearance.clip",
        "appearance.lpips_trunk",
        "appearance.lpips_linear",
        "out",
        "resume",
        "data.root",
        "data.manifest",
        "data.list",
        "inputs.root",
        "source.root",
        "source.manifest",
        "source.list",
        "source.split_file",
        "source.url",
        "render.python",
        "run.root",
        "run.id",
        "run.name",
        "logger.wandb.project",
        "logger.wandb.name",
        "logger.wandb.entity",
    }
)
# Keys that hold a mapping from names to paths, `meshes={ours: DIR1, theirs: DIR2}`, or one path.
MAPPING_KEYS = frozenset({"meshes", "evaluate.checkpoints"})

_OVERRIDE = re.compile(r"(?P<prefix>\+{0,2})(?P<key>[A-Za-z_][\w.]*)=(?P<value>.*)", re.DOTALL)
_BACKSLASHES_THEN_QUOTE = re.compile(r"(\\*)('|\Z)")
_BACKSLASHES_THEN_DOLLAR = re.compile(r"(\\*)\$\{")
_ENTRY = re.compile(r"""(?:^|,)\s*("[^"]*"|'[^']*'|[^,:{}"']+?)\s*:\s*""")


def quote(text: str) -> str:
    """Hydra's spelling of exactly `text`, interpolations (`${...}`) switched off."""
    body = _BACKSLASHES_THEN_QUOTE.sub(lambda m: m[1] * 2 + ("\\'" if m[2] else ""), literal(text))
    return f"'{body}'"


def literal(text: str) -> str:
    """OmegaConf's spelling of exactly `text`: backslashes escape only before an interpolation."""
    return _BACKSLASHES_THEN_DOLLAR.sub(lambda m: m[1] * 2 + r"\${", text)


def quote_overrides(argv: list[str], *, multirun: bool = False) -> list[str]:
    """`argv` with the values of text and mapping keys quoted.

    Under `multirun` a text key sweeps only over an explicit list, `data.root=[DIR1,DIR2]`.
    """
    return [_quote_one(argument, multirun) for argument in argv]


def _quote_one(argument: str, multirun: bool) -> str:
    match = _OVERRIDE.fullmatch(argument)
    if match is None:
        return argument
    head, key, value = f"{match['prefix']}{match['key']}=", match["key"], match["value"]
    if key in MAPPING_KEYS and value.startswith("{") and value.endswith("}"):
        return head + _quote_mapping(key, value[1:-1])
    if key not in TEXT_KEYS | MAPPING_KEYS or value == "null":
        return argument
    if multirun and value.startswith("[") and value.endswith("]"):
        return head + ",".join(quote(item) for item in _split(value[1:-1]))
    return head + quote(value)


def _quote_mapping(key: str, inner: str) -> str:
    entries = list(_ENTRY.finditer(inner))
    names = [_bare(e[1]) for e in entries]
    if inner.strip() and (not entries or entries[0].start() > 0):
        raise InputError(f"{key}={{{inner}}}: expected {{name: folder, ...}}")
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise InputError(f"{key}={{{inner}}}: the name {twice[0]!r} stands twice")
    ends = [e.start() for e in entries[1:]] + [len(inner)]
    values = [_bare(inner[e.end() : end].strip()) for e, end in zip(entries, ends)]
    return "{" + ", ".join(f"{_escaped(n)}: {quote(v)}" for n, v in zip(names, values)) + "}"


def _escaped(name: str) -> str:
    """A key of a mapping; Hydra's grammar has no quotes there."""
    return re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", name)


def _split(inner: str) -> list[str]:
    """Items of a list: separated by commas, an item in quotes keeps its own commas."""
    items = re.findall(r"""\s*("[^"]*"|'[^']*'|[^,]*)\s*(?:,|$)""", inner)
    if items and items[-1] == "" and not inner.rstrip().endswith(","):
        items.pop()
    return [_bare(item.strip()) for item in items if item.strip()]


def _bare(item: str) -> str:
    return item[1:-1] if len(item) >= 2 and item[0] == item[-1] and item[0] in "'\"" else item
