"""Output files, written whole: a reader, or a kill -9, never meets half of one."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes what `write` puts into the open file, beside `path`, and moves it there.

    One writer at a time: what a killed one left half written, the next one writes over.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole, in UTF-8."""
    write_whole(path, lambda stream: stream.write(text.encode()))
