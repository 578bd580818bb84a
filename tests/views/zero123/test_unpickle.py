"""Checkpoints with objects in them are read; those that mean harm do none, and end in one message."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict

import pytest
import torch
from tests.views.zero123.tiny import Stored, write_archive, write_original

from one2345.errors import CheckpointError
from one2345.views.zero123.lazy import LazyTensor
from one2345.views.zero123.pickle_machine import Record
from one2345.views.zero123.unpickle import read_checkpoint

FOUR = struct.pack("<4f", 1, 2, 3, 4)


@pytest.mark.parametrize("legacy", [False, True])
def test_what_lightning_and_omegaconf_leave_in_a_checkpoint(tmp_path, legacy):
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    tensors = {
        "plain": base,
        "part": base[1:3, 2:5],
        "turned": base.T,
        "half": base.half(),
        "brain": base.bfloat16(),
        "long": torch.tensor([1, -2]),
        "flags": torch.tensor([True, False]),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(base * 2),
    }
    content = read_checkpoint(write_original(tmp_path / "z.ckpt", tensors, legacy=legacy))
    assert content["global_step"] == 165000 and content["pytorch-lightning_version"] == "1.4.2"
    assert set(content["state_dict"]) == set(tensors)
    for name, tensor in tensors.items():
        lazy = content["state_dict"][name]
        assert isinstance(lazy, LazyTensor) and lazy.shape == tensor.shape
        assert lazy.load().dtype == tensor.dtype and torch.equal(lazy.load(), tensor.detach())
    hyper = content["hyper_parameters"]
    assert isinstance(hyper["scales"], Record) and hyper["scales"].name == "absent_lightning.ListConfig"
    assert hyper["none"] is None
    assert content["optimizer_states"][0]["param_groups"] == [{"lr": 1e-4}]


def test_tensors_are_read_one_at_a_time(tmp_path):
    state = {f"w{i}": torch.full((2**20,), float(i)) for i in range(8)}  # of 4 MB each
    file = write_original(tmp_path / "z.ckpt", state)
    tracemalloc.start()
    content = read_checkpoint(file)
    assert float(content["state_dict"]["w5"].load()[7]) == 5.0
    assert tracemalloc.get_traced_memory()[1] < 2.5 * 2**22
    tracemalloc.stop()


class Harm:
    """Pickled as a call."""

    def __init__(self, what, *arguments, state=None) -> None:
        self.made = (what, arguments) if state is None else (what, arguments, state)

    def __reduce__(self):
        return self.made


@pytest.mark.parametrize("place", ["state", "hyper", "key", "nested"])
def test_calls_are_not_made(tmp_path, place):
    mark = tmp_path / "sprung"
    for harm in (
        Harm(os.system, f"touch {mark}"),
        Harm(eval, f"open({str(mark)!r}, 'w')"),
        Harm(exec, f"open({str(mark)!r}, 'w')"),
        Harm(open, str(mark), "w"),
        Harm(io.FileIO, str(mark), "w"),
        Harm(torch.load, str(mark)),
        Harm(OrderedDict, (), state={"__class__": Harm(os.system, f"touch {mark}")}),
    ):
        content = {
            "state": {"state_dict": {"w": harm}},
            "hyper": {"state_dict": {}, "hyper_parameters": harm},
            "key": {"state_dict": {}, harm: 1},
            "nested": {"state_dict": {"w": Harm(OrderedDict, [("a", harm)])}},
        }[place]
        file = write_archive(tmp_path / "z.ckpt", content)
        read = read_checkpoint(file)
        assert isinstance(read, dict) and "state_dict" in read
    assert not mark.exists()


def test_the_harmful_file_is_one(tmp_path):
    """That the test above tests something: torch without `weights_only` springs it."""
    mark = tmp_path / "sprung"
    file = write_archive(tmp_path / "z.ckpt", {"state_dict": Harm(os.system, f"touch {mark}")})
    read_checkpoint(file)
    assert not mark.exists()
    torch.load(file, weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize(
    "call",
    [
        b"cos\nsystem\n(S'touch %s'\ntR",
        b"(S'touch %s'\nios\nsystem\n",
        b"(cos\nsystem\nS'touch %s'\no",
        b"\x8c\x02os\x8c\x06system\x93(S'touch %s'\ntR",
        b"cos\nsystem\n(S'touch %s'\nt\x81",
        b"cos\nsystem\n(S'touch %s'\nt}\x92",
        b"ccollections\nOrderedDict\n)R(S'__setstate__'\ncos\nsystem\ndb(S'touch %s'\ntb",
        b"ctorch._utils\n_rebuild_tensor_v2\n(S'a'\ncos\nsystem\nd(S'__defaults__'\nS'touch %s'\nd\x86b",
        b"ctorch._utils\n_rebuild_parameter\n(cos\nsystem\n(S'touch %s'\ntRtR",
        b"cone2345.views.zero123.pickle_machine\nRecord\n(S'__class__'\ncos\nsystem\ndb",
    ],
)
def test_every_instruction_that_calls_or_sets_is_inert(tmp_path, call):
    mark = tmp_path / "sprung"
    call = call.replace(b"%s", str(mark).encode())
    before = torch._utils._rebuild_tensor_v2.__defaults__, dict(torch._utils._rebuild_tensor_v2.__dict__)
    file = write_archive(tmp_path / "z.ckpt", b"\x80\x02}S'x'\n" + call + b"s.")
    read = read_checkpoint(file)
    assert set(read) == {"x"} and not callable(read["x"])
    assert not mark.exists()
    assert (
        torch._utils._rebuild_tensor_v2.__defaults__,
        dict(torch._utils._rebuild_tensor_v2.__dict__),
    ) == before


def test_depth_and_size_do_not_bring_it_down(tmp_path):
    many = 200_000
    deep_lists = b"\x80\x02}S'x'\n" + b"]" * many + b"a" * (many - 1) + b"s."
    deep_key = b"\x80\x02})" + b"\x85" * many + b"K\x01s."
    for content in (deep_lists, deep_key):
        assert isinstance(read_checkpoint(write_archive(tmp_path / "z.ckpt", content)), dict)
    tracemalloc.start()
    far_memo = b"\x80\x02}r\xff\xff\xff\x7f."  # C's pickle would make room for all that come before
    read_checkpoint(write_archive(tmp_path / "z.ckpt", far_memo))
    long_text = b"\x80\x02}X\xff\xff\xff\x7fshort"
    with pytest.raises(CheckpointError):
        read_checkpoint(write_archive(tmp_path / "z.ckpt", long_text))
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize(
    "pickled",
    [b"", b"\x80\x02", b"\x80\x02.", b"\x80\x02}a.", b"\x80\x02]s.", b"\x80\x02(.", b"\x80\x02h\x07.", b"\x80\x02\x85.",
     b"\x80\x02}K\x01K\x02K\x03(u.", b"\x80\x05\x97.", b"\x80\x02\x82\x01.", b"\x80\x02}Q.", b"\x80\x02]}]s.", b"no"],
)  # fmt: skip
def test_damaged_pickles_end_in_one_message(tmp_path, pickled):
    file = write_archive(tmp_path / "z.ckpt", pickled)
    with pytest.raises(CheckpointError, match=r"z\.ckpt: ") as caught:
        read_checkpoint(file)
    assert "\n" not in str(caught.value)


def tensor_file(path, stored, storages, **options):
    return write_archive(path, {"state_dict": {"w": stored}}, storages, **options)


def test_a_tensor_written_by_hand_is_read(tmp_path):
    """The counterpart of the lies below."""
    read = read_checkpoint(tensor_file(tmp_path / "z", Stored(shape=(2, 2), stride=(1, 2)), {"0": FOUR}))
    assert read["state_dict"]["w"].load().tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    ("stored", "storages", "message"),
    [
        (Stored(count=2**40), {"0": FOUR}, "storage 0 has 16 bytes, not 1099511627776"),
        (Stored(count=-1), {"0": FOUR}, "storage 0 has -1 numbers"),
        (Stored(shape=(5,)), {"0": FOUR}, r"reaches beyond its storage of 4"),
        (Stored(offset=1), {"0": FOUR}, r"reaches beyond its storage of 4"),
        (Stored(offset=-1), {"0": FOUR}, "are no numbers"),
        (Stored(stride=(-1,)), {"0": FOUR}, "are no numbers"),
        (Stored(stride=(2,)), {"0": FOUR}, r"reaches beyond"),
        (Stored(shape=(2**40,), stride=(0,)), {"0": FOUR}, "repeats the 4 numbers"),
        (Stored(shape=(2, 2)), {"0": FOUR}, "without a storage"),
        (Stored(kind=torch.DoubleStorage), {"0": FOUR}, "storage 0 has 16 bytes, not 4 torch.float64"),
        (Stored(key="1"), {"0": FOUR}, "no entry 'archive/data/1'"),
        (Stored(key="../../../secret"), {"0": FOUR}, "a reference to something that is no storage"),
        (Stored(key="/etc/passwd"), {"0": FOUR}, "a reference to something that is no storage"),
    ],
)
def test_storages_that_lie(tmp_path, stored, storages, message):
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tensor_file(tmp_path / "z.ckpt", stored, storages))


def test_archives_that_lie(tmp_path):
    with pytest.raises(CheckpointError, match=r"entry 'archive/data\.pkl' is compressed"):
        read_checkpoint(tensor_file(tmp_path / "z", Stored(), {"0": FOUR}, compressed=True))
    with pytest.raises(CheckpointError, match="0 pickles in it"):
        read_checkpoint(tensor_file(tmp_path / "z", Stored(), {"0": FOUR}, root="../../outside"))
    file = tensor_file(tmp_path / "z", Stored(), {"0": FOUR})
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("../../../outside", b"x")
        archive.writestr("/outside", b"x")
    assert read_checkpoint(file)["state_dict"]["w"].load().tolist() == [1, 2, 3, 4]
    assert {f.name for f in tmp_path.iterdir()} == {"z"}
    file = tensor_file(tmp_path / "z", Stored(), {"0": FOUR})
    file.write_bytes(file.read_bytes().replace(FOUR, FOUR[::-1]))
    read = read_checkpoint(file)
    with pytest.raises(CheckpointError, match=r"storage 0 can't be read \(Bad CRC"):
        read["state_dict"]["w"].load()


def test_files_that_are_none(tmp_path):
    file = tmp_path / "z.ckpt"
    for content in (b"", b"PK\x03\x04 no archive", b"<html>", b"\x80\x02", pickle.dumps({"a": 1})):
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"z\.ckpt: damaged, or not a file of torch\.save"):
            read_checkpoint(file)
    legacy = write_original(file, {"w": torch.arange(100.0)}, legacy=True).read_bytes()
    file.write_bytes(legacy[:-40])
    with pytest.raises(CheckpointError, match="is not as large as its tensors say"):
        read_checkpoint(file)
