"""The schemas as data: message types made of descriptors, for commands that only look.

    conf/*.proto ─protoc─▶ conf/.heyhi_protos.binpb ─▶ Schemas: MetaCfg and all other types
                           the hash of the .proto files, and their descriptors

Looking imports no Python file of a project: in a folder that somebody else has made, a `conf_pb2.py` may do
anything. Descriptors are data. Where the file is stale or missing, protoc is asked, and nothing is written.
"""

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from heyhi import files
from heyhi.errors import ConfigError, ProjectError
from heyhi.project import Project, display

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FileDescriptor
    from google.protobuf.message import Message

__all__ = [
    "SCHEMAS",
    "Schemas",
    "are_kept",
    "describe",
    "pack",
    "read_schemas",
    "schema_error",
    "schema_files",
    "types_in",
    "types_of",
]

#: The file's name, in conf/.
SCHEMAS = ".heyhi_protos.binpb"

_HEADER = re.compile(rb"heyhi schemas (\w{16}) (\w{16})\n")


class Schemas(NamedTuple):
    """Editable message types that live beside the generated ones: MetaCfg, and all of conf/'s own."""

    meta: type["Message"]
    types: tuple[type["Message"], ...]


def schema_files(project: Project) -> list[Path]:
    """The project's .proto files, in the order of their names."""
    return sorted(project.conf.glob("*.proto"))


def read_schemas(project: Project) -> Schemas:
    """The message types of the project's schemas as they are now; no module of the project is imported.

    Raises ProjectError if they cannot be read, ConfigError if one is wrong.
    """
    try:
        return _read(project, _hash_of_sources(project))
    except OSError as problem:
        raise ProjectError(f"{problem.filename or project.conf}: {problem.strerror or problem}") from None


@cache
def _read(project: Project, sources: str) -> Schemas:
    described = _kept(project, sources)
    if described is not None:
        try:
            return types_of(described)
        except (LookupError, TypeError, ValueError):
            pass  # damaged in a way that its hash does not show
    described = _describe(project)
    from heyhi.config.stubs import check_schemas

    with_place = check_schemas(described)
    if with_place is not None:
        raise ConfigError(display(project.root / with_place.where), with_place.problem)
    return types_of(described)


def types_of(described: bytes, root: str = "") -> Schemas:
    """The types of serialized descriptors, in a pool of their own.

    `root` is the full name of MetaCfg; by default it is that of conf/conf.proto. Raises ValueError, TypeError
    or LookupError if they are damaged.
    """
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import DecodeError
    from google.protobuf.message_factory import GetMessageClass

    pool: Any = DescriptorPool()
    try:
        declared = FileDescriptorSet.FromString(described).file
    except DecodeError as problem:
        raise ValueError(str(problem)) from None
    for file in declared:
        pool.Add(file)
    for file in declared:
        if file.name == "conf/conf.proto" and not root:
            root = f"{file.package}.MetaCfg" if file.package else "MetaCfg"
    own = [pool.FindFileByName(f.name) for f in declared if not f.name.startswith("google/protobuf/")]
    return Schemas(GetMessageClass(pool.FindMessageTypeByName(root)), tuple(types_in(own)))


def types_in(declared: "Iterable[FileDescriptor]") -> "list[type[Message]]":
    """Return all message types that files declare, in the order of the files, outer types first."""
    from google.protobuf.message_factory import GetMessageClass

    waiting: list[Any] = [outer for file in declared for outer in file.message_types_by_name.values()]
    found = []
    while waiting:
        descriptor = waiting.pop(0)
        if not descriptor.GetOptions().map_entry:
            found.append(GetMessageClass(descriptor))
            waiting += descriptor.nested_types
    return found


def describe(descriptor: "Descriptor") -> bytes:
    """Serialized descriptors of the file of a type, and of all that it imports, as `types_of` takes them."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    described = FileDescriptorSet()
    waiting, seen = [descriptor.file], set()
    in_order: list[Any] = []
    while waiting:
        file = waiting.pop()
        in_order.append(file)
        waiting += file.dependencies
    for file in reversed(in_order):  # what is imported comes first
        if file.name not in seen:
            seen.add(file.name)
            file.CopyToProto(described.file.add())
    return described.SerializeToString(deterministic=True)


# ---- What is kept of them -----------------------------------------------------------------------


def pack(project: Project, described: bytes) -> bytes:
    """The content of the file for serialized descriptors, which need not have the comments of the schemas."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    declared = FileDescriptorSet.FromString(described)
    for file in declared.file:
        file.ClearField("source_code_info")
    data = declared.SerializeToString(deterministic=True)
    return f"heyhi schemas {_hash_of_sources(project)} {_hash(data)}\n".encode() + data


def are_kept(project: Project) -> bool:
    """True if the file is there, whole, and of the .proto files as they are now."""
    return _kept(project, _hash_of_sources(project)) is not None


def _kept(project: Project, sources: str) -> bytes | None:
    """The serialized descriptors of these .proto files; None if the file has none, or others."""
    try:
        data = files.read(project.conf / SCHEMAS)
    except OSError:
        return None
    header = _HEADER.match(data)
    if header is None or header[1].decode() != sources:
        return None
    body = data[header.end() :]
    return body if _hash(body) == header[2].decode() else None


def _hash_of_sources(project: Project) -> str:
    digest = hashlib.sha256()
    for path in schema_files(project):
        data = files.read(path)
        digest.update(os.fsencode(f"\0{path.name}\0{len(data)}\0") + data)
    return digest.hexdigest()[:16]


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


# ---- Asking protoc ------------------------------------------------------------------------------


def _describe(project: Project) -> bytes:
    """Serialized descriptors of the .proto files. protoc reads them and executes nothing."""
    import subprocess
    import tempfile

    names = [f"conf/{path.name}" for path in schema_files(project)]
    with tempfile.TemporaryDirectory(prefix="heyhi-schemas-") as folder:
        out = Path(folder, "schemas.binpb")
        flags = ["-I.", f"--descriptor_set_out={out}", "--include_imports", "--include_source_info"]
        # -P: no module of the project stands in for one of Python's, or for grpc_tools.
        words = [sys.executable, "-P", "-m", "grpc_tools.protoc", *flags, *names]
        done = subprocess.run(words, cwd=project.root, capture_output=True, check=False)
        if done.returncode:
            raise schema_error(project, done.stderr.decode(errors="replace").splitlines())
        return out.read_bytes()


def schema_error(project: Project, stderr: Sequence[str]) -> ConfigError | ProjectError:
    """An error with the first complaint of protoc that has a place, file:line:column."""
    lines = [line for line in stderr if line.strip() and ": warning: " not in line]
    found = [match for line in lines if (match := re.match(r"(.+?\.proto:\d+:\d+): (.*)", line))]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        return ConfigError(display(project.root / found[0][1]), found[0][2] + more)
    return ProjectError(f"{project.conf}: protoc failed: {' '.join(lines) or 'no message'}")
