"""What `keras-mae convert` refuses before it starts; tests/checkpoints/test_convert.py has what it does."""

from keras_mae import cli
from tests.typed import refused


def test_an_output_that_is_there_is_refused_before_tensorflow_is_imported(capfd, tmp_path, monkeypatch):
    def too_late():
        raise AssertionError

    monkeypatch.setattr(cli, "_start_tensorflow", too_late)
    output = tmp_path / "there.safetensors"
    output.write_text("what was there")
    arguments = ["--checkpoint=a.pth", "--format=timm", f"--output={output}", "--output_format=hf"]
    line = refused(capfd, "convert", *arguments)
    assert line.startswith(f"keras-mae convert: {output} is there already: choose another output, or allow its ")
    assert output.read_text() == "what was there"
