"""Names and changes of the settings of a config.

A config is a frozen dataclass of parts, and a part a frozen dataclass of settings. `masking.unit` is the full name of
the setting `unit` of the part `masking`; a last name that only one part has may stand alone. A part that is annotated
with a registry can be of any kind there, and `masking` alone stands for its kind.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from keras_mae.registry import Registry, near_names
from keras_mae.trainers.ranges import check_value, fits, hints_of, shown


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of a program, part by part; a part that is None, and has kinds, becomes the first kind.

    Raises:
        ValueError: for a part of no registered kind, or one that another part excludes; for a setting of another type
            or out of range.
    """

    program: ClassVar[str]

    def __post_init__(self) -> None:
        absent = absent_parts(self)
        for name, hint in hints_of(type(self)).items():
            kinds, part = registry_of(hint), getattr(self, name)
            if part is None and name in absent:
                continue
            if name in absent:
                raise ValueError(f"{absent[name]} has no {name}; leave it out")
            if kinds is None:
                if not isinstance(part, hint):
                    raise ValueError(f"{name} is {hint.__name__}, got {shown(part)}")
            elif part is None:
                part = kinds[next(iter(kinds))]()
                object.__setattr__(self, name, part)
            else:
                kinds.name_of(type(part))
            for key, of_setting in hints_of(type(part)).items():
                check_value(f"{name}.{key}", getattr(part, key), of_setting)


ConfigT = TypeVar("ConfigT", bound=Config)

# Other names of settings, in other libraries and in other parts of this one
_ELSEWHERE = {
    "lr": "base_learning_rate",
    "learning_rate": "base_learning_rate",
    "blr": "base_learning_rate",
    "bs": "batch_size",
    "batch": "batch_size",
    "wd": "weight_decay",
    "warmup": "warmup_epochs",
    "depth": "num_layers",
    "block": "layer",
    "mask_sampler": "masking",
    "embed_dim": "hidden_dim",
    "size": "image_size",
    "img_size": "image_size",
    "num_epochs": "epochs",
    "model": "preset",
    "accum_iter": "accumulation_steps",
    "sampler": "masking",
    "mask_unit": "unit",
    "weights": "init",
    "checkpoint": "init",
    "pretrained": "init",
}


def registry_of(hint: Any) -> Registry[type] | None:
    """The kinds that a part may be of; None if there is only one."""
    return next((one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Registry)), None)


def parts_of(config: Config) -> dict[str, Any]:
    """The parts that a config has."""
    parts = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {name: part for name, part in parts.items() if part is not None}


def absent_parts(config: Config) -> dict[str, str]:
    """The names of the excluded parts, with the kind that excludes each, such as `method=simmim`."""
    return {
        absent: f"{field.name}={kind_of(config, field.name)}"
        for field in dataclasses.fields(config)
        for absent in getattr(getattr(config, field.name), "without", ())
    }


def kind_of(config: Config, part: str) -> str | None:
    """The name of a part's kind; None if the part is None, or if there is only one kind."""
    kinds, value = registry_of(hints_of(type(config))[part]), getattr(config, part)
    return None if kinds is None or value is None else kinds.name_of(type(value))


def values_of(config: Config) -> dict[str, Any]:
    """Kinds by the names of their parts, and settings by their full names."""
    values: dict[str, Any] = {}
    for name, hint in hints_of(type(config)).items():
        kinds, part = registry_of(hint), getattr(config, name)
        if part is None:
            continue
        if kinds is not None:
            values[name] = kinds.name_of(type(part))
        values |= {f"{name}.{field.name}": getattr(part, field.name) for field in dataclasses.fields(part)}
    return values


def short_names(config: Config) -> list[str]:
    """The names that `--set` takes, in the order of `values_of`: last names, or full ones where two parts share one."""
    full = list(values_of(config))
    last = [name.rpartition(".")[2] for name in full]
    return [short if last.count(short) == 1 else name for name, short in zip(full, last, strict=True)]


def changed(config: ConfigT, settings: Sequence[str]) -> ConfigT:
    """The config with `key=value` settings, each parsed by the type of its setting; the last value of a key counts.

    Kinds are chosen first, so the order does not matter.

    Raises:
        ValueError: for an unknown key (similar ones are shown), one that several parts have or that belongs to a kind
            that is not chosen; for a value of another type or out of range.
    """
    return _with(config, _split(settings), parse=True)


def names_in(config: Config, settings: Sequence[str]) -> set[str]:
    """The full names of the settings that `key=value` settings set, kinds of parts left out; errors as `changed`."""
    kinds = {name for name, hint in hints_of(type(config)).items() if registry_of(hint) is not None}
    return {_full_name(config, key, value) for key, value in _split(settings).items() if key not in kinds}


def parsed(settings: Sequence[str], hints: dict[str, Any]) -> dict[str, Any]:
    """The values of `key=value` settings, each parsed by the type in `hints`; errors as `changed`."""
    values: dict[str, Any] = _split(settings)
    for key, text in values.items():
        if key not in hints:
            raise _unknown(key, text, list(hints))
        values[key] = _parse(text, hints[key])
        check_value(key, values[key], hints[key])
    return values


