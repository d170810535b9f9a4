"""`keras-mae` as a user types it: help, exit codes, one-line messages, and pretrain -> reconstruct -> export."""

import os
import shutil
import statistics
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mae import cli
from keras_mae.trainers import recipes
from tests.base import run_python
from tests.drawn import TINY, as_image, drawn, encoded, write, write_pictures
from tests.two_formats import patched
from tests.typed import keras_mae, refused

SETTINGS = [f"--set={setting}" for setting in TINY]
NAMES = (
    "demo, pretrain, finetune, segment, linear-probe, knn, embed, neighbours, duplicates, outliers, map, predict, "
    "attention, reconstruct, replay, report, export, convert, card, push, stats, tfrecords, recipes"
)
RECIPE = ["--recipe=mae_small_images", *SETTINGS]


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path / "pictures", 10)


def test_help_lists_every_command(capsys):
    for arguments in (["--help"], ["-h"], ["help"]):
        assert cli.main(arguments) == 0
        text = capsys.readouterr().out
        assert "usage: keras-mae COMMAND" in text
        assert all(f"  {name} " in text and command.summary in text for name, command in cli.COMMANDS.items())
    assert set(cli.COMMANDS) == set(NAMES.split(", "))  # no command that is not there


def test_without_arguments_it_shows_the_help_and_fails(capsys):
    assert cli.main([]) == 2
    assert "usage: keras-mae COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_of_a_command_lists_its_flags(name, capsys):
    for arguments in ([name, "--help"], [name, "--output=x", "-h"]):
        assert cli.main(arguments) == 0
        text = capsys.readouterr().out
        command = cli.COMMANDS[name]
        assert text.startswith(f"keras-mae {name}: {command.summary}")
        for flag in command.make_flags():
            assert f"  --{flag}" in text
        assert text.count("(required)") == len(command.required)
    assert cli.main(["pretrain", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--data (required)" in text and "--recipe (default: auto)" in text


def test_version_and_recipes(capsys):
    import keras_mae as package

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == package.__version__
    assert cli.main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    programs = {line for line in lines if not line.startswith(" ")}
    assert programs == {f"for keras-mae {program}:" for program in ("pretrain", "finetune", "segment", "linear-probe")}
    listed = [line for line in lines if line not in programs]
    of_auto, listed = listed[0], listed[1:]
    assert of_auto.split()[0] == "auto" and "chosen by your images" in of_auto
    assert sorted(line.split()[0] for line in listed) == recipes.names()
    assert all(line.endswith(recipes.title(line.split()[0])) for line in listed)


def seconds_of(*arguments):
    begin = time.perf_counter()
    done = run_python(*arguments)
    assert done.returncode == 0 and "keras-mae" in done.stdout and done.stderr == ""
    return time.perf_counter() - begin


@pytest.mark.medium
def test_help_is_quick():
    assert statistics.median(seconds_of("-m", "keras_mae", "--help") for _ in range(3)) < 1.5


@pytest.mark.medium
def test_help_of_every_command_is_quick():
    """All of them in one process, within the time that each is given."""
    program = (
        "import contextlib, io, sys\n"
        "from keras_mae import cli\n"
        "for name in cli.COMMANDS:\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as said:\n"
        "        assert cli.main([name, '--help']) == 0\n"
        "    assert f'keras-mae {name}' in said.getvalue(), name\n"
        "print('keras-mae')"
    )
    assert statistics.median(seconds_of("-c", program) for _ in range(3)) < 1.5


def test_help_and_refused_settings_import_neither_tensorflow_nor_keras():
    program = (
        "import sys; from keras_mae import cli; cli.main(['-h'])\n"
        "for name in cli.COMMANDS: cli.main([name, '--help'])\n"
        "assert cli.main(['pretrain', '--data=digits', '--output=run', '--set', 'lr=1']) == 2\n"
        "print([name for name in ('tensorflow', 'keras', 'numpy', 'PIL', 'sklearn') if name in sys.modules])"
    )
    assert run_python("-c", program).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrian"], "there is no command 'pretrian'; did you mean pretrain? There are: " + NAMES),
        (["--data=digits", "pretrain"], "there is no command '--data=digits'"),
        (
            ["pretrain", "--dta=digits"],
            "pretrain: Unknown command line flag 'dta'. Did you mean: data, data_service, stats ?; see keras-mae",
        ),
        (["pretrain"], "pretrain: needs --data and --output; see keras-mae pretrain --help"),
        (["pretrain", "--data=digits"], "pretrain: needs --output; see keras-mae pretrain --help"),
        (["export", "--output=x"], "export: needs --run or --init; see keras-mae export --help"),
        (["pretrain", "digits", "--output=x"], "pretrain: takes flags only, such as --output=DIR; got 'digits'"),
        (
            ["embed", "--output=~/x"],
            "embed: a shell replaces ~ at the start of a word only, and not in '--output=~/x'; type --output=$HOME/x",
        ),
        (["embed", "--data=pairs:/a,~/b"], "embed: a shell replaces ~ at the start of a word only"),
        (
            ["embed", "--data", "disk:/c:folder:~/x"],
            "embed: a shell replaces ~ at the start of a word only, and not in 'disk",
        ),
        (["embed", "--set=labels=~/x.csv"], "embed: a shell replaces ~ at the start of a word only"),
        (["embed", "--output=x~/y~"], "embed: needs "),
        (["recipes", "all"], "recipes: takes flags only, such as --output=DIR; got 'all'"),
        (["demo", "--seed=many"], "demo: flag --seed=many: invalid literal for int()"),
        (["pretrain", "--data"], "pretrain: Missing value for flag --data"),
        (["export", "--run=x", "--output=y", "--pooling=max"], "export: flag --pooling=max: value should be one of"),
        (["reconstruct", "--run=x", "--count=0"], "reconstruct: flag --count=0: 0 is not"),
    ],
)
def test_wrong_words_and_flags(capfd, arguments, message):
    assert refused(capfd, *arguments).startswith(f"keras-mae {message}")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data=photos"], "data is given as digits, folder:PATH, npz:PATH, "),
        (
            ["--data=folder:PICTURES/../empty"],
            "holds no image; looked for .jpg, .jpeg, .png, .bmp, .gif, .webp, .tif, .tiff",
        ),
        (["--data=folder:/nowhere/at/all"], "folder:/nowhere/at/all: there is no such folder"),
        (["--data=npz:PICTURES/000.png"], "000.png: is not a file written by numpy.savez"),
        (["--recipe=mae_digit"], "no recipe is called 'mae_digit'; did you mean mae_digits"),
        (["--set=epoch=3"], "there is no setting 'epoch'; did you mean epochs"),
        (["--set=epochs=some"], "epochs is of type int, got 'some'"),
        (["--set=image_size=(15,16)"], "15"),
        (["--set=mask_ratio=0.99"], "leaves none of the 16 patches visible"),
        (["--output=TAKEN"], "holds something that is not a run; name another"),
        (["--resume"], "is not the folder of a run: it holds no config.json"),
        (["--resume", "--overwrite"], "--resume continues the run that is there, --overwrite discards it: give one"),
        (["--output=PICTURES/000.png/run"], "Not a directory"),
    ],
)
def test_what_cannot_work(capfd, pictures, tmp_path, flags, message):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "taken" / "thesis.tex", b"years of work")
    flags = [flag.replace("PICTURES", pictures).replace("TAKEN", str(tmp_path / "taken")) for flag in flags]
    line = refused(capfd, "pretrain", f"--data=folder:{pictures}", f"--output={tmp_path}/run", *RECIPE, *flags)
    assert message in line and line.startswith("keras-mae pretrain: ")
    assert not (tmp_path / "run").exists() and os.listdir(tmp_path / "taken") == ["thesis.tex"]


