"""One file with the counts of all processes that are gone, and a list of whom it includes.

It is written aside and renamed, and only then are the files of those processes removed. A reader that finds both,
after a crash in between, knows from the list that the files are in the sum already.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import struct
import zlib
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..store.inferences import inference_from
from ..store.layout import INFERENCE_LAYOUT, PROCESS_LAYOUT, STREAM_LAYOUT
from ..store.segment import Identity
from ..store.snapshot import Snapshot
from ..stream.record import StreamLabels
from .foreign import FLAGS

# Layouts do not mix: an agent of another version keeps a file of its own.
_LAYOUTS = (STREAM_LAYOUT, PROCESS_LAYOUT, INFERENCE_LAYOUT)
NAME = f"retired-{''.join(f'{layout.fingerprint:08x}' for layout in _LAYOUTS)}.sum"
_ASIDE = f".{NAME}.tmp"
_MAGIC = b"SVRETIR1"
_HEAD = struct.Struct("<8sII")
# Processes stay listed for some time after their files were removed: another reader may still have the files open.
_MAX_LISTED = 1000
# Larger than all label sets that are admitted, and the list. Bytes.
_MAX_SIZE = 64 * 1024 * 1024


@dataclass
class DeadProcesses:
    """The contents of the file when it was last read or written."""

    directory: str
    total: Snapshot = field(default_factory=Snapshot)
    included: dict[Identity, None] = field(default_factory=dict)
    _version: tuple[int, ...] = ()

    def load(self) -> bool:
        """Read the file if it has changed; return whether it had.

        Raises ValueError if it is damaged; what was read before stays, and it is not tried again.
        """
        version = self._version_there()
        if version == self._version:
            return False
        try:
            fd = os.open(self._path(NAME), FLAGS)
        except FileNotFoundError:
            return False
        try:
            found = os.fstat(fd)
            self._version = _version_of(found)
            if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_SIZE:
                raise ValueError("no regular file, or too large")
            raw = os.pread(fd, found.st_size, 0)
        finally:
            os.close(fd)
        self.total, self.included = _decode(raw)
        return True

    def write(self, others: Mapping[Identity, Snapshot], present: Iterable[Identity]) -> None:
        """Add what ``others`` counted to the file. ``present`` are those whose own files still exist.

        Only for who holds the directory's lock and has just called ``load``. Raises OSError and leaves
        everything as it was.
        """
        total = Snapshot()
        for one in (self.total, *others.values()):
            for labels, row in one.streams.items():
                total.add_streams(labels, row)
            total.add_process(one.process)
            for inference, numbers in one.inferences.items():
                total.add_inference(inference, numbers)
        must = {*others, *present}
        listed = [*self.included, *others]
        recent = set(listed[-_MAX_LISTED:])
        included = dict.fromkeys(i for i in listed if i in must or i in recent)
        aside = self._path(_ASIDE)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)  # of an agent that was killed
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(aside, flags, 0o600), "wb") as file:
            file.write(_encode(total, included))
            file.flush()
            version = _version_of(os.fstat(file.fileno()))
        os.rename(aside, self._path(NAME))
        self.total, self.included, self._version = total, included, version

    def _version_there(self) -> tuple[int, ...]:
        try:
            return _version_of(os.stat(self._path(NAME)))
        except OSError:
            return ()

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)


def _version_of(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _encode(total: Snapshot, included: Iterable[Identity]) -> bytes:
    facts = {"included": list(included), "labels": list(total.streams), "inferences": list(total.inferences)}
    text = json.dumps(facts).encode()
    numbers = array("d", total.process)
    for row in (*total.streams.values(), *total.inferences.values()):
        numbers.extend(row)
    body = text + numbers.tobytes()
    return _HEAD.pack(_MAGIC, zlib.crc32(body), len(text)) + body


def _decode(raw: bytes) -> tuple[Snapshot, dict[Identity, None]]:
    if len(raw) < _HEAD.size:
        raise ValueError("shorter than its header")
    magic, crc, length = _HEAD.unpack_from(raw)
    body = raw[_HEAD.size :]
    if magic != _MAGIC or crc != zlib.crc32(body):
        raise ValueError("damaged")
    facts = json.loads(body[:length])
    numbers = array("d", body[length:]).tolist()
    total = Snapshot(process=numbers[: PROCESS_LAYOUT.size])
    at = PROCESS_LAYOUT.size
    for operation, provider, model, server, custom in facts["labels"]:
        labels = StreamLabels(operation, provider, model, server, tuple((name, value) for name, value in custom))
        total.streams[labels] = numbers[at : at + STREAM_LAYOUT.size]
        at += STREAM_LAYOUT.size
    for attributes in facts["inferences"]:
        total.inferences[inference_from(attributes)] = numbers[at : at + INFERENCE_LAYOUT.size]
        at += INFERENCE_LAYOUT.size
    return total, {Identity(*identity): None for identity in facts["included"]}
