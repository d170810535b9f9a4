"""`keras-mae stats` and `tfrecords`, for images before training."""

from __future__ import annotations

import os

from absl import flags

from keras_mae.commands.command import Command, define_data
from keras_mae.one_writer import released


def _stats_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    define_data(values)
    flags.DEFINE_integer("channels", 3, "how many channels the images are read with", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("count", 1000, "how many images to look at", lower_bound=1, flag_values=values)
    flags.DEFINE_string("output", None, "a JSON file to write, for pretrain --stats", flag_values=values)
    return values


def _check_stats(values: flags.FlagValues) -> None:
    """Refuses an output that cannot be a file, before images are read."""
    if values.output and os.path.isdir(values.output):
        raise ValueError(f"--output={values.output} is a folder; name the JSON file to write, such as stats.json")


def _stats(values: flags.FlagValues) -> None:
    import tensorflow as tf

    from keras_mae.data import measure_stats, open_source
    from keras_mae.data.stats import read_stats
    from keras_mae.data.writing import make_place

    if values.output:
        make_place(values.output)
        if tf.io.gfile.exists(values.output):
            read_stats(values.output)  # refuses another file, which would be lost
    stats = measure_stats(open_source(values.data), values.channels, values.count)
    print(f"{stats.num_images} images, {stats.dtype}: --set 'mean={stats.mean}' --set 'std={stats.std}'")
    if values.output:
        stats.write(values.output)
        print(f"wrote {values.output}, for keras-mae pretrain --stats={values.output}")


def _tfrecords_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    define_data(values)
    flags.DEFINE_string("output", None, "the folder to write; files that are there stay", flag_values=values)
    flags.DEFINE_integer("files", None, "how many files; one for 1,024 images if not given", flag_values=values)
    flags.DEFINE_enum(
        "split", None, ["train", "validation"], "only this part of the images; everything if not given",
        flag_values=values,
    )  # fmt: skip
    return values


@released()
def _tfrecords(values: flags.FlagValues) -> None:
    from keras_mae.data import open_source, write_records
    from keras_mae.data.writing import writing

    source = open_source(values.data, split=values.split)
    with writing(values.output):
        paths = write_records(source, values.output, values.files, alone=True)
    print(
        f"{source.num_images} images in {len(paths)} files: --data=tfrecord:{os.path.join(values.output, '*.tfrecord')}"
    )


STATS = Command(
    "measure the mean and std of images, for pretrain --stats", _stats_flags, _stats, ("data",), _check_stats
)
TFRECORDS = Command(
    "write image files into TFRecord files, which network disks read faster",
    _tfrecords_flags,
    _tfrecords,
    ("data", "output"),
)
