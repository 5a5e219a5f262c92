"""The `heyhi` command: what is done with a project besides running it.

heyhi protos              schemas -> conf/*_pb2.py and *_cfgs.py
heyhi pp CFG [overrides]  show a composed config
heyhi validate            compose every config under conf/, and say all that is wrong
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from heyhi import prototxt
from heyhi.cli import load
from heyhi.compose import compose, compose_message
from heyhi.errors import ConfigError, HeyhiError, UsageError, did_you_mean
from heyhi.loading import types_that_fit
from heyhi.project import Project, find_project
from heyhi.protos import generate, load_messages

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a `heyhi` command; returns its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if not words or words[0] in ("-h", "--help"):
            print(__doc__.strip())
            return 0 if words else 2
        if words[0] not in _COMMANDS:
            hint = did_you_mean(words[0], list(_COMMANDS))
            raise UsageError(f"no command {words[0]!r}{hint or '; see heyhi --help'}")
        return _COMMANDS[words[0]](words[1:])
    except HeyhiError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return problem.exit_status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def protos(words: Sequence[str]) -> int:
    """Make the generated modules, also over edited ones."""
    _no_more(words, "protos")
    project = find_project()
    changed = generate(project)
    print(f"{project.conf}: {'generated modules written' if changed else 'nothing to do'}")
    return 0


def pp(words: Sequence[str]) -> int:
    """Show a composed config."""
    if not words or words[0].startswith("-"):
        raise UsageError("usage: heyhi pp CFG [overrides]")
    print(prototxt.write_text(load(words[0], words[1:]).config))
    return 0


def validate(words: Sequence[str]) -> int:
    """Compose every config under conf/; status 2 if any is wrong."""
    _no_more(words, "validate")
    project = find_project()
    load_messages(project)
    paths = sorted(project.conf.rglob("*.prototxt"))
    problems = [problem for path in paths if (problem := _problem_of(path, project))]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    print(f"{len(paths)} configs, {len(problems)} with errors")
    return 2 if problems else 0


def _problem_of(path: Path, project: Project) -> ConfigError | None:
    """What is wrong with a config, or with a chunk that others include."""
    is_chunk = project.common in path.parents
    try:
        compose(path, (), project, load_messages(project))
        return None
    except ConfigError as problem:
        fitting = types_that_fit(path, project)
        if not fitting:
            return _nearest_problem(path, project) if is_chunk else problem
    first: ConfigError | None = None
    for cls in fitting:
        try:
            compose_message(path, (), project, cls)
            return None
        except ConfigError as problem:
            first = first or problem
    return first


def _nearest_problem(path: Path, project: Project) -> ConfigError:
    """The error of the type that a chunk fits furthest: most likely the one that was meant."""
    from heyhi.protos import load_message_types

    found: list[tuple[tuple[int, ...], ConfigError]] = []
    for cls in load_message_types(project):
        try:
            prototxt.read(path, cls, project.root)
        except ConfigError as problem:
            position = tuple(int(p) for p in problem.where.split(":")[1:] if p.isdigit())
            found.append((position, problem))
    return max(found, key=lambda entry: entry[0])[1]


def _no_more(words: Sequence[str], command: str) -> None:
    if words:
        raise UsageError(f"heyhi {command} takes no arguments, not {words[0]!r}")


_COMMANDS = {"protos": protos, "pp": pp, "validate": validate}


if __name__ == "__main__":
    sys.exit(main())
