"""Frozen configs: what a task gets. And what makes editable messages go by the same names.

    message (editable, protobuf)  --to_frozen-->  Frozen (typed, read-only, slotted)
            ^-------------------- to_editable --------------------'

A `Frozen` is a copy in slots: reading a field costs what an attribute costs. Scalars read as Python
values (enums as their names, floats of 32 bits in their shortest form: 0.1), repeated fields as
tuples, maps as read-only maps, unset messages as empty ones; what is unset and has no default is None.
"""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, cast

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from heyhi.config.fields import (
    copy_of,
    fields_of,
    in_oneof,
    inner_type,
    map_value,
    no_field,
    oneofs_of,
    scalar_value,
    type_of,
)
from heyhi.config.scalars import python_value, scalar_of

__all__ = ["Frozen", "add_methods", "editable", "freeze", "frozen_class"]


# ---- Frozen configs -----------------------------------------------------------------------------


class Frozen:
    """A read-only config. Equality, hash and pickle are by value."""

    __slots__ = ("_message",)

    heyhi_patched: ClassVar[bool] = True
    _editable_class: ClassVar[type[Message]]
    _message: Message

    def __init__(self, **fields: Any) -> None:
        """A config of these fields: frozen or editable messages, dicts, enum names; None is unset."""
        _fill(self, _message_of(fields, self._editable_class))

    def is_frozen(self) -> bool:
        """True; False for an editable message."""
        return True

    def to_frozen(self) -> "Frozen":
        """Itself."""
        return self

    def to_editable(self) -> Any:
        """A protobuf message with the same content, to change."""
        return copy_of(self._message)

    def to_dict(self, *, with_defaults: bool = False, with_all: bool = False) -> dict[str, Any]:
        """See `heyhi.conf_to_dict`."""
        from heyhi.config.views import to_dict  # here: few processes ask for a view

        return to_dict(editable(self), with_defaults=with_defaults, with_all=with_all)

    def to_str_with_defaults(self) -> str:
        """The config as text, with the explicit defaults of the schema filled in."""
        from heyhi.config.views import with_defaults

        return _text(with_defaults(editable(self)))

    def WhichOneof(self, name: str) -> str | None:  # noqa: N802  (protobuf's name)
        """The set member of a oneof, or None. Deprecated: read `which_<name>`."""
        import warnings

        warnings.warn(f"read .which_{name}", DeprecationWarning, stacklevel=2)
        return cast("str | None", getattr(self, f"which_{name}"))

    if not TYPE_CHECKING:  # to a type checker, these would make every name right, and setting it too

        def __getattr__(self, name: str) -> Any:
            # Only called for names that do not exist.
            raise AttributeError(no_field(type_of(self._editable_class), name))

        def __setattr__(self, name: str, value: object) -> None:
            raise RuntimeError(f"Attempt to set {name}={value} on read-only config")

        def __delattr__(self, name: str) -> None:
            raise RuntimeError(f"Attempt to delete {name} of read-only config")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frozen) or type(self) is not type(other):
            return NotImplemented
        return _bytes(self._message) == _bytes(other._message)

    def __hash__(self) -> int:
        return hash(_bytes(self._message))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _thaw, (self._editable_class, _bytes(self._message))

    def __copy__(self) -> "Frozen":
        return self

    def __deepcopy__(self, memo: object) -> "Frozen":
        return self

    def __str__(self) -> str:
        return _text(self._message)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The HTML that a notebook shows."""
        from heyhi.config.notebooks import of_config

        return of_config(editable(self))

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *fields_of(self._editable_class.DESCRIPTOR)]


def _text(message: Message) -> str:
    return text_format.MessageToString(message, as_utf8=True)


def _bytes(message: Message) -> bytes:
    return message.SerializePartialToString(deterministic=True)


def _thaw(editable_class: type[Message], data: bytes) -> Frozen:
    message = editable_class()
    message.MergeFromString(data)
    return freeze(message)


# ---- Made from Python values --------------------------------------------------------------------


def _message_of(values: dict[str, Any], cls: type[Message]) -> Message:
    message = cls()
    for name, value in values.items():
        if name not in fields_of(type_of(message)):
            raise ValueError(no_field(type_of(message), name))
        if value is not None:
            _assign(message, name, value)
    return message


def _assign(message: Message, name: str, value: Any) -> None:
    """Set a field from a Python value; lists and maps whole."""
    _, kind, field = fields_of(type_of(message))[name]
    if kind == "scalar":
        setattr(message, name, _stored(field, value))
    elif kind == "message":
        inner = getattr(message, name)
        inner.SetInParent()
        inner.MergeFrom(_stored(field, value))
    elif kind == "list":
        getattr(message, name).extend(_stored(field, one) for one in value)
    else:
        entries, of_values = getattr(message, name), map_value(field)
        for key, one in value.items():
            if of_values.message_type is None:
                entries[key] = _stored(of_values, one)
            else:
                entries[key].MergeFrom(_stored(of_values, one))


def _stored(field: FieldDescriptor, value: Any) -> Any:
    """A Python value in the form that protobuf accepts."""
    if field.message_type is not None:
        is_dict = isinstance(value, dict)
        return _message_of(value, GetMessageClass(field.message_type)) if is_dict else editable(value)
    if field.enum_type is not None and isinstance(value, str):
        return scalar_of(field).read(value)
    return value


# ---- Made from a message ------------------------------------------------------------------------


@cache
def _class_of(descriptor: Descriptor) -> type[Frozen]:
    """The frozen class of a message type; messages inside it are attributes of the class."""
    names = [field.name for field in descriptor.fields]
    for oneof in oneofs_of(descriptor):
        names += [oneof.name, f"which_{oneof.name}"]
    editable_class = GetMessageClass(descriptor)
    module = editable_class.__module__.replace("_pb2", "_cfgs")
    body = {"__slots__": tuple(names), "__module__": module, "_editable_class": editable_class}
    cls = type(descriptor.name, (Frozen,), body)
    cls.__qualname__ = editable_class.__qualname__
    for nested in descriptor.nested_types:
        if not nested.GetOptions().map_entry and nested.name not in names:
            setattr(cls, nested.name, _class_of(nested))
    return cls


def frozen_class(editable_class: type[Message]) -> type[Frozen]:
    """The frozen counterpart of a message class, always the same one."""
    return _class_of(editable_class.DESCRIPTOR)


def freeze(message: Message) -> Frozen:
    """A frozen copy of a message."""
    return _frozen_part(copy_of(message))


def _frozen_part(message: Message) -> Frozen:
    """Freeze a message that is a private copy, or a part of one."""
    config = object.__new__(_class_of(type_of(message)))
    _fill(config, message)
    return config


def _fill(config: Frozen, message: Message) -> None:
    """Put what the message says into the slots; the message is kept and must not change any more."""
    set_slot = object.__setattr__
    set_slot(config, "_message", message)
    for name, kind, field in fields_of(type_of(message)).values():
        set_slot(config, name, _FROZEN_VALUES[kind](message, name, field))
    for oneof in oneofs_of(type_of(message)):
        chosen = message.WhichOneof(oneof.name)
        set_slot(config, f"which_{oneof.name}", chosen)
        set_slot(config, oneof.name, None if chosen is None else getattr(config, chosen))


def _frozen_message(message: Message, name: str, field: FieldDescriptor) -> Frozen | None:
    if message.HasField(name):
        return _frozen_part(getattr(message, name))
    if in_oneof(field):
        return None
    return _empty(inner_type(field))


def _empty(descriptor: Descriptor) -> Frozen:
    """The one frozen message for all that are unset; a type inside itself refers to it again."""
    config = _empties.get(descriptor)
    if config is None:
        config = _empties[descriptor] = object.__new__(_class_of(descriptor))
        _fill(config, GetMessageClass(descriptor)())
    return config


_empties: dict[Descriptor, Frozen] = {}


def _frozen_list(message: Message, name: str, field: FieldDescriptor) -> tuple[Any, ...]:
    values = getattr(message, name)
    if field.message_type is not None:
        return tuple(_frozen_part(value) for value in values)
    return tuple(python_value(field, value) for value in values)


class _ReadOnlyMap(dict[Any, Any]):
    """A map that cannot be changed, and that can be pickled (a MappingProxyType cannot)."""

    def _refuse(self, *_: object, **__: object) -> Any:
        raise RuntimeError("Attempt to change a map of a read-only config")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return _ReadOnlyMap, (dict(self),)

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


def _frozen_map(message: Message, name: str, field: FieldDescriptor) -> _ReadOnlyMap:
    of_values = map_value(field)
    entries = getattr(message, name)
    if of_values.message_type is not None:
        return _ReadOnlyMap({key: _frozen_part(entries[key]) for key in sorted(entries)})
    return _ReadOnlyMap({key: python_value(of_values, entries[key]) for key in sorted(entries)})


_FROZEN_VALUES: dict[str, Callable[[Message, str, FieldDescriptor], Any]] = {
    "scalar": scalar_value,
    "message": _frozen_message,
    "list": _frozen_list,
    "map": _frozen_map,
}


# ---- Methods of editable messages ---------------------------------------------------------------


def add_methods(file: FileDescriptor) -> None:
    """Give the editable messages of a schema the methods of the frozen ones."""
    for descriptor in file.message_types_by_name.values():
        _add_methods(descriptor)


def _add_methods(descriptor: Descriptor) -> None:
    cls: Any = GetMessageClass(descriptor)
    cls.heyhi_patched = True
    cls.is_frozen = lambda _: False
    cls.to_frozen = freeze
    cls.to_editable = lambda self: self
    # These two take a message of either kind.
    cls.to_dict = Frozen.to_dict
    cls.to_str_with_defaults = Frozen.to_str_with_defaults
    for nested in descriptor.nested_types:
        if not nested.GetOptions().map_entry:
            _add_methods(nested)


def editable(config: Frozen | Message) -> Message:
    """The message behind a config, frozen or not. Not a copy: do not change it."""
    return config._message if isinstance(config, Frozen) else config
