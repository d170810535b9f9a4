"""The `keras-mae` command: it finds the command, parses its flags, and turns errors into a line and an exit code.

The commands are in `keras_mae.commands`; only this module knows all of them.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import sys
import tempfile
from typing import Any

from absl import flags

from keras_mae.commands import (
    attention,
    classifiers,
    converting,
    embedding,
    exporting,
    images,
    mapping,
    predicting,
    pretraining,
    publishing,
    recipes,
    replaying,
    reporting,
    searching,
    segmenting,
)
from keras_mae.commands.command import Command
from keras_mae.commands.log_lines import AboveBars
from keras_mae.registry import did_you_mean

_FAILED = 1
_USAGE_ERROR = 2
_TERMINATED = 128 + 15  # a shell's exit code for a process that SIGTERM ended

_HOME = re.compile(r"(?:--?[\w.]+=)?(?:[\w.]+=)?(?:.*[:,])?~(?:/|$)")  # paths in which a shell does not replace ~
_WRITE_ANYWHERE = ("stats", "tfrecords")  # through TensorFlow's file systems

TENSORFLOW_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",  # errors are raised as well; some logged ones are only missing instructions
    # oneDNN's products: faster, less memory; TensorFlow's default only on processors with AVX-512
    "TF_ENABLE_ONEDNN_OPTS": "1",
}

COMMANDS: dict[str, Command] = {
    "demo": pretraining.DEMO,
    "pretrain": pretraining.PRETRAIN,
    "finetune": classifiers.FINETUNE,
    "segment": segmenting.SEGMENT,
    "linear-probe": classifiers.LINEAR_PROBE,
    "knn": classifiers.KNN,
    "embed": embedding.EMBED,
    "neighbours": searching.NEIGHBOURS,
    "duplicates": searching.DUPLICATES,
    "outliers": searching.OUTLIERS,
    "map": mapping.MAP,
    "predict": predicting.PREDICT,
    "attention": attention.ATTENTION,
    "reconstruct": pretraining.RECONSTRUCT,
    "replay": replaying.REPLAY,
    "report": reporting.REPORT,
    "export": exporting.EXPORT,
    "convert": converting.CONVERT,
    "card": publishing.CARD,
    "push": publishing.PUSH,
    "stats": images.STATS,
    "tfrecords": images.TFRECORDS,
    "recipes": recipes.RECIPES,
}


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns 0, or 2 after a one-line message on invalid arguments or input.

    143 means that a run received SIGTERM, and has saved its state: `--resume` continues it.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("--help", "-h", "-help", "help"):
        print(_overview())
        return 0 if arguments else _USAGE_ERROR
    name, *rest = arguments
    if name == "--version":
        from keras_mae import __version__

        print(__version__)
        return 0
    if name not in COMMANDS:
        return _refuse(f"there is no command {name!r}{did_you_mean(name, COMMANDS, 1)} {', '.join(COMMANDS)}")
    command = COMMANDS[name]
    if any(argument in ("--help", "-h", "-help") for argument in rest):
        print(_help(name, command))
        return 0
    for word in rest:
        if _HOME.match(word):
            typed = word.replace("~", "$HOME", 1)
            return _refuse(f"{name}: a shell replaces ~ at the start of a word only, and not in {word!r}; type {typed}")
    values = command.make_flags()
    try:
        positional = values([name, *rest])[1:]
    except flags.UnrecognizedFlagError as error:
        said = _as_setting(name, error.flagname, rest) or f"{_one_line(error)}; see keras-mae {name} --help"
        return _refuse(f"{name}: {said}")
    except (flags.Error, UnicodeError) as error:
        return _refuse(f"{name}: {_one_line(error)}; see keras-mae {name} --help")
    if positional and command.positional is not None and values[command.positional].value is None:
        values[command.positional].value = positional.pop(0)
    if positional:
        said = f"{name}: takes flags only, such as --output=DIR; got {positional[0]!r}"
        key, equals, _ = positional[0].partition("=")
        if equals and _config_of(name) is not None and key.replace(".", "").isidentifier():
            said += f"; a setting is given as --set {positional[0]}"
        elif equals and key in values:
            said += f"; a flag is given as --{positional[0]}"
        return _refuse(said)
    empty = [f"--{flag}" for flag in values if values[flag].value == ""]
    if empty:
        return _refuse(f"{name}: {empty[0]} is empty; give it a value, or leave it out")
    missing = [f"--{flag}" for flag in command.required if values[flag].value is None]
    if missing:
        return _refuse(f"{name}: needs {' and '.join(missing)}; see keras-mae {name} --help")
    return _run(name, command, values)


def _run(name: str, command: Command, values: flags.FlagValues) -> int:
    from keras_mae.trainers.run import Preempted

    logging.basicConfig(format="%(message)s", handlers=[AboveBars(sys.stderr)])
    logging.getLogger("keras_mae").setLevel(logging.INFO)
    try:
        _check_output(name, values)
        command.check(values)
        if command.needs_tensorflow:
            _start_tensorflow()
        command.run(values)
    except (ValueError, OSError, ImportError) as error:
        return _refuse(f"{name}: {_one_line(error)}")
    except Preempted as error:
        print(f"keras-mae {name}: {error}", file=sys.stderr)
        return _TERMINATED
    except KeyboardInterrupt as interruption:
        print(f"keras-mae {name}: {str(interruption) or 'interrupted'}", file=sys.stderr)
        return 130
    except Exception as error:
        tensorflow = sys.modules.get("tensorflow")
        if tensorflow is None or not isinstance(error, tensorflow.errors.OpError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]  # without the dump of the graph
        print(f"keras-mae {name}: {reason}", file=sys.stderr)
        return _FAILED
    return 0


def _check_output(name: str, values: flags.FlagValues) -> None:
    """Raises a ValueError for an output that would become a local folder called `gs:`."""
    output = values["output"].value if "output" in values else None
    one_slash_less = re.match(r"(gs|s3|hdfs|https?|ram):(?!//)", output or "")
    if one_slash_less:
        raise ValueError(f"the output {output} would be a local folder called {one_slash_less[0]}; is a / missing?")
    if output and "://" in output and name not in _WRITE_ANYWHERE:
        raise ValueError(f"the output is on a local disk, got {output}; name a local one, and copy it afterwards")


def _start_tensorflow() -> None:
    """Imports TensorFlow and finds its devices, without its notices on stderr, of a missing GPU for instance.

    If the import fails, the notices are shown.
    """
    for name, value in TENSORFLOW_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with tempfile.TemporaryFile() as notices:
        stderr = os.dup(2)
        os.dup2(notices.fileno(), 2)
        try:
            _import_tensorflow()
            import tensorflow as tf

            tf.config.list_physical_devices()
        except BaseException:
            notices.seek(0)
            os.write(stderr, notices.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _import_tensorflow() -> None:
    """Imports Keras as well, and keeps Python from looking for garbage among all that is imported.

    None of it ever is garbage: to look for it took a quarter of the time to start and to end.
    """
    if "tensorflow" in sys.modules:
        return
    collecting = gc.isenabled()
    gc.disable()
    try:
        import tensorflow  # noqa: F401

        if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":  # another is refused, with what to do
            import keras  # noqa: F401
    finally:
        gc.freeze()
        if collecting:
            gc.enable()


def _as_setting(name: str, flag: str, arguments: list[str]) -> str | None:
    """The line to type for an unknown flag that is spelled more like a setting than like a flag; None for another."""
    config, known = _config_of(name), list(COMMANDS[name].make_flags())
    if config is None:
        return None
    from keras_mae.trainers.settings import near_settings, short_names

    near = near_settings(flag, [*short_names(config), *known])
    if not near or near[0] in known:
        return None
    value = next((word.partition("=")[2] for word in arguments if word.lstrip("-").startswith(f"{flag}=")), "")
    if not value:
        after = [other for word, other in zip(arguments, arguments[1:]) if word.lstrip("-") == flag]
        value = after[0] if after and not after[0].startswith("-") else "..."
    return f"--{flag} is no flag; {near[0]} is a setting: type --set {near[0]}={value}"


def _config_of(name: str) -> Any:
    """The defaults of a command's settings; None if it has no settings."""
    from keras_mae.trainers.config import CONFIGS

    return CONFIGS[name]() if name in CONFIGS else None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _refuse(message: str) -> int:
    shown = message.encode("utf-8", "backslashreplace").decode()  # an argument need not be UTF-8
    print(f"keras-mae {shown}", file=sys.stderr)
    return _USAGE_ERROR


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items())
    return (
        "keras-mae: pretrain Vision Transformers on unlabelled images with masked autoencoders\n\n"
        f"usage: keras-mae COMMAND [--flag=value ...]\n\n{lines}\n\n"
        "keras-mae COMMAND --help lists the command's flags."
    )


def _help(name: str, command: Command) -> str:
    lines = [f"keras-mae {name}: {command.summary}", ""]
    values = command.make_flags()
    for flag in (values[flag] for flag in values):
        default = "" if flag.default in (None, []) else f" (default: {str(flag.default_as_str).strip(chr(39))})"
        needed = " (required)" if flag.name in command.required else ""
        said = flag.help.partition("\n")[0]  # without absl's line on flags that repeat
        lines += [f"  --{flag.name}{needed}{default}", f"      {said}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
