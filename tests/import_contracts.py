"""The two kinds of contract that pyproject.toml states: which room imports which, and who may use a library.

import-linter's own kinds would need the complement of every allowed set, spelled out once per room. These
take what the design says, let rooms that do not exist yet be named, and break when a room has no line.
"""

from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

PACKAGE = "one2345"


def parse(lines: list[str]) -> dict[str, set[str]]:
    """`["models: geometry rendering"]` -> `{"models": {"geometry", "rendering"}}`."""
    table: dict[str, set[str]] = {}
    for line in lines:
        name, _, rest = line.partition(":")
        if name in table:
            raise ValueError(f"two lines for {name!r}")
        table[name.strip()] = set(rest.split())
    return table


def room(module: str) -> str:
    """`one2345.data.inputs.exact` -> `data`; the package itself -> the empty string."""
    return module.removeprefix(PACKAGE).removeprefix(".").partition(".")[0]


class ArrowsContract(Contract):
    """Each line `room: a b` lets the room import a, b, itself and the open rooms; `*` is any room."""

    open_rooms = fields.ListField(subfield=fields.StringField())
    arrows = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        table = parse(cast(list[str], self.arrows))
        always = set(cast(list[str], self.open_rooms))
        ours = sorted(m for m in graph.modules if m == PACKAGE or m.startswith(PACKAGE + "."))
        faults: list[str] = []
        for name in sorted({room(m) for m in ours} - {""} - set(table)):
            faults.append(f"{PACKAGE}.{name} has no line in the arrows of pyproject.toml")
        for importer in ours:
            allowed = table.get(room(importer), set())
            for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                target = room(imported)
                ours_too = imported.startswith(PACKAGE + ".")
                if not ours_too or target == room(importer) or "*" in allowed:
                    continue
                if target in allowed or (target in always and room(importer) not in always):
                    continue
                faults.append(_describe(graph, importer, imported))
        return ContractCheck(kept=not faults, metadata={"faults": faults})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for fault in check.metadata["faults"]:
            output.print_error(fault)


class LibrariesContract(Contract):
    """Each line `library: a b.c` keeps the library to room a and module b.c; none named, nowhere."""

    libraries = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        faults: list[str] = []
        for library, places in parse(cast(list[str], self.libraries)).items():
            if library not in graph.modules:
                continue
            for importer in sorted(graph.find_modules_that_directly_import(library)):
                inner = importer.removeprefix(PACKAGE + ".")
                if not any(inner == place or inner.startswith(place + ".") for place in places):
                    faults.append(_describe(graph, importer, library))
        return ContractCheck(kept=not faults, metadata={"faults": faults})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for fault in check.metadata["faults"]:
            output.print_error(fault)


def _describe(graph: ImportGraph, importer: str, imported: str) -> str:
    lines = [str(d["line_number"]) for d in graph.get_import_details(importer=importer, imported=imported)]
    return f"{importer} may not import {imported} (line {', '.join(lines)})"
