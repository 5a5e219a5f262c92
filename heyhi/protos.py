"""Schemas to Python: `conf/X.proto` -> `X_pb2.py`, `X_pb2.pyi`, `X_cfgs.py`, `X_cfgs.pyi`.

    X_pb2     editable messages, as protoc makes them, with to_frozen() and the like added
    X_cfgs    frozen configs (heyhi.config), with the comments of the .proto

Each generated file says in its first line what it was made from and what its content hashes to: so a
stale one is noticed and made anew before anything imports it, and one edited by hand is never
overwritten unasked. Nothing depends on the time or the machine: the output is reproducible.
"""

import hashlib
import importlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google.protobuf

from heyhi.errors import ConfigError, ProjectError
from heyhi.project import Project

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["ensure_fresh", "generate", "load_comments", "load_message_types", "load_messages"]

_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_cfgs.py", "_cfgs.pyi")
_HEADER = re.compile(rb'# Made by "heyhi protos" from \S+: do not edit\. sources=(\w+) content=(\w+)\n')


def load_messages(project: Project) -> type["Message"]:
    """The project's MetaCfg (editable); its modules are made or mended first where they must be."""
    ensure_fresh(project)
    cls: type[Message] = _import(project, "conf.conf_pb2", "MetaCfg")
    return cls


def _import(project: Project, module: str, name: str) -> Any:
    project.put_on_path()
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError:
        raise ProjectError(f"{project.conf / 'conf.proto'}: no message {name}") from None


def load_message_types(project: Project) -> list[type["Message"]]:
    """All message types of the project's schemas, in the order of their files, outer ones first."""
    from google.protobuf.message_factory import GetMessageClass

    load_messages(project)
    waiting: list[Any] = []
    for schema in _schemas(project):
        module = importlib.import_module(f"conf.{schema.stem}_pb2")
        waiting += module.DESCRIPTOR.message_types_by_name.values()
    found = []
    while waiting:
        descriptor = waiting.pop(0)
        if not descriptor.GetOptions().map_entry:
            found.append(GetMessageClass(descriptor))
            waiting += descriptor.nested_types
    return found


def load_comments(project: Project) -> dict[str, str]:
    """The comments of all schemas: full name of a message or field -> its comment."""
    project.put_on_path()
    comments: dict[str, str] = {}
    for schema in _schemas(project):
        comments.update(importlib.import_module(f"conf.{schema.stem}_cfgs").COMMENTS)
    return comments


def ensure_fresh(project: Project) -> None:
    """Make the generated modules anew if a schema changed since; cheap if none did.

    Raises ProjectError if one was edited by hand, ConfigError if a schema is wrong.
    """
    if not _is_fresh(project):
        _locked_generate(project, overwrite=False)


def generate(project: Project) -> bool:
    """Make all generated modules, also over ones that were edited. Whether any file changed."""
    return _locked_generate(project, overwrite=True)


# ---- What is there ------------------------------------------------------------------------------


def _schemas(project: Project) -> list[Path]:
    return sorted(project.conf.glob("*.proto"))


