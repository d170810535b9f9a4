"""What a setting may be: declared beside its field as a type with a range, and checked in one place.

Neither TensorFlow nor Keras is needed, so that a wrong value is refused at once.
"""

from __future__ import annotations

import dataclasses
import functools
import reprlib
import types
import typing
from typing import Annotated, Any, Literal

from keras_mae.registry import did_you_mean


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers from `least` to `most`; those of the two that are in `without` do not belong to it."""

    least: float
    most: float
    without: tuple[float, ...] = ()

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most and value not in self.without  # NaN is in no range

    def __str__(self) -> str:
        left, right = ("(" if self.least in self.without else "["), (")" if self.most in self.without else "]")
        return f"{left}{self.least:.10g}, {self.most:.10g}{right}"


Count = Annotated[int, Range(1, 1_000_000)]
Layers = Annotated[int, Range(1, 1000)]
Level = Annotated[int, Range(0, 255)]
Magnitude = Annotated[float, Range(0, 10)]  # of RandAugment
Size = Annotated[int, Range(1, 65_536)]
Seed = Annotated[int, Range(0, 2**31 - 1)]  # what `ExampleSeed` takes
Megapixels = Annotated[float, Range(0, 10_000, without=(0,))]
Positive = Annotated[float, Range(0, 1_000_000_000, without=(0,))]
AtLeast0 = Annotated[float, Range(0, 1_000_000_000)]
Rate = Annotated[float, Range(0, 1000, without=(0,))]
Share = Annotated[float, Range(0, 1)]
ShareBelow1 = Annotated[float, Range(0, 1, without=(1,))]
ShareAbove0 = Annotated[float, Range(0, 1, without=(0,))]

Preset = Literal[
    "vit_tiny_patch16",
    "vit_small_patch16",
    "vit_base_patch16",
    "vit_large_patch16",
    "vit_huge_patch14",
    "simmim_vit_base_patch16",
    "simmim_plain_vit_base_patch16",
]
DtypePolicy = Literal["float32", "mixed_bfloat16", "mixed_float16"]
Pooling = Literal["mean", "cls", "both"]


_type_hints = functools.cache(typing.get_type_hints)  # it takes milliseconds


def hints_of(kind: type) -> dict[str, Any]:
    """The types of a dataclass' fields, with their ranges."""
    hints = _type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def check_fields(part: Any, name: str) -> None:
    """Checks every setting of the part `name` of a config by itself.

    Raises:
        ValueError: for the first that is of another type or out of range; with key, value, range, and what to type.
    """
    for key, hint in hints_of(type(part)).items():
        check_value(f"{name}.{key}", getattr(part, key), hint)


def check_value(key: str, value: Any, hint: Any, text: str | None = None) -> None:
    """Checks one value by its type and range; errors as `check_fields` says, of `text` if it was given as such."""
    if not fits(value, hint, with_range=False):
        got = shown(value if text is None else text)
        names = names_of(hint)
        if names and isinstance(value, str):
            raise ValueError(f"no {key} is called {shown(value)}{did_you_mean(value, names)} {listed(hint)}")
        limits = _range_of(hint)
        said = example(key, value, hint) or (f"; it lies in {limits}" if limits and not _tuple_length(hint) else "")
        raise ValueError(f"{key} is of type {type_name(hint)}, got {got}{said}")
    if not fits(value, hint):
        if isinstance(value, str):
            raise ValueError(f"{key} is a name or a path, got {shown(value)}")
        if value == ():
            raise ValueError(f"{key} has one number or more, got ()")
        each = "every number of " if isinstance(value, tuple) else ""
        raise ValueError(f"{each}{key} lies in {_range_of(hint)}, got {key}={shown(value)}")


def fits(value: Any, hint: Any, with_range: bool = True) -> bool:
    """Whether a value is of a type and, if that is asked for, in its range."""
    if hint is Any:
        return True
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(fits(value, option, with_range) for option in arguments)
    if origin is Annotated:
        return fits(value, arguments[0], with_range) and (not with_range or value in arguments[1])
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is not None and isinstance(origin, type) and issubclass(tuple, origin):
        if not isinstance(value, tuple) or (len(arguments) == 2 and arguments[1] is not Ellipsis and len(value) != 2):
            return False
        if len(arguments) > 2 and len(value) != len(arguments):
            return False
        return all(fits(item, arguments[0], with_range) for item in value) and (bool(value) or not with_range)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is str:
        return isinstance(value, str) and (not with_range or (bool(value.strip()) and "\0" not in value))
    return type(value) is hint


def names_of(hint: Any) -> tuple[str, ...]:
    """The names that a value may be, if it is a name."""
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return tuple(name for option in typing.get_args(hint) for name in names_of(option))
    return ()


def listed(hint: Any) -> str:
    """The names that a value may be, for people; with None where that is allowed."""
    return ", ".join([*names_of(hint), *(["None"] if fits(None, hint) else [])])


def example(key: str, value: Any, hint: Any) -> str:
    """What to type where one number stands for several, or a word for True or False; or nothing."""
    if fits(True, hint) and isinstance(value, str) and value.lower() in ("true", "yes", "on", "false", "no", "off"):
        return f"; type --set {key}={value.lower() in ('true', 'yes', 'on')}"
    length = _tuple_length(hint)
    if length is None or isinstance(value, bool):
        return ""
    if isinstance(value, (int, float)):
        of_channels = key.rpartition(".")[2] in ("mean", "std")
        some = (value,) * (length or (3 if of_channels else 1))
        more = "" if length else ", one for each channel" if of_channels else ", or more of them"
        return f"; type --set '{key}={some}'{more}"
    return ""


def shown(value: Any) -> str:
    """A value for a message, however long it is."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 60
    return short.repr(value)


def type_name(hint: Any) -> str:
    """A type for people: `tuple[int, int] | None`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return type_name(arguments[0])
    if origin in (types.UnionType, typing.Union):
        return " | ".join(map(type_name, arguments))
    if origin is tuple:
        return f"tuple[{', '.join('...' if one is Ellipsis else type_name(one) for one in arguments)}]"
    if origin is Literal:
        return f"str ({', '.join(arguments)})"
    if hint is type(None):
        return "None"
    return hint.__name__ if isinstance(hint, type) and not arguments else str(hint)


def _tuple_length(hint: Any) -> int | None:
    """How many items a tuple has, 0 for any number; None if the hint is no tuple."""
    for option in (hint, *typing.get_args(hint)):
        if typing.get_origin(option) is tuple:
            items = typing.get_args(option)
            return 0 if items[-1] is Ellipsis else len(items)
    return None


def _range_of(hint: Any) -> str:
    if typing.get_origin(hint) is Annotated:
        return str(typing.get_args(hint)[1])
    found = (_range_of(option) for option in typing.get_args(hint) if option not in (Ellipsis, type(None)))
    return next((one for one in found if one), "")
