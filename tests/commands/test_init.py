"""`--init` as a user types it: what runs, and the one line for what cannot."""

import json

import pytest

from keras_mae import cli
from keras_mae.checkpoints import save_checkpoint, to_keras_hub
from keras_mae.data.stats import PixelStats
from keras_mae.export import onnx_file, saved_model
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.run import RunFolder
from tests.base import PLANES, small_encoder
from tests.trainers.initial import LICENCE, SIZES, write_weights
from tests.trainers.pretraining import of
from tests.typed import refused


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    models = write_weights(folder)
    save_checkpoint(models["four"], folder / "four.safetensors", "timm", licence=LICENCE)
    RunFolder(str(folder / "unfinished")).start(PretrainConfig(), "digits", False, False)
    init = {"source": "mae_vit_base", "digest": "0"}
    RunFolder(str(folder / "begun")).start(PretrainConfig(), "digits", False, False, init=init)
    return folder


@pytest.fixture
def started(monkeypatch):
    """The configs with which `pretrain` was called, in place of training."""
    configs = []
    monkeypatch.setattr("keras_mae.trainers.pretrain.pretrain", lambda config, *_, **__: configs.append(config))
    return configs


def test_needs_no_recipe_and_no_sizes(place, started, tmp_path):
    PixelStats((0.1,), (0.2,), 9, "uint8").write(str(tmp_path / "stats.json"))
    common = ["pretrain", f"--data=npz:{place / '1.npz'}", f"--output={tmp_path / 'run'}"]
    more = ["--set=image_size=(20,8)", f"--stats={tmp_path / 'stats.json'}"]
    for file, recipe in (("encoder.safetensors", []), ("simmim.pth", more), ("mae.keras", ["--recipe=mae_vit_base"])):
        assert cli.main([*common, f"--init={place / file}", *recipe]) == 0
    plain, simmim, paper = started
    assert of(plain, "method image_size channels encoder.hidden_dim mean layer_decay frozen_epochs batch_size") == (
        *("mae", (16, 16), 3, 16, None, 0.75, None, 64),
    )
    assert of(simmim, "method image_size channels mean std mask_ratio") == (
        *("simmim", (20, 8), 1, (0.1,), (0.2,), 0.8),
    )
    assert of(paper, "decoder.hidden_dim layer_decay batch_size") == (8, None, 4096)  # the file's, and the recipe's


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--init=nowhere.safetensors", "--init=nowhere.safetensors: there is no such file or folder"),
        ("--init=mae_vit_bse", "no published weights have this name; did you mean mae_vit_base"),
        ("--init={}/1.npz", "a checkpoint's name ends in .safetensors, .pth"),
        (
            "--init={}/unfinished",
            "holds no encoder.keras: the run has not finished; continue it with --resume, or wait",
        ),
        (
            "--init={}/mae.keras --output={}/unfinished",
            "--init begins a new run, and {}/unfinished holds one: name ano",
        ),
        (
            "--init={}/unfinished --output={}/unfinished",
            "is what --init is read from; name another folder; to continue",
        ),
        ("--init=mae_vit_base --resume", "--resume continues a run, and {}/out holds none (no config.json): leave out"),
        ("--init=mae_vit_base --output={}/unfinished --resume", "did not begin with --init, and --resume takes the we"),
        ("--output={}/begun --resume", "began with weights of mae_vit_base: continue it with the command line that be"),
        ("--init=mae_vit_large --output={}/begun --resume", "began with weights of mae_vit_base, not of mae_vit_large"),
        ("--init_format=timm", "init_format is for the file of --init, which is not given: name it, or leave this out"),
        ("--set=init_channels=(0,)", "init_channels is for the file of --init, which is not given"),
        ("--recipe=mae_continue", "--recipe=mae_continue goes on from weights: name them with --init"),
        ("--init={}/encoder.safetensors --init_format=hf", "encoder.safetensors is not in the format 'hf'"),
        ("--init={}/encoder.safetensors --set=encoder.hidden_dim=24", "hidden_dim is 16 there, and 24 here; leave the"),
        ("--init={}/encoder.safetensors --recipe=finetune_digits", "finetune_digits is a recipe for keras-mae finetun"),
        ("--init={}/encoder.safetensors --set=frozen_epochs=100", "got frozen_epochs=100 of epochs=100; type --set fr"),
        ("--init={}/encoder.safetensors --set=init_channels=(0,1,5)", "names channel 5, and the file's 3 channels are"),
        (
            "--init={}/encoder.safetensors --set=init_channels=(0,None)",
            "for each of the 3 channels of the images: got (0",
        ),
    ],
)
def test_what_cannot_begin(place, capfd, arguments, message):
    words = arguments.replace("{}", str(place)).split()
    if not any(word.startswith("--output") for word in words):
        words.append(f"--output={place / 'out'}")
    line = refused(capfd, "pretrain", f"--data=npz:{place / '3.npz'}", "--set=batch_size=8", *words)
    assert message.replace("{}", str(place)) in line
    assert not (place / "out").exists()


def test_without_a_recipe_classifiers_have_the_sizes_of_the_file(place, monkeypatch, tmp_path):
    """A recipe that is named keeps its own, and `--set` is heard in both."""
    configs = []
    for module, program in (("finetune", "finetune"), ("linear_probe", "linear_probe")):
        result = {"top1": 0.5, "best": {"epoch": 1, "top1": 0.5}, "majority_share": 0.5, "validation_images": 2}
        stand_in = lambda config, *_, **__: configs.append(config) or result  # noqa: E731
        monkeypatch.setattr(f"keras_mae.trainers.{module}.{program}", stand_in)
    common = [f"--init={place / 'encoder.safetensors'}", "--data=digits", f"--output={tmp_path / 'run'}"]
    for more in ([], ["--recipe=finetune_vit_base"], ["--set=preset=vit_tiny_patch16"]):
        assert cli.main(["finetune", *common, *more]) == 0
    assert cli.main(["linear-probe", *common]) == 0
    presets = [config.encoder.preset for config in configs]
    assert presets == [None, "vit_base_patch16", "vit_tiny_patch16", None]
    assert configs[0].optimizer.layer_decay == 0.65


