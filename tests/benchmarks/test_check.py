"""What make bench-check calls a loss."""

import json
from dataclasses import asdict

import check
import pytest

COMMITTED = {"lift/sparseneus/time": 4.0, "lift/sparseneus/memory": 8.0, "step/sdf_base/time": 10.0}


def seconds(cpu, growth):
    return {"cpu": {"median": cpu}, "growth": {"median": growth}}


def test_ratios_are_the_sticks_over_ours():
    mib = 2**20
    found = check.ratios(
        "network",
        {
            "stick gather": seconds(8.0, 800 * mib), "spconv": seconds(4.0, 800 * mib),
            "sparseneus": seconds(2.0, 200 * mib), "sdf_base": seconds(0.5, 1 * mib),
        },
    )  # fmt: skip
    assert found == {
        "network/sparseneus/time": 4.0, "network/sparseneus/memory": 4.0, "network/sdf_base/time": 16.0,
    }  # fmt: skip


def test_a_devices_own_time_goes_before_the_cpus():
    own = {**seconds(5.0, 0), "device": {"median": 0.1}}
    stick = {**seconds(5.0, 0), "device": {"median": 0.4}}
    assert check.ratios("rays", {"stick": stick, "sdf_base": own}) == {
        "rays/sdf_base/time": pytest.approx(4.0)
    }


@pytest.mark.parametrize(
    ("name", "now", "passed"),
    [
        ("lift/sparseneus/time", 3.01, True),
        ("lift/sparseneus/time", 2.99, False),
        ("lift/sparseneus/memory", 5.9, False),
        ("step/sdf_base/time", 20.0, True),
    ],
)
def test_more_than_a_quarter_is_a_loss(name, now, passed):
    verdict = check.compare(COMMITTED, {**COMMITTED, name: now})
    assert verdict.passed == passed
    assert verdict.lost == ({} if passed else {name: (COMMITTED[name], now)})
    assert list(verdict.gained) == ([name] if now > 13.4 else [])


def test_a_ratio_that_is_gone_fails_but_for_memory_too_small_to_see():
    without = {k: v for k, v in COMMITTED.items() if not k.endswith("memory")}
    assert check.compare(COMMITTED, without).passed
    verdict = check.compare(COMMITTED, {"lift/sparseneus/time": 4.0})
    assert verdict.missing == ["step/sdf_base/time"]
    assert not verdict.passed


@pytest.fixture
def kept(tmp_path):
    def write(**changes):
        record = {"sizes": asdict(check.SMALL), "device": "cpu", "ratios": COMMITTED} | changes
        path = tmp_path / "check.json"
        path.write_text(json.dumps(record))
        return path

    return write


@pytest.mark.parametrize(("factor", "status"), [(1.0, 0), (0.5, 1)])
def test_a_loss_is_measured_again_before_it_fails(kept, monkeypatch, capsys, factor, status):
    asked = []

    def measure(stages, options, *, repeats):
        asked.append((list(stages), repeats))
        share = 0.5 if len(asked) == 1 else factor
        return {
            k: v * (share if k.startswith("step") else 1)
            for k, v in COMMITTED.items()
            if k.split("/")[0] in stages
        }

    monkeypatch.setattr(check, "measure", measure)
    assert check.main(["lift", "step", "--kept", str(kept())]) == status
    assert asked == [(["lift", "step"], 3), (["step"], 6)]
    assert (
        "LOST step/sdf_base/time: 10.00 times less than the stick, now 5.00" in capsys.readouterr().out
    ) == (status == 1)


@pytest.mark.parametrize("changes", [{"device": "cuda"}, {"sizes": {"views": 2}}])
def test_ratios_of_another_device_or_size_say_nothing(kept, changes, capsys):
    assert check.main(["--kept", str(kept(**changes))]) == 2
    assert "renew" in capsys.readouterr().err


def test_without_committed_ratios(tmp_path, capsys):
    assert check.main(["--kept", str(tmp_path / "none.json")]) == 2
    assert "--renew" in capsys.readouterr().err
