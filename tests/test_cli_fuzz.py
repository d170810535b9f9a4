"""Random commands, flags, settings, files and folders: a one-line answer, or it works; no traceback and no hang.

`python -m tests.test_cli_fuzz EXAMPLES` runs them in one process that imports TensorFlow and does not start it: each
command is run by a forked child, in a copy of a folder of small files, within a bound of time.
"""

import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from keras_mae import cli
from keras_mae.retrieval import write_vectors
from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.knn_config import KnnConfig
from keras_mae.trainers.segment_config import SegmentConfig
from keras_mae.trainers.settings import short_names, values_of
from tests.base import run_forked
from tests.drawn import TINY, write, write_pictures

BOUND = 120  # seconds for a command that takes some five: more is a hang, on a busy machine too
CODES = (0, 1, 2, 130, 143)
CONFIGS = {
    "pretrain": (PretrainConfig, "mae_small_images"),
    "finetune": (FinetuneConfig, "finetune_small_images"),
    "segment": (SegmentConfig, "segment_small_images"),
    "linear-probe": (ProbeConfig, "probe_small_images"),
    "knn": (KnnConfig, None),
}
# What a run of a second has in place of the recipe's; further settings come after these, and replace them
SMALL = {
    "pretrain": (*TINY, "epochs=1", "warmup_epochs=0"),
    "finetune": ("image_size=(16,16)", "epochs=1", "warmup_epochs=0", "batch_size=4"),
    "segment": ("image_size=(16,16)", "epochs=1", "warmup_epochs=0", "batch_size=4"),
    "linear-probe": ("image_size=(16,16)", "epochs=1", "warmup_epochs=0", "batch_size=4"),
    "knn": ("k=(1,)",),
}
PATHS = (
    "classes",
    "pictures",
    "bad",
    "empty",
    "nowhere",
    "run",
    "run/encoder.keras",
    "photos.npz",
    "vectors.npz",
    "bad.npz",
    "zero.keras",
    "notes.txt",
    "notes.txt/below",
    "out",
    "out/a/b",
    "out.onnx",
    "classes/a/000.png",
    "stats.json",
    ".",
    "/dev/null",
    "gs:",
    "file\udcff",
    "-",
    " ",
    "",
    "x" * 300,
)
DATA = (
    "digits",
    "folder:classes",
    "folder:pictures",
    "npz:photos.npz",
    "memory:folder:classes",
    "disk:out/cache:folder:classes",
)
WRONG_DATA = ("folder:", "npz:", "tfrecord:*", "tfds:nothing", "memory:", "memory:memory:digits", "disk:x", "digit")
LITERALS = (
    *("-1", "0", "1", "2", "3", "4", "8", "0.5", "-0.5", "1e-3", "1e999", "nan", "inf", "10**9", str(10**30)),
    *("None", "True", "False", "yes", "", " ", "'", "x", "{[]:1}", "[" * 300, "-" * 300, "()", "(0,)", "(0.5,)"),
    *("(16,16)", "(4,4)", "(0,0)", "(-4,4)", "(15,16)", "(0.2,1)", "(1,0.2)", "(1,2,3)", "((1,),2)", "(nan,1)"),
    *("\x00", "é", "\udcff", "cls", "mean", "random", "units", "pixels", "simmim", "vit_tiny_patch16", "folder:bad"),
)

# Those that do more are drawn more often
PROGRAMS = [*cli.COMMANDS, *CONFIGS, *CONFIGS, "export", "export", "convert", "reconstruct", "stats", "tfrecords"]
KEYS_OF = {program: {*values_of(config()), *short_names(config())} for program, (config, _) in CONFIGS.items()}
KEYS = sorted(
    {name for names in KEYS_OF.values() for name in names} | {"epoch", "", "a b", "hidden_dim", "unit", "data"}
)


def settings_of(program):
    """`key=value`, mostly of a setting that the program has."""
    own = sorted(KEYS_OF[program]) if program in CONFIGS else KEYS
    keys = st.one_of(*[st.sampled_from(own)] * 5, st.sampled_from(KEYS))
    return st.builds("{}{}{}".format, keys, st.sampled_from(["="] * 19 + [""]), st.sampled_from(LITERALS))


