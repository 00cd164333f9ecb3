"""The scans of a JPEG file: each is a pass over the whole image, however few bytes it has.

A few hundred kilobytes of scans can hold a decoder for minutes
(https://libjpeg-turbo.org/pmwiki/uploads/About/TwoIssueswiththeJPEGStandard.pdf).
"""

import re

# Encoders write at most a few dozen.
MAX_SCANS = 100

START_OF_SCAN = b"\xff\xda"
MARKER = re.compile(rb"\xff+([^\x00\xff])")  # ff 00 is a byte of pixel data
END_OF_IMAGE = 0xD9
WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}


def has_too_many_scans(data: bytes) -> bool:
    """Whether a JPEG file has more than `MAX_SCANS` scans before its end (ITU-T T.81, annex B)."""
    if data.count(START_OF_SCAN) <= MAX_SCANS:
        return False
    # What looks like scans may be a thumbnail's, or a film that a camera put after the end.
    scans, at = 0, 0
    while found := MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        if marker == END_OF_IMAGE:
            return False
        if marker in WITHOUT_LENGTH:
            continue
        scans += marker == START_OF_SCAN[1]
        if scans > MAX_SCANS:
            return True
        at += int.from_bytes(data[at : at + 2])
    return False
