"""OpenVINO's files: their contents, the precision of the check, and that nobody is told of an export."""

import json
import os
import sys

import numpy as np
import pytest

from keras_mae import cli
from keras_mae.export import exchange_formats, export_encoder
from keras_mae.export.openvino_file import without_telemetry
from tests.base import random_images, run_forked, small_encoder
from tests.export.test_precision_and_formats import of_openvino
from tests.typed import refused

SHAPE = (8, 12, 3)
ROUND_OFF = 1e-5  # of values of about 1: another order of float32 sums

# A package in the place of the one that reports to OpenVINO's makers: it writes down each call
REPORTER = """
import os
class Telemetry:
    def __init__(self, *arguments, **keywords):
        with open(os.environ["REPORTED"], "a") as file:
            file.write("made\\n")
    def __getattr__(self, name):
        if name == "backend":
            raise AttributeError(name)
        return lambda *arguments, **keywords: None
"""
EXPORTED = """
import sys
sys.path.insert(0, sys.argv[3])
if sys.argv[2] == "plain":
    import openvino
else:
    from keras_mae.export import export_encoder
    from tests.base import PLANES, small_encoder
    export_encoder(small_encoder(PLANES), sys.argv[1], format="openvino")
"""


@pytest.mark.medium
@pytest.mark.parametrize("how", ["plain", "export"])
def test_an_export_is_reported_to_nobody(how, tmp_path):
    package = tmp_path / "openvino_telemetry"
    (package / "backend").mkdir(parents=True)
    (package / "__init__.py").write_text(REPORTER)
    (package / "backend" / "__init__.py").write_text("")
    (package / "backend" / "backend_ga4.py").write_text("")
    reported = tmp_path / "reported"
    process = run_forked("-c", EXPORTED, str(tmp_path / "model"), how, str(tmp_path), REPORTED=str(reported))
    assert process.returncode == 0, process.stderr[-2000:]
    assert reported.exists() == (how == "plain")  # a plain import reports: else this test would see nothing


def test_a_program_that_has_the_reporter_keeps_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino_telemetry", os)
    with without_telemetry():
        assert sys.modules["openvino_telemetry"] is os
    monkeypatch.delitem(sys.modules, "openvino_telemetry")
    with without_telemetry(), pytest.raises(ImportError):
        import openvino_telemetry  # noqa: F401
    assert "openvino_telemetry" not in sys.modules


@pytest.mark.medium
def test_the_check_computes_in_all_bits(tmp_path):
    """OpenVINO's own choice on a processor with bfloat16 would fail the check; float16 stands for it elsewhere."""
    encoder, images = small_encoder(), random_images(5, SHAPE)
    path = export_encoder(encoder, str(tmp_path), format="openvino", licence="CC-BY-NC 4.0")
    file = os.path.join(path, "model.xml")
    expected = encoder(images)["patch_tokens"].numpy().mean(axis=1)
    np.testing.assert_allclose(of_openvino(file, images)["embedding"], expected, rtol=0, atol=ROUND_OFF)
    found = exchange_formats.FORMATS["openvino"].run(file, images)["embedding"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUND_OFF)
    with without_telemetry():
        import openvino
    model = openvino.Core().read_model(file)
    assert model.get_rt_info(["model_info", "licence"]).astype(str) == "CC-BY-NC 4.0"
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" in capabilities:
        rough = of_openvino(file, images, "bf16")["embedding"]
        assert 1e-4 < np.abs(rough - expected).max() < 0.05  # two roundings to 8 bits in the only block


@pytest.mark.medium
def test_files_of_a_chosen_name(tmp_path, capsys):
    small_encoder().save(tmp_path / "encoder.keras")
    command = ["export", f"--run={tmp_path}/encoder.keras", f"--output={tmp_path}/eye.xml", "--pooling=cls"]
    assert cli.main(command) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path}/eye.xml, and checked it in its runtime\n"
    assert sorted(os.listdir(tmp_path)) == ["encoder.keras", "eye.bin", "eye.xml"]
    images = random_images(3, SHAPE)
    expected = small_encoder()(images)["cls_token"]
    np.testing.assert_allclose(of_openvino(tmp_path / "eye.xml", images)["embedding"], expected, atol=ROUND_OFF)
    os.remove(tmp_path / "eye.xml")
    assert "eye.bin is there already: choose another output" in refused(capsys, *command)


@pytest.mark.medium
def test_images_of_16_bits(tmp_path):
    encoder = small_encoder((8, 12, 1))
    images = random_images(3, (8, 12, 1)).astype("uint16") * 257
    path = export_encoder(encoder, str(tmp_path), format="openvino", pixel_dtype="uint16", images=images)
    found = exchange_formats.FORMATS["openvino"].run(os.path.join(path, "model.xml"), images)["embedding"]
    expected = encoder(images)["patch_tokens"].numpy().mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUND_OFF)
    with open(os.path.join(path, "metadata.json")) as file:
        assert json.load(file)["pixel_dtype"] == "uint16"