def flag_of(program, name):
    """`--name=value`, with values that suit the flag and some that do not."""
    kinds = {
        "data": st.sampled_from(DATA + WRONG_DATA) | st.sampled_from(PATHS).map("folder:{}".format),
        "set": settings_of(program),
        "recipe": st.sampled_from(["mae_small_images", "mae_digits", "finetune_digits", "probe_digits", "vit", ""]),
        "strategy": st.sampled_from(["auto", "single", "mirrored", "multiworker", "tpu", ""]),
    }
    paths = ("run", "init", "output", "validation_data", "checkpoint", "stats", "labels", "folder", "results")
    paths += ("vectors", "query")
    for path in paths:
        kinds[path] = st.sampled_from(PATHS)
    value = kinds.get(name, st.sampled_from(LITERALS))
    written = value.map(f"--{name}={{}}".format)
    return st.one_of(*[written] * 8, st.just(f"--{name}"), st.just(f"--no{name}"))


@st.composite
def command_lines(draw, quick=False):
    """A command with what it needs, mostly in order, and something more or less; quick ones have too few images."""
    name = draw(st.sampled_from(PROGRAMS))
    command = cli.COMMANDS[name]
    good = {
        "data": f"--data={draw(st.sampled_from(DATA[1:]))}",
        "output": "--output=out",
        "run": "--run=run",
        "checkpoint": "--checkpoint=run/encoder.keras",
        "format": "--format=keras",
        "output_format": "--output_format=timm",
        "vectors": "--vectors=vectors.npz",
        "query": "--query=3.png",
        "to": "--to=hf://me/..",  # no repository has this name, so that nothing is uploaded with a token that is there
    }
    arguments = [good[flag] for flag in command.required]
    if name in ("linear-probe", "knn", "export"):
        arguments.append(draw(st.sampled_from(["--run=run", "--run=run", "--init=run", "--init=run/encoder.keras"])))
    if name == "demo":
        arguments.append("--seed=x")  # it takes minutes, and is tested elsewhere
    if name in CONFIGS:
        arguments += [f"--recipe={CONFIGS[name][1]}"] if CONFIGS[name][1] else []
        arguments += [f"--set={setting}" for setting in SMALL[name]]
        arguments += ["--set=batch_size=64"] if quick and name != "knn" else []
        if draw(st.booleans()) and name != "pretrain":
            arguments += ["--run=run"]
        arguments += draw(st.lists(settings_of(name).map("--set={}".format), max_size=2))
    flags = [flag for flag in command.make_flags() if not (name == "demo" and flag == "seed")]
    arguments += draw(st.lists(st.sampled_from(flags).flatmap(lambda flag: flag_of(name, flag)), max_size=2))
    if draw(st.integers(0, 9)) == 0:
        arguments.pop(draw(st.integers(0, len(arguments) - 1))) if arguments and name != "demo" else None
    if draw(st.integers(0, 9)) == 0:
        arguments.insert(
            0, draw(st.sampled_from(["--outptu=x", "junk", "--", "-h", "--batch_size=32", "", "a=b", "--"]))
        )
    if draw(st.integers(0, 19)) == 0:
        name = draw(st.sampled_from(["pretrian", "", "--data=digits", "\udcff", name.upper()]))
    return [name, *arguments]


def make_world(folder, quick=False):
    """Small files and folders of every kind that a command may be given, good and bad."""
    for kind in "ab":
        write_pictures(os.path.join(folder, "classes", kind), 10, size=(20, 24) if kind == "a" else (18, 16))
    write_pictures(os.path.join(folder, "pictures"), 9)
    write_pictures(os.path.join(folder, "bad"), 3, corrupt=(0, 1, 2))
    os.makedirs(os.path.join(folder, "empty"))
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype("uint8")
    np.savez(os.path.join(folder, "photos.npz"), images=pixels, labels=np.arange(20) % 2, masks=pixels[..., 0] % 2)
    names = [f"{number}.png" for number in range(20)]
    header = {"data": f"npz:{folder}/photos.npz", "image_shape": [16, 16, 3]}
    vectors = np.random.default_rng(1).standard_normal((20, 8))
    write_vectors(os.path.join(folder, "vectors.npz"), names, np.arange(20), None, vectors, header)
    np.savez(os.path.join(folder, "bad.npz"), pictures=pixels[:2].astype("float32"))
    write(os.path.join(folder, "zero.keras"), b"")
    write(os.path.join(folder, "notes.txt"), b"years of work")
    write(os.path.join(folder, "stats.json"), b'{"mean": [NaN]')
    if quick:
        return
    arguments = [f"--set={setting}" for setting in SMALL["pretrain"]]
    code, said, _ = run_in(
        folder, ["pretrain", "--data=folder:classes", "--output=run", "--recipe=mae_small_images", *arguments]
    )
    if code:
        raise RuntimeError(said)


