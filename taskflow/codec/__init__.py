"""Objects to sealed bytes and back; the only place where anything is pickled or unpickled.

``payload`` is the door: `Codec`. Behind it::

    pickling   objects and bytes            functions  what a function takes along
    plain      what plain pickle does       sources    the lines of code that is in no file
    stored     what is stored on its own    failure    errors as text and as exceptions
    signing    seals, and a ring of keys    keys       where keys are kept
    culprit    what cannot travel
    named      calls by name, in JSON       typed      JSON with a few more types
    fingerprint  what a function does, and what a value is, in every process
    installed  what changes with its version only
    whole      what is kept outside of a store, in one piece
"""

from __future__ import annotations

from taskflow.codec.functions import Loaded
from taskflow.codec.keys import Key
from taskflow.codec.named import NamedCodec
from taskflow.codec.payload import INLINE_MAX, NAMED, Codec, TooMuch, blob_names, value_bytes
from taskflow.codec.pickling import Kept, Reference
from taskflow.codec.signing import Keyring

__all__ = [
    "INLINE_MAX",
    "NAMED",
    "Codec",
    "Kept",
    "Key",
    "Keyring",
    "Loaded",
    "NamedCodec",
    "Reference",
    "TooMuch",
    "blob_names",
    "value_bytes",
]
