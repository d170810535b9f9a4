"""What the steps run on."""

from __future__ import annotations

import tensorflow as tf


def has_accelerator() -> bool:
    """Whether TensorFlow computes on anything but processors."""
    return any(device.device_type != "CPU" for device in tf.config.list_logical_devices())
