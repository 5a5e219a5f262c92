"""Schemas to Python: `conf/X.proto` -> `X_pb2.py`, `X_pb2.pyi`, `X_cfgs.py`, `X_cfgs.pyi`.

    X_pb2     editable messages, as protoc makes them, with to_frozen() and the like added
    X_cfgs    frozen configs (heyhi.config.frozen), with the comments of the .proto

Each generated file says in its first line what it was made from and what its content hashes to: so a
stale one is noticed and made anew before anything imports it, and one edited by hand is never
overwritten unasked. Nothing depends on the time or the machine: the output is reproducible.
"""

import hashlib
import importlib
import keyword
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import google.protobuf

from heyhi import files
from heyhi.config.descriptors import SCHEMAS, are_kept, pack, schema_error, schema_files, types_in
from heyhi.config.outline import OUTLINE
from heyhi.errors import ConfigError, HeyhiError, ProjectError
from heyhi.log import say_problem
from heyhi.project import Project, display, find_project, running_programs
from heyhi.texts import NOT_UTF8, line_of

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    from google.protobuf.message import Message

__all__ = [
    "Doc",
    "conf_spec",
    "ensure_fresh",
    "generate",
    "load_docs",
    "load_message_types",
    "load_messages",
]

_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_cfgs.py", "_cfgs.pyi")
_HEADER = re.compile(rb'# Made by "heyhi protos" from \S+: do not edit\. sources=(\w+) content=(\w+)\n')
_LOCK = ".heyhi_protos.lock"  # beside it are outline.OUTLINE and schemas.SCHEMAS
_DESCRIBED = "schemas.binpb"
_WORK = ".heyhi_protos"  # the folder for making files, below conf/; only the holder of the lock uses it


class Doc(NamedTuple):
    """The place (file:line:column) and the comment of a message, field or oneof in a schema."""

    where: str
    comment: str


def load_messages(project: Project) -> type["Message"]:
    """The project's MetaCfg (editable); its modules are made or mended first where they must be.

    Raises ProjectError if one was edited by hand, ConfigError if a schema is wrong.
    """
    project.put_on_path()
    if project.root not in _ensured:
        was_imported = "conf.conf_pb2" in sys.modules
        if ensure_fresh(project) and was_imported:
            raise ProjectError(
                f"{project.conf}: a schema has changed, and stale modules were imported before heyhi; "
                "they are fresh now: start again (and import heyhi first)"
            )
        _ensured.add(project.root)
    cls: type[Message] = importlib.import_module("conf.conf_pb2").MetaCfg
    return cls


# Projects whose modules were found fresh, or were made so, by this process before it imported them.
_ensured: set[Path] = set()


def conf_spec() -> "ModuleSpec | None":
    """Bring the project's modules up to date and return its folder, for `import conf`; None without one."""
    from importlib.machinery import ModuleSpec

    try:
        project = find_project()
    except ProjectError:
        return None
    try:
        ensure_fresh(project)
    except HeyhiError as problem:
        if "run.py" not in map(os.path.basename, running_programs()):
            raise
        # At the top of run.py, where nothing of ours is there to catch it.
        raise SystemExit(say_problem(problem)) from None
    _ensured.add(project.root)
    spec = ModuleSpec("conf", None, is_package=True)
    spec.submodule_search_locations = [str(project.conf)]
    return spec


def load_message_types(project: Project) -> list[type["Message"]]:
    """Return all message types of the project's schemas, in the order of their files, outer ones first."""
    load_messages(project)
    names = [schema.stem for schema in schema_files(project)]
    return types_in(importlib.import_module(f"conf.{name}_pb2").DESCRIPTOR for name in names)


def load_docs(project: Project) -> dict[str, Doc]:
    """The docs of all schemas: full name of a message, field or oneof -> Doc."""
    load_messages(project)
    docs = {}
    for schema in schema_files(project):
        declared = importlib.import_module(f"conf.{schema.stem}_cfgs")._DOCS
        for name, (place, comment) in declared.items():
            docs[name] = Doc(display(f"{schema}:{place}"), comment)
    return docs


def ensure_fresh(project: Project) -> bool:
    """Make the generated modules anew if a schema changed since; cheap if none did. Whether it had to.

    Raises ProjectError if one was edited by hand, ConfigError if a schema is wrong.
    """
    with _disk_errors(project):
        if _is_fresh(project):
            return False
        _refuse_edited(project)
        with _lock(project) as lock:
            if not _is_fresh(project):  # else another process was faster
                _generate(project, lock)
        return True


def generate(project: Project) -> bool:
    """Make all generated modules, also over ones that were edited. Whether any file changed.

    Raises ConfigError if a schema is wrong.
    """
    with _disk_errors(project), _lock(project) as lock:
        return _generate(project, lock)


@contextmanager
def _disk_errors(project: Project) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise ProjectError(
            f"{problem.filename or project.conf}: {problem.strerror or problem}: the modules made from "
            "the schemas are stale and cannot be made anew here; run `heyhi protos` where they can"
        ) from None


# ---- What is there ------------------------------------------------------------------------------


def _sources_hash(project: Project) -> str:
    """A hash of the schemas and of their generator: this code and the protobuf release."""
    digest = hashlib.sha256(google.protobuf.__version__.encode())
    makers = (Path(__file__).with_name(name) for name in ("schema.py", "stubs.py", "outline.py"))
    for path in (*makers, *schema_files(project)):
        try:
            data = files.read(path)
        except OSError as problem:
            raise ConfigError(display(path), f"cannot be read: {problem.strerror}") from None
        digest.update(os.fsencode(f"\0{path.name}\0{len(data)}\0") + data)
    return digest.hexdigest()[:16]


