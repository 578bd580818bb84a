"""Any picture to the input of a view synthesiser: read, cut out, centred on white."""

from .picture import InputPicture, Segment, prepare_picture
from .plain_background import PlainCut, cut_plain_background
from .source import SourcePicture, read_source

__all__ = [
    "InputPicture",
    "PlainCut",
    "Segment",
    "SourcePicture",
    "cut_plain_background",
    "prepare_picture",
    "read_source",
]
