"""Interpreters that stand in for the one with bpy, and behave well or badly on purpose."""

from __future__ import annotations

import sys
from pathlib import Path

HEAD = """#!{python}
import json, os, signal, subprocess, sys, time
from pathlib import Path
if sys.argv[-1] == "--version":
    print("noise first")
    print("{version}")
    sys.exit()
job_file = Path(sys.argv[-1])
job = json.loads(job_file.read_text())
result = job_file.parent / job["result"]
count = len(job["cameras"]) * job["size"][0] * job["size"][1] * 8
"""


def fake_blender(folder: Path, body: str, *, version: str = "5.0.1") -> Path:
    """An executable that knows `job`, `result` (the file to write) and `count` (of floats), and does `body`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "python"
    file.write_text(HEAD.format(python=sys.executable, version=version) + body)
    file.chmod(0o755)
    return file
