"""Parse a command line of `run.py`: text becomes typed values here, once.

-c CFG  --mode restart  lr=0.1     ->     Invocation(cfg="CFG", mode=Mode.RESTART, overrides=("lr=0.1",))
"""

import argparse
import enum
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from heyhi.errors import UsageError, did_you_mean

__all__ = ["Invocation", "Mode", "OneOf", "Parser", "parse_argv", "run_py_parser", "to_mode"]

_LEVELS = ("ERROR", "WARN", "INFO", "DEBUG")
_DEFAULT_SNAPSHOT = "DEFAULT"
_NO_SNAPSHOT = ("", "none")


class Mode(enum.Enum):
    """The changes to a run that the user allows."""

    GENTLE_START = "gentle_start"
    START_RESTART = "start_restart"
    START_CONTINUE = "start_continue"
    RESTART = "restart"
    DRYRUN = "dryrun"


class OneOf:
    """Turns a word into one of the known values, which `what` names. Raises UsageError for any other word."""

    def __init__(self, what: str, known: Mapping[str, Any]) -> None:
        self.what, self.known = what, known

    def __call__(self, word: str) -> Any:
        """Return the value of a word."""
        if word in self.known:
            return self.known[word]
        hint = did_you_mean(word, list(self.known)) or f"; one of {', '.join(self.known)}"
        raise UsageError(f"no such {self.what} {word!r}{hint}")


#: The mode of a name.
to_mode = OneOf("mode", {mode.value: mode for mode in Mode})


class Invocation(NamedTuple):
    """A parsed command line. `argv` is the line as typed; `row` is its row of a --table."""

    cfg: str
    overrides: tuple[str, ...] = ()
    chosen_mode: Mode | None = None
    adhoc: bool = False
    force: bool = False
    snapshot: str = _DEFAULT_SNAPSHOT
    pattern: str | None = None
    log_level: str = "INFO"
    print_text: bool = False
    print_flat: bool = False
    print_flat_all: bool = False
    print_out_dir: bool = False
    help_cfg: str | None = None
    explain: str | None = None
    grid: tuple[str, ...] = ()
    zipped: tuple[str, ...] = ()
    table: str | None = None
    row: str = ""
    after: tuple[str, ...] = ()
    wait: bool = False
    argv: tuple[str, ...] = ()

    @property
    def is_many(self) -> bool:
        """True if it stands for several runs."""
        return bool(self.grid or self.zipped or self.table is not None)

    @property
    def mode(self) -> Mode:
        """The mode asked for, or else the default one."""
        return self.chosen_mode or (Mode.RESTART if self.adhoc else Mode.GENTLE_START)

    @property
    def only_shows(self) -> bool:
        """True if it prints something about the config or its folder, and changes nothing."""
        shows = self.print_text or self.print_flat or self.print_flat_all or self.print_out_dir
        return shows or self.help_cfg is not None or self.explain is not None

    def snapshot_place(self, experiment_root: Path) -> Path | None:
        """The folder for the snapshot; None for no snapshot."""
        if self.snapshot in _NO_SNAPSHOT:
            return None
        if self.snapshot == _DEFAULT_SNAPSHOT:
            return None if self.adhoc else experiment_root / "checkpoints"
        return Path(self.snapshot).absolute()

    def again(self, mode: Mode, folder: Path) -> list[str]:
        """The arguments that take up the run in `folder` again, in another mode."""
        words = _without(self.argv, "--mode")
        if self.adhoc:  # a new folder each time, but for one that is named
            words = [*_without([word for word in words if word != "--adhoc"], "--out"), "--out", str(folder)]
        return [*words, "--mode", mode.value]


def _without(words: Sequence[str], flag: str) -> list[str]:
    """The words without a flag and its value."""
    kept = []
    rest = iter(words)
    for word in rest:
        if word == flag:
            next(rest, None)
        elif not word.startswith(f"{flag}="):
            kept.append(word)
    return kept


def parse_argv(argv: Sequence[str]) -> Invocation:
    """The invocation in the arguments of run.py. Raises UsageError; leaves for --help."""
    # Many lines of a batch differ in their last overrides only.
    start = _first_sure_override(argv)
    invocation = _parse(tuple(argv[:start]))
    return invocation._replace(overrides=(*invocation.overrides, *argv[start:]), argv=tuple(argv))


def _first_sure_override(argv: Sequence[str]) -> int:
    """The position from which on there are only overrides, for any flags before them."""
    flag = max((number for number, word in enumerate(argv) if word.startswith("-")), default=0)
    start = flag + 2  # behind its value, if it has one
    takes_all = argv and argv[flag] in ("--grid", "--zip")
    return len(argv) if takes_all or not all("=" in word for word in argv[start:]) else start


