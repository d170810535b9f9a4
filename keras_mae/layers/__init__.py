"""The layers that the models are composed of."""

from keras_mae import _backend  # noqa: F401
from keras_mae.layers.attentive_pooling import AttentivePooling
from keras_mae.layers.checkpointed import Checkpointed
from keras_mae.layers.cross_attention import CrossAttention
from keras_mae.layers.cross_attention_block import CrossAttentionBlock
from keras_mae.layers.drop_path import DropPath
from keras_mae.layers.feature_pyramid import FeaturePyramid
from keras_mae.layers.layer_norm import LayerNorm
from keras_mae.layers.layer_scale import LayerScale
from keras_mae.layers.linear_masks import LinearMasks
from keras_mae.layers.mask_transformer import MaskTransformer
from keras_mae.layers.patches import Patchify, unpatchify
from keras_mae.layers.pixel_normalization import PixelNormalization, pixel_levels
from keras_mae.layers.position_embedding import PositionEmbedding, resize_position_embedding, sincos_position_embedding
from keras_mae.layers.relative_position_bias import (
    RelativePositionBias,
    relative_position_index,
    resize_relative_position_bias,
)
from keras_mae.layers.self_attention import SelfAttention
from keras_mae.layers.transformer_block import TransformerBlock

__all__ = [
    "AttentivePooling",
    "Checkpointed",
    "CrossAttention",
    "CrossAttentionBlock",
    "DropPath",
    "FeaturePyramid",
    "LayerNorm",
    "LayerScale",
    "LinearMasks",
    "MaskTransformer",
    "Patchify",
    "PixelNormalization",
    "PositionEmbedding",
    "RelativePositionBias",
    "SelfAttention",
    "TransformerBlock",
    "pixel_levels",
    "relative_position_index",
    "resize_position_embedding",
    "resize_relative_position_bias",
    "sincos_position_embedding",
    "unpatchify",
]
