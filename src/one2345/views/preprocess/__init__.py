"""Any picture to the input of a view synthesiser: read, cut out, centred on white."""

from .framing import crop_on_white
from .picture import InputPicture, Segment, prepare_picture
from .plain_background import PlainCut, cut_plain_background
from .source import SourcePicture, picture_size, read_source

__all__ = [
    "InputPicture",
    "PlainCut",
    "Segment",
    "SourcePicture",
    "crop_on_white",
    "cut_plain_background",
    "picture_size",
    "prepare_picture",
    "read_source",
]
