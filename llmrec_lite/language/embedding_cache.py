"""Chapter 9: embeddings kept on disk, under the hash of their text."""

from __future__ import annotations

import hashlib
import sqlite3
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import numpy as np
from filelock import FileLock

# What a damaged file does not cause: then the file is left alone, and out.
_NOT_DAMAGE = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_BUSY", "SQLITE_PERM")


class EmbeddingCache:
    """Vectors in an SQLite file, one file a model, under the hash of the text.

    Every access holds a lock and opens the file anew, so that several processes can share it and a damaged file
    can be set aside while nobody has it open. Each row carries its own check sum.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self, texts: Iterable[str]) -> dict[str, tuple[np.ndarray, bool]]:
        """Return the vectors that are there, and whether each text was cut."""
        found: dict[str, tuple[np.ndarray, bool]] = {}

        def look(connection: sqlite3.Connection) -> None:
            for text in texts:
                key = hashlib.sha256(text.encode()).digest()
                row = connection.execute("SELECT vector, cut, sum FROM vectors WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    if row[2] != self._sum(key, *row[:2]):
                        raise sqlite3.DatabaseError("a check sum is wrong")
                    found[text] = (np.frombuffer(row[0], "<f4"), bool(row[1]))

        return found if self._with_file(look) else {}

    def write(self, vectors: dict[str, tuple[np.ndarray, bool]]) -> None:
        """Keep vectors, and whether each text was cut."""
        rows = []
        for text, (vector, cut) in vectors.items():
            key, blob = hashlib.sha256(text.encode()).digest(), vector.astype("<f4").tobytes()
            rows.append((key, blob, int(cut), self._sum(key, blob, int(cut))))
        self._with_file(lambda c: c.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)", rows))

    @staticmethod
    def _sum(key: bytes, vector: object, cut: object) -> bytes:
        return hashlib.sha256(key + (vector if isinstance(vector, bytes) else b"") + repr(cut).encode()).digest()

    def _with_file(self, work: Callable[[sqlite3.Connection], object]) -> bool:
        """Do something with the open file; where that fails, say so and go on without what it holds."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.file}.lock"):
                try:
                    with closing(sqlite3.connect(self.file, timeout=60)) as connection, connection:
                        columns = "key BLOB PRIMARY KEY, vector BLOB, cut INTEGER, sum BLOB"
                        connection.execute(f"CREATE TABLE IF NOT EXISTS vectors ({columns}) WITHOUT ROWID")
                        work(connection)
                    return True
                except sqlite3.Error as error:
                    if getattr(error, "sqlite_errorname", "").startswith(_NOT_DAMAGE):
                        raise OSError(error) from error
                    aside = self.file.with_suffix(".damaged")
                    self.file.replace(aside)
                    Path(f"{self.file}-journal").unlink(missing_ok=True)
                    print(f"Embeddings: {self.file} was damaged ({error}). It is now {aside.name}, and what is "
                          "needed of it is computed again.", file=sys.stderr)  # fmt: skip
        except OSError as error:
            print(f"Embeddings are not kept: {self.file.parent} cannot be used ({error}). Make it writable, or "
                  "name another folder with cache=...", file=sys.stderr)  # fmt: skip
        return False
