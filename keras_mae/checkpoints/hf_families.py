"""The names of Hugging Face's DINOv2, DINOv3 and Pixio; all are read and written as format "hf"."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable, Collection

import keras
import numpy as np

from keras_mae.checkpoints.checkpoint_format import ZEROS, CheckpointFormat
from keras_mae.checkpoints.config_beside import read_config
from keras_mae.layers.slots import Layout, Slot
from keras_mae.models import ImageClassifier

_NO_LAYER_SCALE = "layer_scale=None, where its models have LayerScale"
Names = dict[str, str | tuple[str, ...]]


def hf_blocks(owner: str, module: str) -> Names:
    """The names in the blocks of a ViT."""
    attention = f"{module}.{{}}.attention.attention"
    return {
        f"{owner}.{{}}.norm1": f"{module}.{{}}.layernorm_before",
        f"{owner}.{{}}.attention.qkv": (f"{attention}.query", f"{attention}.key", f"{attention}.value"),
        f"{owner}.{{}}.attention.projection": f"{module}.{{}}.attention.output.dense",
        f"{owner}.{{}}.norm2": f"{module}.{{}}.layernorm_after",
        f"{owner}.{{}}.mlp_hidden": f"{module}.{{}}.intermediate.dense",
        f"{owner}.{{}}.mlp_output": f"{module}.{{}}.output.dense",
    }


class _Row(Layout):
    """A token of shape `(1, 1, D)` here, `(1, D)` in the file."""

    def file_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[1:]

    def from_file(self, array: np.ndarray) -> np.ndarray:
        return array[None]

    def to_file(self, array: np.ndarray) -> np.ndarray:
        return array[0]


_EMBEDDINGS: Names = {
    "encoder.cls_token": "embeddings.cls_token",
    "encoder.positions.table": "embeddings.position_embeddings",
    "encoder.patch_projection": "embeddings.patch_embeddings.projection",
    "encoder.norm": "layernorm",
    "mask_token": "embeddings.mask_token",
    "head": "classifier",
}


class Family(CheckpointFormat):
    """A kind of model of the format "hf": its config states the grid, and transformers 5 has renamed its modules.

    Attributes:
        renamed: from the names of transformers 5 to those of published files, as patterns and replacements.
    """

    name = "hf"
    parts = {"mask_token": r"^embeddings\.mask_token$", "head": r"^classifier\."}
    renamed: tuple[tuple[str, str], ...] = ()

    def canonical(self, name: str) -> str:
        for pattern, replacement in self.renamed:
            name = re.sub(pattern, replacement, name)
        return name

    def grid_beside(self, path: str) -> tuple[int, int] | None:
        return read_config(path).grid

    def for_model(
        self, model: keras.Model, found: Collection[str] | None, skipped: Callable[[str], bool]
    ) -> tuple[CheckpointFormat, list[str]]:
        if isinstance(model, ImageClassifier) and not skipped("head.kernel"):
            if found is None or any(name.startswith("classifier.") for name in found):
                raise ValueError(
                    "Hugging Face has no classifier of this kind that takes the class token alone or the mean of the "
                    "patch tokens alone: to load, take the encoder with skip=('head.*',); to save, choose the format "
                    "'timm', or save model.encoder"
                )
        own = copy.copy(self)
        own.names = dict(self.names)
        return own, []


class PixioNames(Family):
    """Files of `PixioModel`: a plain ViT with several class tokens, each of which has a position.

    In memory, transformers 5 gives it the names of its ViT, which `HFFormat` reads.
    """

    names = {
        **_EMBEDDINGS,
        **hf_blocks("encoder.blocks", "encoder.layer"),
        "encoder.blocks.{}.norm1": "encoder.layer.{}.norm1",
        "encoder.blocks.{}.norm2": "encoder.layer.{}.norm2",
    }
    signature = r"^encoder\.layer\.\d+\.norm1\.weight$"
    foreign = r"lambda1$"
    holds = {
        "num_registers": (0,),
        "layer_scale": (None,),
        "qk_norm": (False,),
        "pre_norm": (False,),
        "gated_mlp": (False,),
        "relative_position_bias": (None,),
        "position_embedding": ("learned", "sincos"),
    }

    def refusal(self, encoder: keras.Model) -> str | None:
        none = "num_cls_tokens=0, where its models have at least 1"
        return super().refusal(encoder) if encoder.num_cls_tokens else none


class Dinov2Names(Family):
    """Files of `Dinov2Model` and `Dinov2WithRegistersModel`, whose registers have no position.

    A gated MLP is packed in `weights_in`, its gate first; transformers 5 has `gate_proj` and `up_proj` in memory.
    """

    names = {
        **_EMBEDDINGS,
        **hf_blocks("encoder.blocks", "encoder.layer"),
        "encoder.registers": "embeddings.register_tokens",
        "encoder.blocks.{}.norm1": "encoder.layer.{}.norm1",
        "encoder.blocks.{}.norm2": "encoder.layer.{}.norm2",
        "encoder.blocks.{}.mlp_hidden": "encoder.layer.{}.mlp.fc1",
        "encoder.blocks.{}.mlp_output": "encoder.layer.{}.mlp.fc2",
        "encoder.blocks.{}.attention_scale.gamma": "encoder.layer.{}.layer_scale1.lambda1",
        "encoder.blocks.{}.mlp_scale.gamma": "encoder.layer.{}.layer_scale2.lambda1",
    }
    renamed = (
        (r"^(dinov2|dinov2_with_registers)\.", ""),
        (r"(\.\d+)\.attention\.q_proj\.", r"\1.attention.attention.query."),
        (r"(\.\d+)\.attention\.k_proj\.", r"\1.attention.attention.key."),
        (r"(\.\d+)\.attention\.v_proj\.", r"\1.attention.attention.value."),
        (r"(\.\d+)\.attention\.o_proj\.", r"\1.attention.output.dense."),
        (r"\.mlp\.down_proj\.", ".mlp.weights_out."),
    )
    signature = r"^encoder\.layer\.\d+\.layer_scale1\.lambda1$"
    holds = {
        "num_cls_tokens": (1,),
        "qk_norm": (False,),
        "pre_norm": (False,),
        "relative_position_bias": (None,),
        "position_embedding": ("learned", "sincos"),
    }

    def refusal(self, encoder: keras.Model) -> str | None:
        return _NO_LAYER_SCALE if encoder.layer_scale is None else super().refusal(encoder)

    def unused(self, encoder: keras.Model) -> dict[str, np.ndarray]:
        return {"embeddings.mask_token": np.zeros((1, encoder.hidden_dim), "float32")}

    def placed(self, slot: Slot) -> Slot:
        return dataclasses.replace(slot, layout=_Row()) if slot.owner == "mask_token" else slot

    def for_model(
        self, model: keras.Model, found: Collection[str] | None, skipped: Callable[[str], bool]
    ) -> tuple[CheckpointFormat, list[str]]:
        own, notes = super().for_model(model, found, skipped)
        encoder, mlp = getattr(model, "encoder", model), "encoder.layer.{}.mlp"
        gated = encoder.gated_mlp if found is None else any(".mlp.weights_out." in name for name in found)
        if gated:
            apart = found is not None and any(".mlp.gate_proj." in name for name in found)
            hidden = (f"{mlp}.gate_proj", f"{mlp}.up_proj") if apart else f"{mlp}.weights_in"
            own.names |= {"encoder.blocks.{}.mlp_hidden": hidden, "encoder.blocks.{}.mlp_output": f"{mlp}.weights_out"}
        return own, notes


class DINOv3Names(Family):
    """Files of `DINOv3ViTModel`: rotary positions, registers, LayerScale; by its config some biases are absent."""

    names = {
        **{key: name for key, name in _EMBEDDINGS.items() if key != "encoder.positions.table"},
        "encoder.patch_projection": "embeddings.patch_embeddings",
        "encoder.registers": "embeddings.register_tokens",
        "encoder.norm": "norm",
        "encoder.blocks.{}.norm1": "layer.{}.norm1",
        "encoder.blocks.{}.attention.qkv": tuple(f"layer.{{}}.attention.{each}_proj" for each in "qkv"),
        "encoder.blocks.{}.attention.projection": "layer.{}.attention.o_proj",
        "encoder.blocks.{}.attention_scale.gamma": "layer.{}.layer_scale1.lambda1",
        "encoder.blocks.{}.norm2": "layer.{}.norm2",
        "encoder.blocks.{}.mlp_hidden": "layer.{}.mlp.up_proj",
        "encoder.blocks.{}.mlp_output": "layer.{}.mlp.down_proj",
        "encoder.blocks.{}.mlp_scale.gamma": "layer.{}.layer_scale2.lambda1",
    }
    parts = {**Family.parts, "nothing": r"^rope_embeddings\."}
    renamed = ((r"^model\.(?=layer\.)", ""),)
    signature = r"^layer\.\d+\.attention\.q_proj\.weight$"
    holds = {
        "num_cls_tokens": (1,),
        "qk_norm": (False,),
        "pre_norm": (False,),
        "relative_position_bias": (None,),
        "position_embedding": (None,),
    }
    rotary = True
    epsilon = 1e-5

    def refusal(self, encoder: keras.Model) -> str | None:
        return _NO_LAYER_SCALE if encoder.layer_scale is None else super().refusal(encoder)

    def unused(self, encoder: keras.Model) -> dict[str, np.ndarray]:
        tokens = np.zeros((1, 1, encoder.hidden_dim), "float32")
        no_registers = {} if encoder.num_registers else {"embeddings.register_tokens": tokens[:, :0]}
        return {"embeddings.mask_token": tokens, **no_registers}

    def for_model(
        self, model: keras.Model, found: Collection[str] | None, skipped: Callable[[str], bool]
    ) -> tuple[CheckpointFormat, list[str]]:
        own, notes = super().for_model(model, found, skipped)
        encoder = getattr(model, "encoder", model)
        if found is None:
            gated, has_key_bias = encoder.gated_mlp, encoder.key_bias
        else:
            gated = any(".mlp.gate_proj." in name for name in found)
            has_key_bias = any(name.endswith(".attention.k_proj.bias") for name in found)
        if not has_key_bias:
            query, value = (f"layer.{{}}.attention.{each}_proj.bias" for each in "qv")
            own.names["encoder.blocks.{}.attention.qkv.bias"] = (query, ZEROS, value)
        if gated:
            own.names["encoder.blocks.{}.mlp_hidden"] = ("layer.{}.mlp.gate_proj", "layer.{}.mlp.up_proj")
        return own, notes