@pytest.mark.parametrize("program", ["finetune", "linear-probe", "knn"])
def test_a_run_or_weights_and_not_both(place, capfd, program):
    common = [program, f"--data=npz:{place / '3.npz'}", f"--output={place / 'out'}"]
    line = refused(capfd, *common, f"--run={place / 'mae.keras'}", "--init=mae_vit_base")
    assert "mae.keras and --init=mae_vit_base both name the encoder: give one of them" in line
    if program == "finetune":
        line = refused(
            *(capfd, *common, f"--init={place / 'encoder.safetensors'}", "--set=batch_size=8"),
            "--recipe=finetune_vit_base",
        )
        assert "encoder.safetensors is another than the recipe's: patch_size: (4, 4) there, (16, 16) asked for" in line
    else:
        assert f"{program}: needs --run or --init; see keras-mae {program} --help" in refused(capfd, *common)
    assert not (place / "out").exists()


@pytest.mark.medium
def test_knn_of_published_weights(place, capfd):
    output = place / "knn"
    common = ["knn", f"--data=npz:{place / '4.npz'}", f"--validation_data=npz:{place / '4.npz'}", "--set=k=(1,)"]
    assert cli.main([*common, f"--init={place / 'four.safetensors'}", f"--output={output}"]) == 0
    assert capfd.readouterr().out.startswith("k =   1: top-1 100.0 %")
    init = RunFolder(str(output)).init()
    assert (init["licence"], init["format"]) == (LICENCE, "timm")


@pytest.mark.medium
def test_images_of_another_number_of_channels(place, capfd):
    """Before anything is written, and for three programs before the weights are loaded."""
    three = f"--init={place / 'encoder.safetensors'}"
    whole, small = f"--init={place / 'mae.keras'}", "--set=batch_size=8"
    for program, arguments, remedy in (
        ("pretrain", [three, small], "type --set channels=1"),
        ("finetune", [three, small], "type --set channels=1"),
        ("finetune", [whole, small, "--set=preset=None"], "give images with 3"),
        ("knn", [three], "give images with 3"),
        ("knn", [whole], "give images with 3"),
        ("export", [three], "give images with 3"),
    ):
        output = place / "others"
        assert cli.main([program, *arguments, f"--data=npz:{place / '1.npz'}", f"--output={output}"]) == 2
        line = capfd.readouterr().err.splitlines()[-1]  # behind what is logged
        assert line == f"keras-mae {program}: the images have 1 channel, and the model takes 3: {remedy}"
        assert not (output / "config.json").exists()


@pytest.mark.medium
def test_a_preset_of_keras_hub(place, started, capfd, tmp_path):
    to_keras_hub(small_encoder(**SIZES)).save_to_preset(str(tmp_path / "preset"))
    weights, data = f"--init={tmp_path / 'preset'}", f"--data=npz:{place / '3.npz'}"
    assert cli.main(["pretrain", weights, data, f"--output={tmp_path / 'run'}"]) == 0
    assert of(started[0], "encoder.hidden_dim image_size frozen_epochs") == (16, (16, 16), None)
    same = f"--validation_data=npz:{place / '3.npz'}"
    assert cli.main(["knn", weights, data, same, "--set=k=(1,)"]) == 0
    assert "k =   1: top-1 100.0 %" in capfd.readouterr().out


def test_where_an_exported_file_has_the_licence(place, tmp_path, monkeypatch, caplog):
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    one, other = (helper.make_tensor_value_info(name, kind, [1]) for name in "xy")
    file = str(tmp_path / "model.onnx")
    onnx.save(helper.make_model(helper.make_graph([helper.make_node("Erf", ["x"], ["y"])], "g", [one], [other])), file)
    onnx_file.finish_onnx(file, LICENCE)
    assert [(one.key, one.value) for one in onnx.load(file).metadata_props] == [("licence", LICENCE)]

    def write(values, output):
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "model.tflite").touch()
        (tmp_path / "1" / "metadata.json").write_text(json.dumps({"licence": LICENCE}))
        return str(tmp_path / "1")

    monkeypatch.setattr("keras_mae.commands.exporting._write", write)
    output = tmp_path / "vit.tflite"
    assert cli.main(["export", f"--init={place / 'four.safetensors'}", f"--output={output}"]) == 0
    assert f"the licence of the weights, {LICENCE}, does not stand in {output}: give it along" in caplog.text


@pytest.mark.medium
def test_an_export_has_the_licence(place, capfd, monkeypatch):
    save_checkpoint(small_encoder(PLANES), place / "planes.safetensors", "timm", licence=LICENCE)
    monkeypatch.setattr(saved_model, "verify_export", lambda *arguments: {})
    weights = f"--init={place / 'planes.safetensors'}"
    assert cli.main(["export", weights, f"--output={place / 'served'}"]) == 0
    with open(place / "served" / "1" / "assets" / "metadata.json") as file:
        assert json.load(file)["licence"] == LICENCE
    line = refused(capfd, "export", weights, "--model=classifier", "--output=x")
    assert "planes.safetensors is an encoder, to be exported as --model=encoder; got classifier" in line
    assert "export: needs --run or --init; see keras-mae export --help" in refused(capfd, "export", "--output=x")