def run_in(folder, arguments):
    """Exit code, stderr, and whether it was ended at the bound, of a command that a forked child runs in a folder."""
    with tempfile.TemporaryFile() as said:
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                os.chdir(folder)
                with open(os.devnull, "w") as nowhere:
                    os.dup2(nowhere.fileno(), 1)
                os.dup2(said.fileno(), 2)
                code = cli.main(arguments)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            except BaseException:
                traceback.print_exc()
            finally:
                with contextlib.suppress(ValueError):
                    sys.stderr.flush()
                os._exit(code)
        end = time.monotonic() + BOUND
        ended, status = os.waitpid(pid, os.WNOHANG)
        while not ended and time.monotonic() < end:
            time.sleep(0.005)
            ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        said.seek(0)
        return os.waitstatus_to_exitcode(status), said.read().decode(errors="replace"), not ended


def files_of(folder):
    """Path and contents' size of everything that lies in a folder."""
    return {
        os.path.relpath(os.path.join(directory, name), folder): os.path.getsize(os.path.join(directory, name))
        for directory, folders, files in os.walk(folder)
        for name in (*folders, *files)
        if name in files or not os.listdir(os.path.join(directory, name))
    }


def check(world, arguments):
    """Runs a command line in a copy of the world, and checks what every command line has to keep."""
    with tempfile.TemporaryDirectory() as parent:
        folder = os.path.join(parent, "world")
        shutil.copytree(world, folder)
        before = files_of(folder)
        code, said, hung = run_in(folder, arguments)
        after = files_of(folder)
    context = f"{arguments}\nexit code {code}\n{said[-3000:]}"
    if hung:
        raise AssertionError(f"no end after {BOUND} s: {context}")
    if code not in CODES or "Traceback" in said:
        raise AssertionError(f"a traceback, or an exit code that is none: {context}")
    for name in ("notes.txt", "photos.npz", "classes/a/000.png"):
        if after.get(name) != before[name] and f"--output={name}" not in arguments:
            raise AssertionError(f"{name} has changed: {context}")
    new = sorted(set(after) - set(before))
    # a run that has begun may be resumed; a copy of the data in a cache, and pictures, are whole
    begun = any(os.path.basename(name) in ("config.json", "index.npz") for name in new)
    if any(".writing-" in name for name in new) or (code == 2 and new and not begun):
        raise AssertionError(f"half-written: {new}: {context}")
    lines = said.splitlines()
    if code == 2:
        ours = [line for line in lines if line.startswith("keras-mae ")]
        if arguments[0] in cli.COMMANDS and (len(ours) != 1 or lines[-1] != ours[0]):
            raise AssertionError(f"not one line that says why: {context}")
        if not begun and len(lines) != 1 and not all(_is_log(line) for line in lines[:-1]):
            raise AssertionError(f"more than one line: {context}")
    return code


def _is_log(line):
    training = r"features of \d+|\d+ of \d+ images|.* written with|checking with|the images of"
    weights = r"loaded \d+ var|  |the decoder starts|position embeddings|measured on|mean \S+ and|\S+: (the file|its)"
    return re.match(rf"{training}|{weights}|the card |.* has no (log|pictures)", line) is not None


def main(examples, seed, quick):
    import keras  # noqa: F401  imported once; nothing is computed before a child does

    import keras_mae.export
    import keras_mae.trainers.finetune
    import keras_mae.trainers.knn
    import keras_mae.trainers.linear_probe
    import keras_mae.trainers.pretrain  # noqa: F401

    codes, begin = {}, time.monotonic()
    with tempfile.TemporaryDirectory() as world:
        make_world(world, quick)

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=False,
            phases=[hypothesis.Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(command_lines(quick))
        def fuzz(arguments):
            code = check(world, arguments)
            codes[code] = codes.get(code, 0) + 1

        try:
            fuzz()
        finally:
            print(f"{sum(codes.values())} command lines in {time.monotonic() - begin:.0f} s, by exit code: {codes}")


@pytest.mark.medium
def test_random_command_lines():
    assert " command lines in " in run_forked("-m", "tests.test_cli_fuzz", "15", "0", "quick").stdout  # 5 s


@pytest.mark.slow
def test_many_random_command_lines():
    assert " command lines in " in run_forked("-m", "tests.test_cli_fuzz", "600", "1").stdout


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), "quick" in sys.argv)