def _split(settings: Sequence[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for setting in settings:
        key, equals, text = (part.strip() for part in setting.partition("="))
        if not equals:
            example = f"{key}=..." if key.replace(".", "").isidentifier() else "batch_size=64"
            raise ValueError(f"a setting is written key=value, got {shown(setting)}; such as --set {example}")
        values.pop(key, None)  # the last one counts, also if another spelling of it comes in between
        values[key] = text
    return values


def replaced(config: ConfigT, **values: Any) -> ConfigT:
    """The config with other settings or parts.

    Args:
        config: stays as it is.
        **values: by last name where one part has it, else by full name (`**{"encoder.hidden_dim": 96}`). A part is
            given as an object, or by the name of its kind; then settings of the part before that both kinds have, and
            that differ from their defaults, are kept.

    Raises:
        ValueError: as `changed`.

    Example:

    >>> replaced(mae_digits.config(), method="simmim", masking="units", unit=4, epochs=20)
    """
    return _with(config, values, parse=False)


def _with(config: ConfigT, values: dict[str, Any], parse: bool) -> ConfigT:
    parts = {}
    for name, hint in hints_of(type(config)).items():
        if name in values and (registry_of(hint) is not None or dataclasses.is_dataclass(values[name])):
            parts[name] = _of_kind(registry_of(hint), values[name], getattr(config, name))
    absent = {name for part in parts.values() for name in getattr(part, "without", ()) if name not in parts}
    config = dataclasses.replace(config, **parts, **dict.fromkeys(absent))
    changes: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        if key in parts:
            continue
        part, _, name = _full_name(config, key, value).partition(".")
        hint = hints_of(type(getattr(config, part)))[name]
        changes.setdefault(part, {})[name] = _parse(value, hint) if parse else value
    new = {part: dataclasses.replace(getattr(config, part), **settings) for part, settings in changes.items()}
    return dataclasses.replace(config, **new)


def _of_kind(kinds: Registry[type] | None, value: Any, before: Any) -> Any:
    """The part of a kind, with the settings of the one before that both have and that differ from their defaults."""
    if kinds is None or not isinstance(value, str):
        return value
    kind = kinds[value]
    if before is None or type(before) is kind:
        return before or kind()
    own = {field.name for field in dataclasses.fields(kind)}
    kept = {field.name: (getattr(before, field.name), field.default) for field in dataclasses.fields(before)}
    return kind(**{name: now for name, (now, default) in kept.items() if name in own and now != default})


def _full_name(config: Config, key: str, value: Any) -> str:
    full = [name for name in values_of(config) if "." in name]
    found = [name for name in full if key in (name, name.rpartition(".")[2])]
    if len(found) == 1:
        return found[0]
    if found:
        typed = " or ".join(f"--set {name}={value}" for name in found)
        raise ValueError(f"{key} is a setting of {' and of '.join(n.partition('.')[0] for n in found)}: type {typed}")
    meant, absent = _ELSEWHERE.get(key.lower().replace("-", "_"), key), absent_parts(config)
    for part, hint in hints_of(type(config)).items():
        if key == part:
            names = ", ".join(name for name in full if name.startswith(f"{part}."))
            raise ValueError(f"{part} is a part of several settings, which are set one by one: {names}")
        kinds: Mapping[str, type] = registry_of(hint) or {}
        have = [kind for kind in kinds if meant.removeprefix(f"{part}.") in hints_of(kinds[kind])]
        if not have or kind_of(config, part) in have:
            continue
        if part in absent:
            raise ValueError(f"{meant} is a setting of the {part}, and {absent[part]} has none; leave it out")
        raise ValueError(
            f"{meant} is for {part}={' or '.join(have)}; the {part} is {kind_of(config, part)}; type --set "
            f"{part}={have[0]}, too, or leave {meant} out"
        )
    raise _unknown(key, value, short_names(config))


def _unknown(key: str, value: Any, known: list[str]) -> ValueError:
    near = near_settings(key, known)
    hint = f"; did you mean {' or '.join(near)}? Type --set {near[0]}={value}. There are:" if near else "; there are:"
    return ValueError(f"there is no setting {shown(key)}{hint} {', '.join(known)}")


def near_settings(word: str, known: Iterable[str]) -> list[str]:
    """The known settings whose spelling is near to a word, or that other libraries call by this word."""
    word, known = word.lower().replace("-", "_"), list(known)
    if (dotted := word.replace("_", ".", 1)) in known:
        return [dotted]
    by_last: dict[str, list[str]] = {}
    for name in known:
        by_last.setdefault(name.rpartition(".")[2], []).append(name)
    word = word if word in by_last else word.rpartition(".")[2]
    near = [_ELSEWHERE[word]] if _ELSEWHERE.get(word) in by_last else near_names(word, by_last, 3)
    return [name for last in near for name in by_last[last]]


def _parse(text: str, hint: Any) -> Any:
    if fits("text", hint, with_range=False):  # a name or a path may look like a number
        return None if text == "None" and fits(None, hint) else text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # all that it raises
        return text