@pytest.mark.medium
def test_all_images_corrupt(tmp_path):
    """In a process of its own, where TensorFlow's notice of every such image is kept off the terminal."""
    folder = write_pictures(tmp_path / "pictures", 10, corrupt=range(10))
    done = keras_mae("pretrain", f"--data=folder:{folder}", f"--output={tmp_path}/run", *RECIPE)
    message = f"keras-mae pretrain: none of the 10 images can be decoded, such as {folder}/000.png ("
    chosen, line = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "") and chosen.startswith("dtype_policy=auto: ")
    assert line.startswith(message) and line.endswith(")") and "function_node" not in line


@pytest.mark.parametrize("command", [["reconstruct"], ["export", "--output=x"]])
def test_commands_on_a_folder_without_a_run(capfd, tmp_path, command):
    line = refused(capfd, *command, f"--run={tmp_path}")
    assert f"{tmp_path} is not the folder of a run: it holds no config.json" in line


def test_flags_of_one_call_do_not_reach_the_next(capfd, monkeypatch):
    seen = []
    command = cli.COMMANDS["pretrain"]
    monkeypatch.setitem(
        cli.COMMANDS,
        "pretrain",
        cli.Command("", command.make_flags, lambda values: seen.append(values), command.required),
    )
    assert cli.main(["pretrain", "--data=a", "--output=b", "--set=epochs=1", "--set=seed=2", "--resume"]) == 0
    assert refused(capfd, "pretrain").startswith("keras-mae pretrain: needs --data and --output")
    assert cli.main(["pretrain", "--data", "c", "--output", "d", "--set", "seed=3"]) == 0
    first, second = seen
    assert (first.data, first.output, first.set, first.resume) == ("a", "b", ["epochs=1", "seed=2"], True)
    assert (second.data, second.output, second.set, second.resume) == ("c", "d", ["seed=3"], False)


