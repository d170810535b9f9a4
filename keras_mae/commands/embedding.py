"""`keras-mae embed`."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from keras_mae.commands.command import Command, define_data, define_embedding, define_init, define_split
from keras_mae.commands.exporting import load_for_export, load_published, pooling_of_run, trained_model

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from keras_mae.retrieval.embedder import Embedder

_log = logging.getLogger("keras_mae")
_SOURCES = ("run", "model", "init")
_OF_VECTORS = ("pooling", "layer", "normalize", "crop_ratio", "decoding", "pixel_dtype")  # in their header
_OF_EXPORT = ("pooling", "layer", "normalize", "crop_ratio")  # of which an exported model has its own


def _embed_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string(
        "run", None, "the encoder: the folder of a run, or a model's file: FILE.keras; or --init, or --model",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string(
        "model", None, "an exported encoder: the model's folder, of which the newest version is taken, or a version's",
        flag_values=values,
    )  # fmt: skip
    define_init(values)
    define_data(values)
    define_split(values)
    flags.DEFINE_string(
        "output", None,
        "the vectors: a file, NAME.parquet or NAME.npz, or a folder of parquet shards, for more than fit into memory; "
        "OUTPUT.shards has those of an interrupted command, which continues when it is given again",
        flag_values=values,
    )  # fmt: skip
    define_embedding(values)
    flags.DEFINE_integer(
        "layer", None, "the layer whose tokens are pooled, counted from 1; the encoder's output if not given",
        lower_bound=1, flag_values=values,
    )  # fmt: skip
    flags.DEFINE_enum(
        "dtype", "float32", ["float32", "float16"], "of the numbers in the file; vectors are computed in float32",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_enum(
        "strategy", "auto", ["auto", "single", "mirrored"],
        "the devices: one, or all GPUs of this machine, which share each batch; auto takes all if there are several",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_integer("batch_size", 64, "images that are encoded together", lower_bound=1, flag_values=values)
    flags.DEFINE_bool(
        "overwrite", False, "replace vectors that are there, and embed all images anew", flag_values=values
    )
    return values


def _check(values: flags.FlagValues) -> None:
    """Refuses what cannot be embedded."""
    from keras_mae.retrieval.exported import exported_metadata, exported_version
    from keras_mae.retrieval.outputs import check_output
    from keras_mae.trainers.checks import UNTRAINED, check_source

    given = [name for name in _SOURCES if values[name].value is not None]
    if len(given) != 1:
        had = " and ".join(f"--{name}" for name in given) or "none of them"
        raise ValueError(f"needs one of --run, --model and --init, got {had}; see keras-mae embed --help")
    check_source(values.init, values.run, ["init_format"] if values.init_format else [])
    check_output(values.output)
    if values.layer is not None and values.pooling in ("cls", "both", "attentive"):
        raise ValueError(
            f"--layer takes the patch tokens of a layer, which --pooling=mean pools; got --pooling={values.pooling}"
        )
    if values.crop_ratio == 0:
        raise ValueError("--crop_ratio lies above 0, up to 1; got 0")
    if values.model is None:
        if trained_model(values.run, values.init) is None and values.pooling == "attentive":
            raise ValueError(f"--init={values.init} has no attentive pooling: {UNTRAINED}")
        return
    version = exported_version(values.model)
    said = {"layer": None, "normalize": False, **exported_metadata(version)}
    for flag in _OF_EXPORT:
        if values[flag].present and values[flag].value != said.get(flag):
            raise ValueError(
                f"--{flag}={values[flag].value} is not what {version} was exported with, {said.get(flag)}: leave it "
                "out, or name the run with --run"
            )


def load_embedder(
    kind: str,
    source: str,
    init_format: str | None = None,
    pooling: str | None = None,
    layer: int | None = None,
    normalize: bool = False,
    crop_ratio: float | None = None,
) -> tuple[Embedder, dict[str, Any]]:
    """What turns images into vectors, and what the header of the vectors says of its weights.

    Args:
        kind: `"run"`, `"model"` or `"init"`.
        source: what the flag of this name says.
        init_format: of the weights, as `--init_format`.
        pooling, layer, normalize, crop_ratio: as the flags; the run's own pooling and crop ratio if None. An exported
            model has its own of all four.

    Raises:
        ValueError: if there is no encoder.
    """
    from keras_mae.export.computing import model_in_dtype
    from keras_mae.retrieval.embedder import embedder_of, exported_embedder
    from keras_mae.retrieval.exported import exported_version
    from keras_mae.trainers.run import digest_of
    from keras_mae.trainers.trained_model import say_if_outside
    from keras_mae.trainers.trained_pooling import attentive_file

    if kind == "model":
        source = exported_version(source)  # a newer version may come
    weights: dict[str, Any] = {"kind": kind, "source": os.path.abspath(source) if os.path.exists(source) else source}
    if kind == "model":
        return exported_embedder(source), {**weights, "digest": digest_of(source)}
    run, init = (source, None) if kind == "run" else (None, source)
    trained = trained_model(run, init)
    pool: Any = pooling
    if trained is None:
        encoder, trained = load_published(source, init_format)
        weights |= {"format": init_format, "digest": trained.init["digest"]}
    else:
        attentive = attentive_file(trained, pooling)
        weights["digest"] = digest_of(attentive or trained.path)
        model, encoder = load_for_export(attentive or trained.path, "classifier" if attentive else "encoder")
        if attentive:
            pool = model.attentive
            if layer not in (None, model.layer):
                raise ValueError(
                    f"the attentive pooling of {source} has a layer of its own: leave out --layer, got {layer}, or "
                    "take --pooling=mean"
                )
            layer = model.layer
        ratio = trained.crop_ratio if crop_ratio is None else crop_ratio
        say_if_outside(trained, f"the crop ratio is {ratio} (--crop_ratio), and transparent pixels are white")
    embedder = embedder_of(
        model_in_dtype(encoder, "float32"),
        pool or pooling_of_run(trained),
        layer,
        normalize,
        trained.crop_ratio if crop_ratio is None else crop_ratio,
        trained.decoding,
        trained.seen.get("dtype") or "auto",
        "attentive",
    )
    return embedder, weights


def embedder_of_header(header: dict[str, Any]) -> Embedder:
    """What has made the vectors with this header.

    Raises:
        ValueError: if the weights are not there any more, or are others, or the header does not name them.
    """
    own: Any = header.get("weights")
    lacking = [name for name in _OF_VECTORS if name not in header]
    if not isinstance(own, dict) or {"kind", "source", "digest"} - own.keys():
        lacking.append("weights")
    if lacking:
        raise ValueError(
            f"the header of the vectors has no {lacking[0]}, and does not tell what has made them: embed the images "
            "anew with keras-mae embed"
        )
    embedder, weights = load_embedder(
        own["kind"],
        own["source"],
        own.get("format"),
        header["pooling"],
        header["layer"],
        header["normalize"],
        header["crop_ratio"],
    )
    if weights["digest"] != own["digest"]:
        raise ValueError(
            f"{own['source']} holds other weights than those that made the vectors (digest {own['digest']} there, "
            f"{weights['digest']} now): put them back, or embed the images anew"
        )
    return embedder


def embed_image_files(header: dict[str, Any], paths: Sequence[str]) -> np.ndarray:
    """The vectors of image files, made as those with this header.

    Args:
        header: of vectors that `keras-mae embed` has written.
        paths: of the files.

    Returns:
        float32 `(n, D)`, in the order of the paths.

    Raises:
        ValueError: if the weights are not there any more, or are others; or a file is no image.
    """
    import numpy as np
    import tensorflow as tf

    from keras_mae.data import Decoding, evaluation_transform
    from keras_mae.data.decoding import decode_file

    embedder = embedder_of_header(header)
    decoding = Decoding(**{**header["decoding"], "tiff": True})
    images = []
    for path in paths:
        try:
            image = decode_file(tf.io.read_file(path), embedder.image_shape[-1], header["pixel_dtype"], decoding)
        except tf.errors.OpError as error:
            said = re.sub(r"\{\{.*?\}\}", "", " ".join(error.message.split()))
            raise ValueError(f"{path} is no image that can be read: {said.strip()[:160]}") from error
        images.append(evaluation_transform(image, embedder.image_shape, embedder.crop_ratio))
    return np.concatenate([embedder.function(image[None]).numpy() for image in images])


def _strategy(name: str) -> tf.distribute.Strategy:
    """The devices; unlike training, `auto` never takes several machines."""
    import tensorflow as tf

    from keras_mae.trainers.strategy import make_strategy

    several = len(tf.config.list_physical_devices("GPU")) > 1
    return make_strategy({"auto": "mirrored" if several else "single"}.get(name, name))


def _embed(values: flags.FlagValues) -> None:
    from keras_mae.data import open_source
    from keras_mae.data.sources import absolute, kind_of
    from keras_mae.retrieval.embedder import on_replicas
    from keras_mae.retrieval.embedding import Interrupted, embed_source
    from keras_mae.trainers.labelled_data import check_channels
    from keras_mae.trainers.loop import noted_sigterm
    from keras_mae.trainers.run import Preempted
    from keras_mae.trainers.trained_model import read_as_trained

    kind_of(values.data)
    strategy = _strategy(values.strategy)
    kind, named = next((name, values[name].value) for name in _SOURCES if values[name].value is not None)
    with strategy.scope():
        how = (values.init_format, values.pooling, values.layer, values.normalize, values.crop_ratio)
        embedder, weights = load_embedder(kind, str(named), *how)
    source = open_source(values.data, values.split, embedder.decoding)
    if values.split is None and source.validation_apart:
        _log.info("these are the images to train on; those to test on lie apart: --split=validation embeds them")
    check_channels(source, embedder.image_shape[-1])
    read_as_trained(None if embedder.pixel_dtype == "auto" else embedder.pixel_dtype, str(named), source)
    header = {"weights": weights, "data": absolute(values.data), "split": values.split, "dtype": values.dtype}
    function = on_replicas(strategy, embedder.function)
    with noted_sigterm() as received:
        try:
            done = embed_source(
                embedder, source, values.output, header, values.batch_size, values.overwrite, function, received
            )
        except Interrupted as error:
            raise Preempted(f"asked to end (SIGTERM): {error}") from None
    what = f"{done.num_vectors} vectors of {done.dim} numbers"
    if done.was_there:
        print(f"{values.output} is there already: {what}, of images of these names; --overwrite embeds them anew")
        return
    left_out = done.num_images - done.num_vectors
    print(f"wrote {values.output}: {what}" + (f"; {left_out} left out, see {done.corrupt_list}" if left_out else ""))


EMBED = Command(
    "turn images into vectors: one a row, with its name and label, for search and maps",
    _embed_flags,
    _embed,
    ("data", "output"),
    _check,
)
