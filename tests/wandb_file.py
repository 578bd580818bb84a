"""The file in which Weights & Biases keeps an offline run, read back: blocks of LevelDB's log, records of protobuf."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

HEADER, BLOCK, HEAD = 7, 1 << 15, 7


def records(file: Path) -> Iterator[Any]:
    """Every record of a .wandb file, in order."""
    data = file.read_bytes()
    assert data[:4] == b":W&B"
    at, parts = HEADER, b""
    while at + HEAD <= len(data):
        room = BLOCK - at % BLOCK
        if room < HEAD:  # a block's rest that no head fits in is filled up
            at += room
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEAD])
        parts += data[at + HEAD : at + HEAD + length]
        at += HEAD + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record