@pytest.mark.parametrize(("given", "expected"), [({}, "1"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")])
def test_programs_turn_onednn_on_unless_it_is_turned_off(monkeypatch, given, expected):
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"} | given
    monkeypatch.setattr(os, "environ", environment)
    cli._start_tensorflow()
    assert environment["TF_ENABLE_ONEDNN_OPTS"] == expected


@pytest.mark.parametrize("message", ["interrupted", "interrupted: 3 of 5 images are embedded"])
def test_an_interrupted_command_says_so(capfd, monkeypatch, message):
    def interrupted(values):
        raise KeyboardInterrupt(*([message] if ":" in message else []))

    monkeypatch.setitem(cli.COMMANDS, "recipes", cli.Command("", cli.COMMANDS["recipes"].make_flags, interrupted))
    assert cli.main(["recipes"]) == 130
    assert capfd.readouterr().err == f"keras-mae recipes: {message}\n"


@pytest.mark.medium
def test_pretrain_reconstruct_export(capfd, tmp_path, monkeypatch):
    """On a nested folder of several formats, modes and sizes; the first in a process of its own."""
    folder, run, model = tmp_path / "pictures", tmp_path / "run", tmp_path / "model"
    patched(monkeypatch)  # tests/data/test_formats.py has the other formats
    kinds = [("JPEG", 3), ("JPEG", 1), ("PNG", 4), ("PNG", 2), ("PNG", 3), ("PNG", 1)]
    for number in range(18):
        form, channels = kinds[number % len(kinds)]
        picture = as_image(drawn(12 + number, 40 - number, channels, seed=number))
        write(folder / f"class {number % 3}" / f"{number}.{form}", encoded(picture, form))

    pretrain = ["pretrain", f"--data=folder:{folder}", f"--output={run}", *RECIPE, "--set=jit_compile=False"]
    done = keras_mae(*pretrain)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"wrote {run}\n"
    assert "Traceback" not in done.stderr and "18 images, 2 steps an epoch, 3 epochs" in done.stderr
    assert {"config.json", "log.jsonl", "model.keras", "encoder.keras", "reconstructions"} <= set(os.listdir(run))

    capfd.readouterr()
    five = ["reconstruct", f"--run={run}", "--count=5", f"--output={tmp_path}/seen/five.png", "--mask_ratio=0.5"]
    assert cli.main(five) == 0
    assert capfd.readouterr().out == f"wrote {tmp_path}/seen/five.png\n"
    with Image.open(tmp_path / "seen" / "five.png") as picture:
        assert picture.size == (4 * (4 * 112 + 32) - 4, 2 * 120 + 44 + 2 * 17 + 4)  # four forms, two lines on them

    assert cli.main(["export", f"--run={run}", f"--output={model}", "--version=7", "--pooling=cls"]) == 0
    assert capfd.readouterr().out == f"wrote {model}/7, and checked it in a fresh process\n"
    serve = tf.saved_model.load(str(model / "7")).signatures["serving_default"]
    contents = (folder / "class 0" / "0.JPEG").read_bytes()
    embedding = serve(image_bytes=tf.constant([contents]))["embedding"].numpy()
    assert embedding.shape == (1, 16) and np.isfinite(embedding).all() and embedding.std() > 0


@pytest.mark.medium
def test_commands_on_a_run(capfd, tmp_path, monkeypatch):
    patched(monkeypatch)
    run = tmp_path / "run"
    np.savez(tmp_path / "pictures.npz", images=np.stack([drawn(20, 24, seed=number) for number in range(10)]))
    quick = ("--set=epochs=2", "--set=jit_compile=False")
    pretrain = ["pretrain", f"--data=npz:{tmp_path}/pictures.npz", f"--output={run}", *RECIPE, *quick]
    assert cli.main(pretrain) == 0
    assert "holds another run; continue it with --resume, discard it with --overwrite" in refused(capfd, *pretrain)
    other = refused(capfd, *pretrain, "--resume", "--set=epochs=4")
    assert other.endswith("has another config, and cannot be resumed: optimizer.epochs: 2 there, 4 now")

    assert cli.main(["reconstruct", f"--run={run}"]) == 0
    assert (run / "reconstructions" / "reconstructions.png").exists()
    elsewhere = write_pictures(tmp_path / "elsewhere", 2, size=(31, 17), channels=1)
    assert cli.main(["reconstruct", f"--run={run}", f"--data=folder:{elsewhere}", f"--output={tmp_path}/two.png"]) == 0
    with Image.open(tmp_path / "two.png") as picture:
        assert picture.size == (2 * (4 * 112 + 32) - 4, 120 + 44 + 3 * 17 + 4)  # the first line is too long for two
    copy = shutil.copy(run / "model.keras", tmp_path / "copy.keras")
    for file in (run / "model.keras", copy):  # the copy is of a default crop ratio, so it may show less
        output = tmp_path / f"{file.name}.png"
        assert cli.main(["reconstruct", f"--run={file}", f"--data=folder:{elsewhere}", f"--output={output}"]) == 0
    assert (tmp_path / "model.keras.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    line = refused(capfd, "reconstruct", f"--run={copy}")
    assert "copy.keras lies in no run's folder: give --data, the images, and --output, the PNG to write" in line
    line = refused(capfd, "reconstruct", f"--run={run}/encoder.keras")
    assert "encoder.keras holds ViTEncoder; reconstruct needs MaskedAutoencoder or SimMIM" in line
    line = refused(capfd, "reconstruct", f"--run={run}", "--mask_ratio=1")
    assert "a mask ratio lies in [0, 1)" in line

    (tmp_path / "model" / "1").mkdir(parents=True)
    line = refused(capfd, "export", f"--run={run}", f"--output={tmp_path}/model")
    assert "is there already, and a served version never changes: export a higher version" in line
    line = refused(capfd, "export", f"--run={run}", f"--output={tmp_path}/model", "--version=0")
    assert "a version is a positive integer, got 0" in line
    assert os.listdir(tmp_path / "model") == ["1"]
    line = refused(capfd, "export", f"--run={run}", f"--output={copy}")
    assert "copy.keras is a file, and a model is a folder of versions: choose another output" in line

    os.remove(run / "encoder.keras")
    line = refused(capfd, "export", f"--run={run}", f"--output={tmp_path}/other")
    assert "holds no encoder.keras: the run has not finished; continue it with --resume" in line
    assert cli.main([*pretrain, "--resume"]) == 0 and (run / "encoder.keras").exists()
    discarded = []
    monkeypatch.setattr("keras_mae.trainers.pretrain.pretrain", lambda *_, overwrite, **__: discarded.append(overwrite))
    assert cli.main([*pretrain, "--overwrite"]) == 0 and discarded == [True]


@pytest.mark.parametrize(
    "arguments",
    [
        ["pretrain", "--data=digits"],
        ["demo"],
        ["export", "--run=run"],
        ["convert", "--checkpoint=a.pth", "--format=timm", "--output_format=keras"],
        ["reconstruct", "--run=run"],
    ],
)
def test_an_output_on_another_file_system_is_refused(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*arguments, "--output=gs://bucket/out"]) == 2
    expected = f"keras-mae {arguments[0]}: the output is on a local disk, got gs://bucket/out; name a local one, and"
    assert capsys.readouterr().err.startswith(expected)
    assert cli.main([*arguments, "--output=gs:/bucket/out"]) == 2
    expected = f"keras-mae {arguments[0]}: the output gs:/bucket/out would be a local folder called gs:; is a / missing"
    assert capsys.readouterr().err.startswith(expected)
    assert not list(tmp_path.iterdir())


def test_stats_into_a_folder(capfd, pictures, tmp_path):
    line = refused(capfd, "stats", f"--data=folder:{pictures}", f"--output={tmp_path}")
    assert f"--output={tmp_path} is a folder; name the JSON file to write" in line


def test_what_tensorflow_says_of_storage_is_one_line_and_a_failure(capfd, monkeypatch):
    def fails(values):
        raise tf.errors.ResourceExhaustedError(None, None, "no space left\n\t [[node]]")

    monkeypatch.setitem(cli.COMMANDS, "recipes", cli.Command("", cli.COMMANDS["recipes"].make_flags, fails))
    assert cli.main(["recipes"]) == 1
    assert capfd.readouterr().err == "keras-mae recipes: no space left\n"
