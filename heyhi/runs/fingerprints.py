"""An index from fingerprints to frozen runs, so that two ids of one config find each other.

<experiment root>/.heyhi/fingerprints/5b      a line "5b154d9b7ef77ffd p/c02_sup_train/sl/default_d7517139"

256 files however many runs there are: each is read in a moment, and no quota of files is eaten up.
"""

import errno
import os
from pathlib import Path

from heyhi import files

__all__ = ["ids_of", "note"]

# A link, a fifo, a folder, in a root that others can write to.
_NOT_OURS = (errno.ELOOP, errno.ENXIO, errno.EISDIR)


def ids_of(experiment_root: Path, fingerprint: str) -> list[str]:
    """The ids of all runs that were ever frozen with this fingerprint; some may be gone."""
    try:
        lines = files.read_text(_notes(experiment_root, fingerprint), "surrogateescape").splitlines()
    except OSError:
        return []
    start = f"{fingerprint} "
    return list(dict.fromkeys(line.removeprefix(start) for line in lines if line.startswith(start)))


def note(experiment_root: Path, fingerprint: str, run_id: str) -> None:
    """Leave a note that a run is frozen with a fingerprint. Raises OSError."""
    if run_id in ids_of(experiment_root, fingerprint):
        return
    notes = _notes(experiment_root, fingerprint)
    notes.parent.mkdir(parents=True, exist_ok=True)
    # One write of one line, so that processes do not mix. The newline before it ends what a killed process
    # may have left half written.
    line = f"\n{fingerprint} {run_id}\n".encode("utf-8", "surrogateescape")
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(notes, flags, 0o666)
    except OSError as problem:
        if problem.errno not in _NOT_OURS:
            raise
        return  # then nothing finds this run by its config
    try:
        os.write(descriptor, line if _is_cut(notes) else line[1:])
    finally:
        os.close(descriptor)


def _is_cut(notes: Path) -> bool:
    """True if the last line has no end."""
    return not files.read(notes).endswith(b"\n") if notes.stat().st_size else False


def _notes(experiment_root: Path, fingerprint: str) -> Path:
    return experiment_root / ".heyhi" / "fingerprints" / fingerprint[:2]
