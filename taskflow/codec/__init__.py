"""Objects to sealed bytes and back; the only place where anything is pickled or unpickled.

``payload`` is the door: `Codec`. Behind it::

    pickling   objects and bytes            functions  what a function takes along
    plain      what plain pickle does       sources    the lines of code that is in no file
    stored     what is stored on its own    failure    errors as text and as exceptions
    signing    keys and seals               culprit    what cannot travel
"""

from __future__ import annotations

from taskflow.codec.functions import Loaded
from taskflow.codec.payload import INLINE_MAX, Codec, TooMuch, blob_names, value_bytes
from taskflow.codec.pickling import Kept, Reference
from taskflow.codec.signing import Key, Keyring

__all__ = [
    "INLINE_MAX",
    "Codec",
    "Kept",
    "Key",
    "Keyring",
    "Loaded",
    "Reference",
    "TooMuch",
    "blob_names",
    "value_bytes",
]