def _sources_hash(project: Project) -> str:
    """Of the schemas, and of what makes modules of them: this file and the protobuf release."""
    digest = hashlib.sha256(google.protobuf.__version__.encode())
    for path in (Path(__file__), *_schemas(project)):
        data = path.read_bytes()
        digest.update(f"\0{path.name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()[:16]


def _content_hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _generated(project: Project) -> Iterator[Path]:
    """Where each generated file is, or should be."""
    for schema in _schemas(project):
        for suffix in _SUFFIXES:
            yield project.conf / f"{schema.stem}{suffix}"


def _is_fresh(project: Project) -> bool:
    """Whether every generated file is there, made of these sources and not edited since."""
    sources = _sources_hash(project).encode()
    return all(_made_from(path) == sources for path in _generated(project))


def _made_from(path: Path) -> bytes | None:
    """The hash of the sources of a generated file; None if it is absent, b"" if it was edited."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    header = _HEADER.match(data)
    if header is None or _content_hash(data[header.end() :]).encode() != header[2]:
        return b""
    return header[1]


def _refuse_edited(project: Project) -> None:
    for path in _generated(project):
        if _made_from(path) == b"":
            schema = re.sub(r"_(pb2|cfgs)\.pyi?$", ".proto", path.name)
            raise ProjectError(
                f"{path}: edited by hand (or made by another tool), but it is generated from "
                f"{schema}: make the change there, then run `heyhi protos` (or `make protos`), "
                "which overwrites it"
            )


# ---- Making them --------------------------------------------------------------------------------


def _locked_generate(project: Project, *, overwrite: bool) -> bool:
    try:
        with _lock(project):
            if not overwrite:
                if _is_fresh(project):
                    return False  # another process was faster
                _refuse_edited(project)
            return _generate(project)
    except OSError as problem:
        raise ProjectError(
            f"{project.conf}: the modules made from its schemas are stale and cannot be written: "
            f"{problem.strerror or problem}"
        ) from None


@contextmanager
def _lock(project: Project) -> Iterator[None]:
    import fcntl

    with (project.conf / ".heyhi_protos.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _generate(project: Project) -> bool:
    import tempfile

    schemas = _schemas(project)
    sources = _sources_hash(project)
    with tempfile.TemporaryDirectory(prefix=".heyhi_protos_", dir=project.conf) as folder:
        files = _run_protoc(project, schemas, Path(folder))
    changed = [
        _write(project.conf / name, _with_header(name, text, sources)) for name, text in sorted(files.items())
    ]
    _remove_orphans(project, set(files))
    return any(changed)


def _run_protoc(project: Project, schemas: list[Path], folder: Path) -> dict[str, str]:
    """The text of every generated file, by name."""
    import subprocess
    import sys

    described = folder / "schemas.binpb"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{project.root}"]
    command += [f"--python_out={folder}", f"--pyi_out={folder}", "--include_imports"]
    command += [f"--descriptor_set_out={described}", "--include_source_info"]
    command += [f"conf/{schema.name}" for schema in schemas]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise _schema_error(project, done.stderr)
    from heyhi import protos_text

    made = {path.name: path.read_text(encoding="utf-8") for path in (folder / "conf").iterdir()}
    return protos_text.complete(made, described.read_bytes())


def _schema_error(project: Project, stderr: str) -> Exception:
    """protoc's own first complaint: it names file:line:column."""
    lines = [line for line in stderr.splitlines() if line.strip() and "warning" not in line]
    match = re.match(r"(\S+?\.proto(?::\d+:\d+)?): (.*)", lines[0] if lines else "")
    if match:
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        return ConfigError(match[1], match[2] + more)
    return ProjectError(f"{project.conf}: protoc failed: {' '.join(lines) or 'no message'}")


def _with_header(name: str, text: str, sources: str) -> bytes:
    schema = re.sub(r"_(pb2|cfgs)\.pyi?$", ".proto", name)
    data = text.encode()
    header = f'# Made by "heyhi protos" from {schema}: do not edit. '
    return (header + f"sources={sources} content={_content_hash(data)}\n").encode() + data


def _write(path: Path, data: bytes) -> bool:
    """Replace the file if its content changes, and whether it did."""
    if path.exists() and path.read_bytes() == data:
        return False
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    if path.suffix == ".py":
        _compile(path)
    return True


def _compile(path: Path) -> None:
    # By content: Python's default, time in whole seconds and size, can miss a quick second change.
    import py_compile

    py_compile.compile(str(path), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)


def _remove_orphans(project: Project, made: set[str]) -> None:
    """Modules that HeyHi made from a schema that is gone."""
    for path in project.conf.iterdir():
        if path.name in made or not path.name.endswith(_SUFFIXES):
            continue
        if _made_from(path):
            path.unlink()
