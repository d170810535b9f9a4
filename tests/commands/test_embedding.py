"""`keras-mae embed`: the vectors are those of the encoder and of its export; what cannot work is refused in a line."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from keras_mae import cli
from keras_mae.checkpoints import save_checkpoint
from keras_mae.commands.embedding import embed_image_files
from keras_mae.data import decode_image, evaluation_transform, write_records
from keras_mae.data.sources import absolute, open_source
from keras_mae.export import export_encoder
from keras_mae.export.signatures import ServedEncoder
from keras_mae.models import ImageClassifier
from keras_mae.retrieval import open_vectors
from keras_mae.trainers.run import digest_of
from tests.base import PLANES, fill_randomly, random_images, run_forked, small_encoder, small_mae
from tests.drawn import as_image, encoded, write, write_pictures
from tests.typed import refused

pytestmark = pytest.mark.medium
ROUND_OFF = 1e-5  # of values of about 1: another order of float32 sums


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """An encoder of two channels, exported, and 21 images with labels."""
    folder = tmp_path_factory.mktemp("given")
    encoder = small_encoder(PLANES)
    encoder.save(folder / "encoder.keras")
    images, labels = random_images(21, PLANES), np.arange(21) % 4
    np.savez(folder / "images.npz", images=images, labels=labels)
    return folder, encoder, images, labels


def embed(*arguments):
    assert cli.main(["embed", *map(str, arguments)]) == 0


def test_vectors_are_those_of_the_encoder(given, tmp_path, monkeypatch, capsys):
    folder, encoder, images, labels = given
    monkeypatch.chdir(folder)
    begin = ("--run=encoder.keras", "--data=npz:images.npz", "--batch_size=8", "--crop_ratio=1")
    for name, flags, expected in (
        ("mean.parquet", (), encoder.features(images)),
        ("layer", ("--layer=1",), encoder.features(images, layer=1)),
        ("unit.npz", ("--normalize", "--dtype=float16"), tf.math.l2_normalize(encoder.features(images), axis=-1)),
    ):
        embed(*begin, f"--output={tmp_path / name}", *flags)
        vectors = open_vectors(str(tmp_path / name))
        np.testing.assert_allclose(vectors.array(), expected, atol=2**-11 if "unit" in name else ROUND_OFF)
        np.testing.assert_array_equal(vectors.labels, labels)
        assert capsys.readouterr().out == f"wrote {tmp_path / name}: 21 vectors of {expected.shape[1]} numbers\n"
    header = vectors.header
    path = str(folder / "encoder.keras")
    assert header["weights"] == {"kind": "run", "source": path, "digest": digest_of(path)}
    assert header["data"] == f"npz:{folder}/images.npz" and header["num_images"] == 21
    assert (header["pooling"], header["layer"], header["normalize"], header["crop_ratio"]) == ("mean", None, True, 1.0)
    assert (header["image_shape"], header["pixel_dtype"]) == (list(PLANES), "uint8")
    again = tmp_path / "again.npz"
    embed(*begin, f"--output={again}", "--normalize", "--dtype=float16")
    assert again.read_bytes() == (tmp_path / "unit.npz").read_bytes()
    embed(*begin, f"--output={again}", "--normalize", "--dtype=float16")
    assert capsys.readouterr().out.endswith(f"{again} is there already: 21 vectors of 16 numbers, of images of these "
                                            "names; --overwrite embeds them anew\n")  # fmt: skip


def test_vectors_are_those_that_are_served(given, tmp_path):
    """The short form of the test of a whole export below, by the same kernels: bit for bit, in batches of one shape."""
    folder, encoder, images, _ = given
    run = (f"--run={folder}/encoder.keras", "--normalize", "--crop_ratio=1", "--pooling=both", "--batch_size=7")
    embed(f"--data=npz:{folder}/images.npz", *run, f"--output={tmp_path}/run.npz")
    served = ServedEncoder(encoder, "both", normalize=True).signature("embed")  # of any number of images
    expected = np.concatenate([served(images=tf.constant(images[n : n + 7]))["embedding"] for n in (0, 7, 14)])
    np.testing.assert_array_equal(open_vectors(f"{tmp_path}/run.npz").array(), expected)


class Served(tf.Module):
    """As much of an exported encoder as is looked at: an embedding is the means of the channels."""

    @tf.function(input_signature=[tf.TensorSpec((None, *PLANES), tf.uint8, name="images")])
    def embed(self, images):
        return {"embedding": tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2])}

    @tf.function
    def __call__(self, images, training=False):
        return tf.reduce_mean(images, axis=[1, 2])


def save(folder, **said):
    served = Served()
    served.__call__.get_concrete_function(tf.TensorSpec((None, *PLANES), tf.float32), training=False)
    tf.saved_model.save(served, str(folder), signatures={"embed": served.embed})
    os.makedirs(folder / "assets", exist_ok=True)
    about = {"model": "ViTEncoder", "image_shape": PLANES, "crop_ratio": 1.0, "pooling": "cls", "normalize": False}
    (folder / "assets" / "metadata.json").write_text(json.dumps({**about, **said}))


def test_an_exported_model_tells_how_it_reads_images(given, tmp_path, capfd):
    folder, _, images, _ = given
    for version in (2, 10):
        save(tmp_path / "model" / str(version), crop_ratio=1.0 if version == 10 else 0.5)
    (tmp_path / "model" / "11").mkdir()  # begun, and never finished
    flags = (f"--model={tmp_path}/model", f"--data=npz:{folder}/images.npz", "--batch_size=8")
    embed(*flags, f"--output={tmp_path}/vectors.npz", "--pooling=cls")
    vectors = open_vectors(f"{tmp_path}/vectors.npz")
    np.testing.assert_allclose(vectors.array(), images.mean(axis=(1, 2)), rtol=1e-6)
    version = f"{tmp_path}/model/10"
    assert vectors.header["weights"] == {"kind": "model", "source": version, "digest": digest_of(version)}
    assert (vectors.header["pooling"], vectors.header["crop_ratio"]) == ("cls", 1.0)
    for flag, own in (("--pooling=both", "cls"), ("--layer=3", "None"), ("--crop_ratio=0.5", "1.0")):
        line = refused(capfd, "embed", *flags, flag, f"--output={tmp_path}/vectors.npz")
        assert f"embed: {flag} is not what {version} was exported with, {own}: leave it out, or name the run" in line
    np.savez(tmp_path / "deep.npz", images=images.astype("uint16") * 257)
    embed(flags[0], f"--data=npz:{tmp_path}/deep.npz", f"--output={tmp_path}/deep.npz.npz")
    np.testing.assert_allclose(open_vectors(f"{tmp_path}/deep.npz.npz").array(), images.mean(axis=(1, 2)), rtol=1e-5)
    (tmp_path / "model" / "10" / "assets" / "metadata.json").write_text('{"model": "ImageClassifier"}')
    line = refused(capfd, "embed", *flags, f"--output={tmp_path}/vectors.npz")
    assert "10 is an exported ImageClassifier, and gives no embeddings: export its encoder" in line
    os.remove(tmp_path / "model" / "10" / "assets" / "metadata.json")
    line = refused(capfd, "embed", *flags, f"--output={tmp_path}/vectors.npz")
    assert "10 is no encoder that keras-mae export has written: it has no assets/metadata.json that says so" in line


@pytest.mark.slow
def test_vectors_are_those_of_the_export(given, tmp_path):
    folder, encoder, images, _ = given
    export_encoder(encoder, str(tmp_path / "model"), 1, "cls", crop_ratio=0.5, normalize=True)
    flags = (f"--data=npz:{folder}/images.npz", "--batch_size=7")
    embed(*flags, f"--model={tmp_path}/model", f"--output={tmp_path}/model.npz")
    run = (f"--run={folder}/encoder.keras", "--normalize", "--crop_ratio=0.5", "--pooling=cls")
    embed(*flags, *run, f"--output={tmp_path}/run.npz")
    signature = tf.saved_model.load(str(tmp_path / "model" / "1")).signatures["embed"]
    source = open_source(f"npz:{folder}/images.npz")
    seen = tf.stack([evaluation_transform(source.image(number, 2), PLANES, 0.5) for number in range(21)])
    expected = np.concatenate([signature(images=seen[n : n + 7])["embedding"].numpy() for n in (0, 7, 14)])
    np.testing.assert_array_equal(open_vectors(f"{tmp_path}/model.npz").array(), expected)
    np.testing.assert_allclose(open_vectors(f"{tmp_path}/run.npz").array(), expected, rtol=0, atol=ROUND_OFF)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "embed: needs one of --run, --model and --init, got none of them"),
        (("--run=a", "--init=b"), "embed: needs one of --run, --model and --init, got --run and --init"),
        (("--run=a", "--init_format=timm"), "init_format is for the file of --init, which is not given"),
        (("--run=missing",), "missing is not the folder of a run: it holds no config.json"),
        (
            ("--model=missing",),
            "missing is no exported model: neither it nor a version below it holds a saved_model.pb",
        ),
        (("--run=a", "--output=vectors.csv"), "a folder of shards: got vectors.csv; for a folder, type vectors.csv/"),
        (("--run=a", "--layer=1", "--pooling=cls"), "--layer takes the patch tokens of a layer, which --pooling=mean"),
        (("--run=a", "--crop_ratio=0"), "--crop_ratio lies above 0, up to 1; got 0"),
        (("--run=a", "--batch_size=0"), "flag --batch_size=0: 0 is not a positive integer"),
        (("--run=a", "--output=gs://bucket/vectors.npz"), "the output is on a local disk, got gs://bucket/vectors.npz"),
    ],
)
def test_flags_that_cannot_work_are_refused(flags, message, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    output = () if any(flag.startswith("--output") for flag in flags) else ("--output=vectors.npz",)
    assert message in refused(capfd, "embed", "--data=npz:images.npz", *output, *flags)
    assert os.listdir(tmp_path) == ["a"]


def test_what_the_weights_and_images_do_not_fit_is_refused(given, tmp_path, capfd):
    folder, *_ = given
    run, output = f"--run={folder}/encoder.keras", f"--output={tmp_path}/vectors.npz"
    line = refused(capfd, "embed", run, output, f"--data=npz:{folder}/images.npz", "--layer=3")
    assert "embed: layers are counted from 1 to 1, got 3" in line
    np.savez(tmp_path / "gray.npz", images=random_images(3, (8, 12, 1)))
    assert "the images have 1 channel, and the model takes 2" in refused(
        capfd, "embed", run, output, f"--data=npz:{tmp_path}/gray.npz"
    )
    assert "data is given as digits, folder:PATH" in refused(capfd, "embed", run, output, f"--data={folder}")
    line = refused(capfd, "embed", run, output, f"--data=npz:{folder}/images.npz", "--strategy=mirrored")
    assert "--strategy=mirrored needs at least two devices" in line
    assert os.listdir(tmp_path) == ["gray.npz"]


@pytest.mark.slow
def test_sixteen_bits_are_embedded_as_sixteen_bits(tmp_path):
    encoder = small_encoder((8, 12, 1))
    encoder.save(tmp_path / "encoder.keras")
    images = np.random.default_rng(0).integers(0, 65536, (5, 8, 12, 1)).astype("uint16")
    np.savez(tmp_path / "images.npz", images=images)
    flags = (f"--run={tmp_path}/encoder.keras", f"--data=npz:{tmp_path}/images.npz", "--crop_ratio=1")
    embed(*flags, f"--output={tmp_path}/vectors.npz")
    vectors = open_vectors(f"{tmp_path}/vectors.npz")
    np.testing.assert_allclose(vectors.array(), encoder.features(images), atol=ROUND_OFF)
    assert vectors.header["pixel_dtype"] == "uint16"


@pytest.mark.slow
@pytest.mark.usefixtures("png_and_jpeg")
def test_every_kind_of_model_and_of_source(tmp_path, monkeypatch, capfd):
    """Autoencoder, classifier; a folder of classes, TFRecord files, in memory; and single files."""
    monkeypatch.chdir(tmp_path)
    encoder = small_encoder((8, 12, 3), num_layers=2)
    small_mae(encoder).save("mae.keras")
    fill_randomly(ImageClassifier(encoder, 4, pooling="cls")).save("classifier.keras")
    encoder.save("encoder.keras")
    for name in ("cat", "dog"):
        write_pictures(f"images/{name}", 70, (30, 40), form="png" if name == "cat" else "jpeg")
    write('images/dog/x, "y".png', encoded(as_image(random_images(1, (9, 9, 4))[0]), "png"))
    write("images/dog/broken.png", b"no image")
    write_records(open_source("folder:images"), "records")
    found = {}
    for model in ("encoder", "mae", "classifier"):
        embed(f"--run={model}.keras", "--data=folder:images", f"--output={model}.parquet")
        found[model] = open_vectors(f"{model}.parquet")
    for model in ("mae", "classifier"):
        np.testing.assert_array_equal(found[model].array(), found["encoder"].array())
    vectors = found["encoder"]
    assert vectors.names[70] == "dog/000.jpeg" and vectors.names[-1] == 'dog/x, "y".png'
    assert vectors.class_names == ("cat", "dog") and vectors.labels.tolist() == [0] * 70 + [1] * 71
    with open("encoder.parquet.corrupt.txt") as file:
        assert file.read() == "dog/broken.png\tcannot be decoded\n"

    paths = ["images/cat/003.png", "images/dog/069.jpeg", 'images/dog/x, "y".png']
    rows = [vectors.names.index(path.removeprefix("images/")) for path in paths]
    np.testing.assert_allclose(embed_image_files(vectors.header, paths), vectors.array()[rows], atol=ROUND_OFF)
    seen = [evaluation_transform(decode_image(tf.io.read_file(path), 3), (8, 12, 3)) for path in paths]
    np.testing.assert_allclose(vectors.array()[rows], encoder.features(tf.stack(seen)), atol=ROUND_OFF)
    with pytest.raises(ValueError, match="images/dog/broken.png is no image that can be read: "):
        embed_image_files(vectors.header, ["images/dog/broken.png"])

    for data in ("memory:folder:images", "tfrecord:records/*.tfrecord"):
        embed("--run=encoder.keras", f"--data={data}", "--output=other.npz", "--overwrite")
        other = open_vectors("other.npz")
        np.testing.assert_array_equal(other.array(), vectors.array())
        np.testing.assert_array_equal(other.labels, vectors.labels)
        assert other.class_names == vectors.class_names and other.header["data"] == absolute(data)
    assert other.names[0] == "images-00000-of-00001.tfrecord, record at byte 0"
    save_checkpoint(encoder, "encoder.safetensors", "timm")
    embed("--init=encoder.safetensors", "--data=folder:images", "--output=init.npz")
    np.testing.assert_array_equal(open_vectors("init.npz").array(), vectors.array())
    assert open_vectors("init.npz").header["weights"]["kind"] == "init"
    fill_randomly(encoder, seed=5).save("encoder.keras")
    with pytest.raises(ValueError, match="encoder.keras holds other weights than those that made the vectors"):
        embed_image_files(vectors.header, paths)
    line = refused(capfd, "embed", "--run=encoder.keras", "--data=folder:images", "--output=encoder.parquet")
    assert "encoder.parquet holds vectors that were made otherwise: weights.digest: " in line


@pytest.mark.slow
def test_sixteen_bit_files_of_a_run_and_digits_as_a_user_types_them(tmp_path, monkeypatch):
    """A run on 16-bit PNG files reads 8-bit files in 16 bits, as its export does."""
    monkeypatch.chdir(tmp_path)
    deep = np.random.default_rng(0).integers(0, 65536, (24, 16, 16)).astype("uint16")
    for number, image in enumerate(deep):
        write(f"deep/{number:02}.png", encoded(as_image(image[..., None]), "png"))
    tiny = ("image_size=(16,16)", "patch_size=(4,4)", "preset=vit_tiny_patch16", "encoder.hidden_dim=16",
            "encoder.num_layers=1", "encoder.num_heads=2", "decoder.hidden_dim=8", "decoder.num_layers=1",
            "decoder.num_heads=2", "epochs=1", "warmup_epochs=0", "batch_size=8", "channels=1")  # fmt: skip
    settings = [f"--set={setting}" for setting in tiny]

    def typed(*arguments):
        done = run_forked("-m", "keras_mae", *arguments)
        assert done.returncode == 0, done.stderr
        return done

    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    here = str(tmp_path)
    typed("pretrain", "--recipe=mae_small_images", f"--data=folder:{here}/deep", f"--output={here}/run", *settings)
    typed("export", f"--run={here}/run", f"--output={here}/model")
    for name in ("run", "model"):
        typed("embed", f"--{name}={here}/{name}", f"--data=folder:{here}/deep", f"--output={here}/{name}.npz")
    of_run, of_model = (open_vectors(f"{name}.npz").array() for name in ("run", "model"))
    np.testing.assert_allclose(of_run, of_model, rtol=0, atol=ROUND_OFF)
    assert open_vectors("run.npz").header["pixel_dtype"] == "uint16"
    serving = tf.saved_model.load("model/1").signatures["serving_default"]
    files = tf.constant([open(f"deep/{number:02}.png", "rb").read() for number in range(24)])
    np.testing.assert_allclose(open_vectors("run.npz").array(), serving(image_bytes=files)["embedding"], atol=1e-5)
    done = typed("embed", f"--run={here}/run", "--data=digits", f"--output={here}/digits.parquet")
    assert "wrote " in done.stdout and "4000 vectors of 16 numbers" in done.stdout
    vectors = open_vectors("digits.parquet")
    assert vectors.names[3999] == "images[3999]" and vectors.class_names == tuple("0123456789")
