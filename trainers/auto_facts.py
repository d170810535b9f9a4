"""What `--recipe=auto` chooses by: facts of the images and of the machine, and an estimate of time from them.

Neither TensorFlow nor Keras is imported; `keras_mae.trainers.auto_measure` finds the facts.
"""

from __future__ import annotations

import dataclasses

from keras_mae.trainers import compiled_size
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.step_size import bytes_each, step_size

# How often the numbers that are kept are gone through: with an accelerator ViT-B then takes what it was measured to
# take on an H200 (4,506 images a second, docs/accelerators.md), on a processor the median of the sizes of `auto_sizes`
_PASSES = {True: 2, False: 4}
_STEP = 0.004  # seconds that TensorFlow takes for a step of any size
_OF_TENSORFLOW = 700_000_000  # bytes that tracing and compiling a step take on a processor
_AHEAD = 8  # batches that are made before they are needed
COMPILED = "as XLA is no faster in bfloat16 on a processor"  # why a policy is float32


@dataclasses.dataclass(frozen=True)
class Facts:
    """Facts of some images, and of the machine to train on.

    Attributes:
        num_images: number of images.
        height, width: of the images; where they differ, nine of ten have sides as long as the shorter of these.
        same_size: whether all images have this height and width.
        channels: 1 for gray images, also if their files have red, green and blue.
        bits: of a level, 8 or 16.
        flat: share of the images' area, in an 8 x 8 grid of each, that has no contrast.
        reading: seconds of one processor to read, decode and resize an image.
        mean, std: of the pixels; None where ImageNet's hold, for 8-bit photographs in three channels.
        memory: free bytes of the processor, or of each accelerator; None if unknown.
        taken: bytes that the process takes before there is a model.
        accelerator: whether the run computes on GPUs or TPUs.
        dtype_policy, dtype_why: in which the devices compute fastest, on a processor without XLA, and why; see
            `keras_mae.trainers.dtype_choice`.
        replicas: devices that share a batch.
        replicas_here: of these, those that share this memory.
        processors: that prepare images.
        products: multiplications and additions a second, of one replica's product of matrices in float32, or with an
            accelerator in the precision of the run.
        numbers: float32 numbers a second that an element-wise function goes through, on one replica.
    """

    num_images: int
    height: int
    width: int
    same_size: bool = False
    channels: int = 3
    bits: int = 8
    flat: float = 0.0
    reading: float = 0.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    memory: int | None = None
    taken: int = 0
    accelerator: bool = False
    dtype_policy: str = "float32"
    dtype_why: str = "as not chosen by a device"
    replicas: int = 1
    replicas_here: int = 1
    processors: int = 2
    products: float = 1e11
    numbers: float = 1e9

    @property
    def image_bytes(self) -> int:
        """Bytes of a decoded image."""
        return self.height * self.width * self.channels * self.bits // 8


def seconds_per_image(config: PretrainConfig, facts: Facts) -> float | None:
    """Seconds for an image in a training step, about; None for a model that cannot be counted.

    It is the time of all products of matrices at the measured rate, and of going through all numbers that are kept for
    the gradient at the measured rate of an element-wise function. A processor prepares the images as well; with an
    accelerator the slower of the two counts.
    """
    size = step_size(config)
    if size is None:
        return None
    share = bytes_each(config.run.dtype_policy) / 4 if facts.accelerator else 1.0
    of_numbers = _PASSES[facts.accelerator] * size.kept / facts.numbers
    images_at_once = config.optimizer.batch_size / config.optimizer.accumulation_steps
    computing = (size.operations / facts.products + share * of_numbers) / facts.replicas + _STEP / images_at_once
    preparing = facts.reading / facts.processors
    return max(computing, preparing) if facts.accelerator else computing + preparing


def seconds_of_run(config: PretrainConfig, facts: Facts) -> float | None:
    """Seconds for all epochs, about, as `seconds_per_image`."""
    each = seconds_per_image(config, facts)
    steps = facts.num_images // config.optimizer.batch_size
    return None if each is None else config.optimizer.epochs * steps * config.optimizer.batch_size * each


def memory_of_run(config: PretrainConfig, facts: Facts) -> int | None:
    """Bytes that a run takes, about: of each accelerator, or of the processor with TensorFlow itself and the input."""
    size, optimizer = step_size(config), config.optimizer
    if size is None:
        return None
    images = optimizer.batch_size / (facts.replicas * optimizer.accumulation_steps)
    if facts.accelerator:
        return compiled_size.memory(config, images, compiled_size.GPU)
    step = size.memory(images, bytes_each(config.run.dtype_policy))
    batch = optimizer.batch_size * config.encoder.image_size[0] * config.encoder.image_size[1] * facts.channels
    input_ = _AHEAD * batch * (4 if facts.bits == 16 else 1) + 2 * facts.processors * facts.image_bytes
    return facts.taken + facts.replicas_here * step + _OF_TENSORFLOW + input_
