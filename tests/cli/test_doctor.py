"""The report on a machine, and that it notices what is broken."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from one2345.cli import doctor, environment, self_test
from one2345.cli.environment import Finding, Level
from one2345.kaolin import library


def named(found, name: str) -> Finding:
    (one,) = (f for f in found if f.name == name)
    return one


def test_all_of_it_as_a_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "one2345.cli.doctor", "--json"],
        cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(done.stdout)
    assert found["works"] is True
    tests = [f for f in found["findings"] if f["section"] == "self-test"]
    assert [f["name"] for f in tests] == ["configuration", "ray cast", "extraction", "network"]
    assert all(f["level"] == "fine" and f["value"] for f in tests)
    assert {"torch", "packages", "kaolin", "disk", "SLURM", "threads"} <= {
        f["section"] for f in found["findings"]
    }
    assert not list(tmp_path.iterdir())


def test_broken_parts_are_found_each_by_itself(monkeypatch, capsys) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("libembree4.so.4:\n cannot open shared object file")

    parts = (
        "objects.MeshObject.render",
        "meshing.Extractor.__call__",
        "training.ReconstructionModule.losses",
    )
    for part in parts:
        monkeypatch.setattr(f"one2345.{part}", broken)
    monkeypatch.setattr(doctor, "findings", lambda _: [])
    assert doctor.run([]) == 1
    said = capsys.readouterr().out
    assert "broken: ray cast, extraction, network\n" in said
    assert said.count("OSError: libembree4.so.4: cannot open shared object file") == said.count("\nX ") == 3
    assert "conf/train.yaml composes" in said


def test_wrong_results_are_found_too(monkeypatch) -> None:
    """Not only what raises: a ray caster that is off by an inch."""
    from one2345.objects import MeshObject

    render = MeshObject.render

    def shifted(self, cameras):
        found = render(self, cameras)
        return SimpleNamespace(depth=found.depth + 0.05)

    monkeypatch.setattr(MeshObject, "render", shifted)
    with pytest.raises(RuntimeError, match=r"depths are off by up to 0\.05"):
        self_test._ray_cast()


def test_a_missing_or_old_package_of_the_core_is_broken_and_one_of_an_extra_is_not(monkeypatch) -> None:
    versions = {"torch": "2.5.0", "gradio": "5.0", "numpy": "2.1"}

    def version(name: str) -> str:
        if name in versions:
            return versions[name]
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    found = list(
        environment.packages(
            ["torch>=2.6", "numpy>=2.0", "scipy>=1.13", 'gradio>=5.40; extra == "demo"', 'viser>=1; extra == "demo"',
             'ruff>=1; extra == "dev"', 'triton; platform_system == "Nowhere" and extra == "bench"']
        )
    )  # fmt: skip
    assert {f.name: f.level for f in found} == {
        "torch": Level.BROKEN, "numpy": Level.FINE, "scipy": Level.BROKEN, "gradio": Level.WARNING,
        "viser": Level.FINE,
    }  # fmt: skip
    assert named(found, "torch").note == "needs >=2.6"
    assert named(found, "scipy").note == "pip install 'scipy>=1.13'"
    assert named(found, "viser").note == "pip install 'one2345[demo]'"
    versions["torchvision"] = "0.28"
    assert "pip uninstall torchvision" in named(environment.packages([]), "torchvision").note


def test_the_placeholder_of_kaolin_is_recognised(monkeypatch) -> None:
    said = library._problem(ImportError("This is the kaolin placeholder wheel", name="kaolin.x"))
    monkeypatch.setattr(library, "status", lambda: library.Status(False, "0.1", said))
    (found,) = environment.kaolin()
    assert found.level is Level.WARNING and "placeholder" in found.value
    assert "pip uninstall -y kaolin" in found.note


def test_no_room_and_no_right_to_write(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    (found,) = environment.disk(("here", tmp_path))
    assert found.level is Level.WARNING and found.value == "1.0 GB free"
    (found,) = environment.disk(("gone", tmp_path / "gone"))
    assert found.level is Level.BROKEN


def test_slurm_and_threads(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert named(environment.slurm({}), "sbatch").value == "not installed"
    program = tmp_path / "sbatch"
    program.write_text(f"#!{sys.executable}\nprint('slurm-wlm 22.05')")
    program.chmod(0o755)
    found = list(environment.slurm({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_RESTART_COUNT": "1"}))
    assert named(found, "sbatch").value == "slurm-wlm 22.05"
    assert named(found, "scontrol").level is Level.WARNING
    assert named(found, "this job").value == "7 (tasks 2, restarts 1)"
    assert named(environment.threads({"OMP_WAIT_POLICY": "ACTIVE"}), "OMP_WAIT_POLICY").level is Level.WARNING
    assert named(environment.threads({}), "OMP_WAIT_POLICY").level is Level.FINE
    told = environment.threads({"MALLOC_ARENA_MAX": "1"})
    assert named(told, "allocator").value == "MALLOC_ARENA_MAX=1"
    assert named(environment.threads({"OMP_WAIT_POLICY": "passive"}), "OMP_WAIT_POLICY").level is Level.FINE


def test_the_version_of_torch_is_told() -> None:
    assert named(environment.torch_facts(), "torch").value == torch.__version__
