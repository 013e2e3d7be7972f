"""Where do the features of a network that never learns lie, so that they are computed once?"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from cxrvl.data.store_lock import exclusive
from cxrvl.errors import DataError
from cxrvl.files import read_json, write_json

FORMAT = 1
KEY_BYTES = 32
_META, _KEYS, _VALUES, _LOCK = "store.json", "keys.bin", "values.f32", "lock"


class FeatureStore:
    """Features by a key of their input, for one network: a folder with a memory-mapped table that grows.

    Values are appended before their keys, under a lock, so that a killed process leaves at most values without a key,
    which the next one overwrites. Several processes may read and append at once.

    Args:
        root: folder of all stores; this one is named by kind and network.
        kind: what is stored, such as text_tower.
        network: SHA-256 hex of the network and of all that its features depend on besides the input.

    Raises:
        DataError: what lies there belongs to another network or format, or is damaged.
    """

    def __init__(self, root: Path, kind: str, network: str) -> None:
        self.folder = root / "features" / f"{kind}-{network[:16]}"
        self.kind, self.network = kind, network
        self.width: int | None = None
        self._row: dict[bytes, int] = {}
        self._read = 0
        self._map: np.ndarray | None = None
        if (self.folder / _META).is_file():
            self._check()
            self.refresh()

    def __len__(self) -> int:
        return len(self._row)

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Return the places of keys (B,) that are not here, each different key once."""
        if any(key not in self._row for key in keys):
            self.refresh()
        first: dict[bytes, int] = {}
        for place, key in enumerate(keys):
            if key not in self._row:
                first.setdefault(key, place)
        return list(first.values())

    def take(self, keys: Sequence[bytes]) -> np.ndarray:
        """Return the features (B, F) float32 of keys that are all here."""
        rows = np.array([self._row[key] for key in keys], dtype=np.int64)
        assert self.width is not None
        if self._map is None or len(self._map) <= rows.max():
            self._map = np.memmap(self.folder / _VALUES, np.float32, "r", shape=(self._read, self.width))
        return np.asarray(self._map[rows])

    def add(self, keys: Sequence[bytes], values: np.ndarray) -> None:
        """Append features (B, F) of different keys; those that another process has added meanwhile stay as they are.

        Raises:
            DataError: features of another width, or none that are numbers.
        """
        if not np.isfinite(values).all():
            raise DataError(f"the {self.kind} gives features that are NaN or infinite; they are not stored")
        with exclusive(self.folder / _LOCK, lambda: None):
            if (self.folder / _META).is_file():
                self._check()
            else:
                self.width = values.shape[1]
                meta = {"format": FORMAT, "kind": self.kind, "network": self.network, "width": self.width}
                write_json(self.folder / _META, meta)
            if values.shape[1] != self.width:
                raise DataError(
                    f"{self.folder} holds features of width {self.width}, found {values.shape[1]}; remove the folder"
                )
            self.refresh()
            new = [place for place, key in enumerate(keys) if key not in self._row]
            if new:
                self._append([keys[place] for place in new], values[new].astype(np.float32))
                self.refresh()

    def refresh(self) -> None:
        """Learn of what other processes have added."""
        path = self.folder / _KEYS
        content = b""
        if path.is_file():
            with path.open("rb") as file:
                file.seek(self._read * KEY_BYTES)
                content = file.read()
        for start in range(0, len(content) - len(content) % KEY_BYTES, KEY_BYTES):
            self._row[content[start : start + KEY_BYTES]] = self._read
            self._read += 1
        if self._read:
            assert self.width is not None
            there = (self.folder / _VALUES).stat().st_size if (self.folder / _VALUES).is_file() else 0
            if there < self._read * self.width * 4:
                raise DataError(
                    f"{self.folder} is damaged: {self._read} keys, {there} bytes of values; remove the folder"
                )

    def _append(self, keys: Sequence[bytes], values: np.ndarray) -> None:
        assert self.width is not None
        with _opened(self.folder / _VALUES) as file:
            file.seek(self._read * self.width * 4)
            file.write(np.ascontiguousarray(values).tobytes())
            file.truncate()
        with _opened(self.folder / _KEYS) as file:
            file.seek(self._read * KEY_BYTES)
            file.write(b"".join(keys))
            file.truncate()

    def _check(self) -> None:
        meta = read_json(self.folder / _META)
        expected = {"format": FORMAT, "kind": self.kind, "network": self.network}
        if not isinstance(meta, dict) or {key: meta.get(key) for key in expected} != expected:
            found = meta.get("network") if isinstance(meta, dict) else meta
            raise DataError(
                f"{self.folder} holds features of another network (SHA-256 {str(found)[:16]}..., this one is "
                f"{self.network[:16]}...) or of another format; remove the folder, and they are computed again"
            )
        self.width = int(meta["width"])


def content_key(*parts: bytes) -> bytes:
    """Return a key of an input: the SHA-256 of its parts, with their lengths."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def _opened(path: Path) -> IO[bytes]:
    return path.open("r+b" if path.is_file() else "w+b")