@cache
def _parse(argv: tuple[str, ...]) -> Invocation:
    known, rest = run_py_parser().parse_known_args([_spelled_out(word) for word in argv])
    if "=" in (known.help_cfg or ""):
        # The pattern was left out, and what follows is an override.
        rest.append(known.help_cfg)
        known.help_cfg = ""
    for word in rest:
        if "=" not in word:
            raise UsageError(_not_an_override(word))
    vars(known).pop("_given")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in vars(known).items()
    }
    return Invocation(**values, overrides=tuple(rest))


def _spelled_out(word: str) -> str:
    """`-count=3` is an override with one dash, not the flag `-c` with the value `ount=3`."""
    is_override = word[:1] == "-" and word[1:2] not in ("", "-") and "=" in word and word[:3] != "-c="
    return f"-{word}" if is_override else word


def _not_an_override(word: str) -> str:
    if word.startswith("-"):
        flags = [flag for action in run_py_parser()._actions for flag in action.option_strings]
        return f"unknown flag {word!r}{did_you_mean(word, flags) or '; see --help'}"
    return f"bad argument {word!r}: expected an override key=value, or a flag (see --help)"


_GRID = "make a run of each combination: --grid lr={0.1,0.01} seed={0..2} (the shell expands the braces)"
_ZIP = "make a run of the first values, one of the second, ...: --zip lr={0.1,0.01} wd={1e-4,1e-5}"


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line as a UsageError. A flag is spelled out."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given, allow_abbrev=False)

    def error(self, message: str) -> Any:
        """Raise it."""
        raise UsageError(f"{message}; see --help")


class _Once(argparse.Action):
    """A flag that is given at most once: of two values neither is dropped without a word."""

    def __call__(self, _: Any, namespace: Any, values: Any, __: Any = None) -> None:
        given = vars(namespace).setdefault("_given", set())
        if self.dest in given:
            raise argparse.ArgumentError(self, "is given twice")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


@cache
def run_py_parser() -> Parser:
    """The flags of run.py; all else on its command line are overrides."""
    parser = Parser(
        usage="python run.py -c CFG [flags] [key=value ...]",
        description="Compose a config and run its task once, in a folder that follows from the parameters.",
        epilog="Overrides: key=value, key=NULL (clear), member=SELECT (choose), Imount=path (include). "
        "Example: python run.py -c conf/fit/sine.prototxt lr=0.1 Ilauncher=slurm --wait",
    )
    _add_flags_of_a_start(parser.add_argument)
    _add_flags_that_show(parser.add_argument)
    _add_flags_of_many(parser.add_argument)
    return parser


def _add_flags_of_a_start(add: Callable[..., object]) -> None:
    add("-c", "--cfg", action=_Once, required=True, metavar="CFG", help="the config file")
    add(
        "--mode",
        dest="chosen_mode",
        action=_Once,
        metavar="MODE",
        type=to_mode,
        help=f"what may happen to the run: {', '.join(to_mode.known)} "
        "(default: gentle_start; restart with --adhoc)",
    )
    add("--adhoc", action="store_true", help="use a new folder under adhoc/<date>, for debugging")
    add("--out", "--exp_id_pattern_override", dest="pattern", metavar="DIR", help="use this run folder")
    add("--force", action="store_true", help="do not ask before wiping a result or killing a job")
    add("--wait", action="store_true", help="wait for the end of the run and return its exit status")
    copy = 'put the snapshot, the copy of the code, into this folder; "" takes no snapshot'
    add("--snapshot", "--checkpoint", default=_DEFAULT_SNAPSHOT, metavar="DIR", help=copy)
    add(
        "--log-level",
        default="INFO",
        metavar="LEVEL",
        type=OneOf("log level", {level: level for level in _LEVELS}),
        help=f"the log level of the task: {', '.join(_LEVELS)} (default: INFO)",
    )


def _add_flags_that_show(add: Callable[..., object]) -> None:
    add("--print", dest="print_text", action="store_true", help="show the config and exit")
    add("--print-flat", action="store_true", help="show the config as overrides, one per line, and exit")
    add("--print-flat-all", action="store_true", help="the same, with defaults and unset fields")
    add("--print-out-dir", action="store_true", help="show the run folder and exit")
    fields = "explain the fields of the config that match PATTERN, or all, and exit"
    add("--help-cfg", nargs="?", const="", metavar="PATTERN", help=fields)
    add("--explain", metavar="KEY", help="show which files and overrides set a field, and exit")


def _add_flags_of_many(add: Callable[..., object]) -> None:
    add("--grid", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=_GRID)
    add("--zip", dest="zipped", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=_ZIP)
    add("--table", metavar="FILE", help="make a run of each row of a CSV or TSV file with a header of keys")
    add("--after", action="append", default=[], metavar="DIR", help="wait for the run of this folder")
