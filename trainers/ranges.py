"""The values that a setting may have: a type with a range or with names, declared beside its field.

Neither TensorFlow nor Keras is imported, so that a wrong value is refused at once.
"""

from __future__ import annotations

import dataclasses
import functools
import reprlib
import types
import typing
from typing import Annotated, Any, Literal

from keras_mae.encoders.pooling import OF_HEADS, POOLINGS
from keras_mae.encoders.presets import PRESETS
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


LARGEST_COUNT = 1_000_000
Count = Annotated[int, Range(1, LARGEST_COUNT)]
Layers = Annotated[int, Range(1, 1000)]
Level = Annotated[int, Range(0, 255)]
Magnitude = Annotated[float, Range(0, 10)]  # of RandAugment
Size = Annotated[int, Range(1, 65_536)]
Channel = Annotated[int, Range(0, 65_535)]
PrefixTokens = Annotated[int, Range(0, 1000)]
Seed = Annotated[int, Range(0, 2**31 - 1)]  # what `ExampleSeed` takes
Megapixels = Annotated[float, Range(0, 10_000, without=(0,))]
Positive = Annotated[float, Range(0, 1_000_000_000, without=(0,))]
AtLeast0 = Annotated[float, Range(0, 1_000_000_000)]
Rate = Annotated[float, Range(0, 1000, without=(0,))]
Share = Annotated[float, Range(0, 1)]
ShareBelow1 = Annotated[float, Range(0, 1, without=(1,))]
ShareAbove0 = Annotated[float, Range(0, 1, without=(0,))]

Preset = Annotated[str, tuple(PRESETS)]
Pooling = Annotated[str, POOLINGS]
HeadPooling = Annotated[str, OF_HEADS]
WeightsFormat = Literal["hf", "mae_torch", "timm", "simmim_torch", "keras"]
Task = Literal["classes", "labels", "numbers"]
SpikeAction = Literal["skip", "clip"]
DtypePolicy = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Tracker = Literal["tensorboard", "mlflow", "wandb"]


_UNIONS = (types.UnionType, typing.Union)
_type_hints = functools.cache(typing.get_type_hints)  # it takes milliseconds


def hints_of(kind: type) -> dict[str, Any]:
    """The types of a dataclass' fields, with their ranges."""
    hints = _type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def check_value(key: str, value: Any, hint: Any) -> None:
    """Checks one value by its type and range.

    Raises:
        ValueError: with key, value, what is allowed, and what to type.
    """
    if fits(value, hint):
        return
    got, names, limits = shown(value), names_of(hint), _range_of(hint)
    if names and isinstance(value, str):
        known = [*names, *(["None"] if fits(None, hint) else [])]
        raise ValueError(f"no {key} is called {got}{did_you_mean(value, names)} {', '.join(known)}")
    if not fits(value, hint, with_range=False):
        said = _example(key, value, hint) or (f"; it lies in {limits}" if limits and not _tuple_length(hint) else "")
        raise ValueError(f"{key} is of type {type_name(hint)}, got {got}{said}")
    if isinstance(value, str):
        raise ValueError(f"{key} is a name or a path, got {got}")
    if value == ():
        raise ValueError(f"{key} has one number or more, got ()")
    each = "every number of " if isinstance(value, tuple) else ""
    raise ValueError(f"{each}{key} lies in {limits}, got {key}={got}")


def fits(value: Any, hint: Any, with_range: bool = True) -> bool:
    """Whether a value is of a type and, if that is asked for, in its range or among its names."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in _UNIONS:
        return any(fits(value, option, with_range) for option in arguments)
    if origin is Annotated:
        return fits(value, arguments[0], with_range) and (not with_range or value in arguments[1])
    if origin is Literal:
        return isinstance(value, str) and (not with_range or value in arguments)
    if origin is tuple:
        if not isinstance(value, tuple) or (Ellipsis not in arguments and len(value) != len(arguments)):
            return False
        return all(fits(item, arguments[0], with_range) for item in value) and (bool(value) or not with_range)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is str:
        return isinstance(value, str) and (not with_range or (bool(value.strip()) and "\0" not in value))
    return type(value) is hint


def names_of(hint: Any) -> tuple[str, ...]:
    """The names that a value may be, if it is a name."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return arguments
    if origin is Annotated:
        return () if isinstance(arguments[1], Range) else tuple(arguments[1])
    return tuple(name for option in arguments for name in names_of(option)) if origin in _UNIONS else ()


def shown(value: Any) -> str:
    """A value for a message, shortened if it is long."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 60
    return short.repr(value)


def type_name(hint: Any) -> str:
    """A type for people: `tuple[int, int] | None`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in _UNIONS:
        return " | ".join(map(type_name, arguments))
    if names := names_of(hint):
        return f"str ({', '.join(names)})"
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is tuple:
        return f"tuple[{', '.join('...' if one is Ellipsis else type_name(one) for one in arguments)}]"
    return "None" if hint is type(None) else hint.__name__


def _example(key: str, value: Any, hint: Any) -> str:
    """The setting to type where one number stands for several, or a word for True or False; or nothing."""
    if fits(True, hint) and isinstance(value, str) and value.lower() in ("true", "yes", "on", "false", "no", "off"):
        return f"; type --set {key}={value.lower() in ('true', 'yes', 'on')}"
    length = _tuple_length(hint)
    if length is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return ""
    of_channels = key.rpartition(".")[2] in ("mean", "std")
    some = (value,) * (length or (3 if of_channels else 1))
    more = "" if length else ", one for each channel" if of_channels else ", or more of them"
    return f"; type --set '{key}={some}'{more}"


def _tuple_length(hint: Any) -> int | None:
    """How many items a tuple has, 0 for any number; None if the hint is no tuple."""
    for option in (hint, *typing.get_args(hint)):
        if typing.get_origin(option) is tuple:
            items = typing.get_args(option)
            return 0 if items[-1] is Ellipsis else len(items)
    return None


def _range_of(hint: Any) -> str:
    if isinstance(hint, Range):
        return str(hint)
    return next(filter(None, map(_range_of, typing.get_args(hint))), "")
