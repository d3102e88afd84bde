"""A Parquet file's digest, inside the file: page checksums leave its headers and its footer unguarded.

The digest is a value of the footer's metadata, 64 hex digits, taken over the file with zeros in their place.
"""

import hashlib
import re

KEY = b"mutransfer.digest"
BLANK = b"0" * 64
_PLACE = re.compile(re.escape(KEY) + rb".{1,8}?([0-9a-f]{64})", re.DOTALL)


def seal(data: bytes) -> bytes:
    """The file with its digest put where `KEY: BLANK` was written."""
    *_, place = _PLACE.finditer(data)
    digest = hashlib.sha256(data).hexdigest().encode()
    return data[: place.start(1)] + digest + data[place.end(1) :]


def is_sealed(data: bytes) -> bool:
    return _PLACE.search(data) is not None


def is_intact(data: bytes) -> bool:
    """Whether the file is as it was sealed; true of files that never were."""
    places = list(_PLACE.finditer(data))
    if not places:
        return True
    start, end = places[-1].span(1)
    blanked = data[:start] + BLANK + data[end:]
    return hashlib.sha256(blanked).hexdigest().encode() == data[start:end]
