"""A batch from Python: what a bash script with `python run.py ...` lines says, as method calls.

    batch = heyhi.Batch("lr-sweep")
    for lr in (0.1, 0.01):
        training = batch.add("conf/c02_sup_train/sl.prototxt", lr=lr)
        model = {"agent_one.base_strategy_model.model_path": training / "model.json"}
        batch.add("conf/c01_ag_cmp/cmp.prototxt", **model)
    print(batch.plan())
    batch.start()

It is written as such a script, so that all that works with one works with it.
"""

import numbers
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heyhi.batch import Captured, Line, Listing, drivers, entries, make_agenda, of_batch, read_states
from heyhi.config import NULL, Composer, escape_word, find_base, load_messages, notebooks
from heyhi.errors import HeyhiError, UsageError
from heyhi.files import write_whole
from heyhi.look import batch_records, columns, frame
from heyhi.project import display, find_project
from heyhi.runs import Invocation, make_draft, parse_argv, to_mode

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Batch"]


class Batch:
    """A list of runs, to be listed or started together.

    Its name is that of the script that `start` writes. Raises UsageError if no file can be called so.
    """

    def __init__(self, name: str = "batch") -> None:
        if name != os.path.basename(name) or not name.strip(".") or "\0" in name:
            raise UsageError(f"a batch cannot be called {name!r}: its name becomes that of a file")
        self.name = name
        self._project = find_project()
        self._composer = Composer(self._project, load_messages(self._project))
        self._lines: list[Line] = []

    def add(
        self,
        cfg: str | os.PathLike[str],
        overrides: Sequence[str] = (),
        *,
        mode: str | None = None,
        after: Sequence[str | os.PathLike[str]] = (),
        **fields: Any,
    ) -> Path:
        """Add a run: `overrides` as typed on the command line, `fields` by their dotted paths (None: NULL).

        Returns its folder, where its files will be. Raises HeyhiError if it cannot be composed, or has a
        field of several values: these are overrides (`tags.-1=a`).
        """
        base = find_base(os.fspath(cfg), self._project)
        argv = [
            "-c",
            os.path.relpath(base, self._project.root),
            *overrides,
            *(f"{key}={_text(key, value)}" for key, value in fields.items()),
        ]
        argv += [word for folder in after for word in ("--after", os.fspath(folder))]
        argv += ["--mode", mode] if mode else []
        invocation = parse_argv(argv)
        folder = self._folder(invocation, base)
        caller = sys._getframe(1)
        where = f"{_source(caller.f_code.co_filename)}:{caller.f_lineno}"
        root = self._project.root
        self._lines.append(Line(tuple(argv), str(root / "run.py"), root, where))
        return folder

    def _folder(self, invocation: Invocation, base: Path) -> Path:
        composition = self._composer.compose(base, invocation.overrides)
        root = self._project.experiment_root
        return make_draft(invocation, self._project, composition, base, root).run.folder

    def plan(self, mode: str = "gentle_start") -> Listing:
        """The pending runs, and why, as `heyhi plan` lists them: print it, or let a notebook show it.

        Raises BatchError with all that is wrong.
        """
        return self._listing(mode)

    def _listing(self, mode: str, *, every: bool = False) -> Listing:
        batch = self._composed()
        return Listing(make_agenda(batch, to_mode(mode), read_states(batch)), every=every)

    def _composed(self) -> entries.Batch:
        return entries.compose_lines(self.name, Captured(tuple(self._lines)), self._project)

    def __repr__(self) -> str:
        return f"Batch {self.name!r}, {len(self._lines)} run{'' if len(self._lines) == 1 else 's'}"

    def _repr_html_(self) -> str:
        """All its runs, with what each is, for a notebook."""
        try:
            return self._listing("gentle_start", every=True)._repr_html_()
        except HeyhiError as problem:  # of no run, or of one that is to be mended by another line yet
            return notebooks.table((), caption=repr(self), notes=str(problem).splitlines())

    def summary(self) -> "pd.DataFrame":
        """The results of its runs so far, a row per run, as in `heyhi.summary`. Raises BatchError."""
        return frame(columns(batch_records(of_batch(self._composed()))))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write it as a bash script."""
        lines = [f"cd {shlex.quote(str(self._project.root))}"]
        lines += [shlex.join(["python", "run.py", *line.argv]) for line in self._lines]
        write_whole(Path(path), "#!/usr/bin/env bash\nset -euo pipefail\n" + "\n".join(lines) + "\n")

    def start(
        self, profile: str = "local", mode: str = "gentle_start", *, force: bool = False, detach: bool = False
    ) -> int:
        """Carry it out, as `heyhi start` does. Returns the exit status of Snakemake."""
        script = drivers.batches_place(self._project) / f"{self.name}.sh"
        script.parent.mkdir(parents=True, exist_ok=True)
        self.write(script)
        words = drivers.command(self._project, str(script), profile, to_mode(mode).value, force=force)
        return drivers.start(self._project, words, detach=detach)


def _source(file: str) -> str:
    """The file of a line of Python; of a notebook's, which cell."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return display(file) if os.path.exists(file) or shell is None else f"In[{shell.execution_count}]"


def _text(key: str, value: Any) -> str:
    """A value as an override has it."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return escape_word(value)
    if isinstance(value, numbers.Real | os.PathLike):
        return str(value)
    raise UsageError(f"{key}: a value has no {type(value).__name__}; give its parts, as in {key}.-1=a")