def _content_hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _generated(project: Project) -> Iterator[Path]:
    """The path of each generated file, present or not."""
    for schema in schema_files(project):
        for suffix in _SUFFIXES:
            yield project.conf / f"{schema.stem}{suffix}"


def _is_fresh(project: Project) -> bool:
    """True if every generated file exists, comes from these sources and was not edited since."""
    sources = _sources_hash(project).encode()
    data_is_there = (project.conf / OUTLINE).exists() and are_kept(project)
    return data_is_there and all(_made_from(path) == sources for path in _generated(project))


def _made_from(path: Path) -> bytes | None:
    """The hash of the sources of a generated file; None if it is absent, b"" if it was edited."""
    try:
        data = files.read(path)
    except FileNotFoundError:
        return None
    header = _HEADER.match(data)
    if header is None or _content_hash(data[header.end() :]).encode() != header[2]:
        return b""
    return header[1]


def _refuse_edited(project: Project) -> None:
    for path in _generated(project):
        if _made_from(path) == b"":
            raise ProjectError(
                f"{path}: edited by hand (or made by another tool), but it is generated from "
                f"{_schema_of(path.name)}: make the change there, then run `heyhi protos` "
                "(or `make protos`), which overwrites it"
            )


def _schema_of(generated: str) -> str:
    return re.sub(r"_(pb2|cfgs)\.pyi?$", ".proto", generated)


# ---- Making them --------------------------------------------------------------------------------


@contextmanager
def _lock(project: Project) -> Iterator[IO[str]]:
    import fcntl

    # Neither through a link that comes with a checkout, nor waiting at a fifo.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(project.conf / _LOCK, flags, 0o666), "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _generate(project: Project, lock: IO[str]) -> bool:
    import shutil

    _check_files(project)
    sources = _sources_hash(project)
    work = project.conf / _WORK
    shutil.rmtree(work, ignore_errors=True)  # a process that was killed leaves it behind
    work.mkdir()
    try:
        files = {name: _with_header(name, text, sources) for name, text in _run_protoc(project, lock).items()}
        files[SCHEMAS] = pack(project, (work / _DESCRIBED).read_bytes())
        _remove_orphans(project, set(files))
        changed = [_write(project, name, files[name]) for name in sorted(files)]
        return any(changed)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_files(project: Project) -> None:
    for schema in schema_files(project):
        try:
            files.read_text(schema)
        except UnicodeDecodeError as problem:
            raise ConfigError(f"{display(schema)}:{line_of(problem)}", NOT_UTF8) from None
        if not schema.stem.isidentifier() or keyword.iskeyword(schema.stem):
            raise ConfigError(display(schema), "a schema's name must be one that Python can import")


def _run_protoc(project: Project, lock: IO[str]) -> dict[str, str]:
    """The text of every generated file, by name."""
    import subprocess

    done = subprocess.run(
        _protoc_command(project),
        cwd=project.root,
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",  # names of files may hold anything
        check=False,
        # If this process is killed, protoc still writes: until it ends, it keeps the lock.
        pass_fds=[lock.fileno()],
    )
    if done.returncode:
        raise schema_error(project, done.stderr.splitlines())
    from heyhi.config import stubs

    work = project.conf / _WORK
    made = {path.name: path.read_text(encoding="utf-8") for path in (work / "conf").iterdir()}
    try:
        return stubs.complete(made, (work / _DESCRIBED).read_bytes())
    except ConfigError as problem:
        raise ConfigError(display(project.root / problem.where), problem.problem) from None


def _protoc_command(project: Project) -> list[str]:
    # Relative paths: protoc takes a colon in a path for a separator. -P: no module of the project
    # stands in for one of Python's.
    out = f"conf/{_WORK}"
    flags = ["-I.", f"--python_out={out}", f"--pyi_out={out}"]
    flags += [f"--descriptor_set_out={out}/{_DESCRIBED}", "--include_imports", "--include_source_info"]
    names = [f"conf/{schema.name}" for schema in schema_files(project)]
    return [sys.executable, "-P", "-m", "grpc_tools.protoc", *flags, *names]


def _with_header(name: str, text: str, sources: str) -> bytes:
    data = text.encode()
    if name == OUTLINE:
        return data  # no comment can be in it
    header = f'# Made by "heyhi protos" from {_schema_of(name)}: do not edit. '
    return (header + f"sources={sources} content={_content_hash(data)}\n").encode() + data


def _write(project: Project, name: str, data: bytes) -> bool:
    """Replace a generated file if its content changes, and whether it did."""
    path = project.conf / name
    if path.exists() and path.read_bytes() == data:
        return False
    partial = project.conf / _WORK / name
    partial.write_bytes(data)
    os.replace(partial, path)
    if path.suffix == ".py":
        _compile(path)
    return True


def _compile(path: Path) -> None:
    # By content: Python's default, time in whole seconds and size, can miss a quick second change.
    import py_compile

    py_compile.compile(str(path), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)


def _remove_orphans(project: Project, made: set[str]) -> None:
    """Modules that HeyHi made from a schema that is gone."""
    for path in sorted(project.conf.iterdir()):
        if path.name not in made and path.name.endswith(_SUFFIXES) and _made_from(path):
            path.unlink()
