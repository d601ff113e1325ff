"""Objects to sealed bytes and back; the only place where anything is pickled or unpickled.

``payload`` is the door: `Codec`. Behind it: ``pickling`` (objects and bytes), ``plain`` (what plain pickle
does), ``stored`` (what is stored on its own, by its content), ``functions`` (what a function takes along),
``sources`` (the lines of code that is in no file), ``signing`` (keys and seals), ``failure`` (errors as text and
as exceptions) and ``culprit`` (what cannot travel).
"""

from __future__ import annotations

from taskflow.codec.functions import Loaded
from taskflow.codec.payload import INLINE_MAX, Codec, blob_names
from taskflow.codec.pickling import Kept, Reference
from taskflow.codec.signing import Key, Keyring

__all__ = ["INLINE_MAX", "Codec", "Kept", "Key", "Keyring", "Loaded", "Reference", "blob_names"]
