"""Operations counted from the graph of the step, by hand, and the ratios that the paper's argument rests on."""

import dataclasses
import json

import pytest
import tensorflow as tf

from benchmarks import flops
from benchmarks.sizes import SIZES

TOY, BASE = SIZES["toy"], SIZES["vit_base"]


CROSS = {"decoder": "cross"}
SIZE = dataclasses.replace(TOY, num_cls_tokens=3, num_layers=1, decoder_num_layers=2)
MODELS = [
    {"mask_ratio": 0.0},
    {"predict_ratio": 0.5, "mask_tokens_in_encoder": True},
    pytest.param({"predict_ratio": 0.4, "mask_ratio": 0.5}, marks=pytest.mark.slow),
    pytest.param({**CROSS, "predict_ratio": 0.25}, marks=pytest.mark.slow),
    {**CROSS, "encoder_layers": (1, 2), "predict_ratio": 0.5, "mask_ratio": 0.5},
]


@pytest.mark.medium
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_the_graph_holds_what_is_counted_by_hand(model):
    size = dataclasses.replace(SIZE, num_layers=2) if "encoder_layers" in model else SIZE
    assert flops.of_step(size, **model) == flops.by_hand(size, **model)


@pytest.mark.medium
def test_so_do_those_of_the_benchmark(monkeypatch):
    """Of the plain model, and with mask tokens in the encoder."""
    monkeypatch.setitem(SIZES, "toy", SIZE)
    record = json.loads(flops.result(("toy",)))
    ratio = flops.by_hand(SIZE, mask_tokens_in_encoder=True) / flops.by_hand(SIZE)
    assert record["toy_counted_over_by_hand"] == 1
    assert record["toy_mask_tokens_ratio"] == round(ratio, 3) > 1


def test_of_one_block_with_every_number_written_out():
    """4 patches, 1 visible; widths 8 and 4: no formula in common with `by_hand`."""
    size = dataclasses.replace(TOY, image_size=8, hidden_dim=8, num_layers=1, decoder_hidden_dim=4)
    patch_projection = 2 * 1 * 48 * 8
    encoder_block = 2 * 2 * (8 * 24 + 8 * 8 + 8 * 32 + 32 * 8) + 2 * (2 * 2 * 2 * 8)  # 2 tokens
    embedding = 2 * 2 * 8 * 4
    decoder_block = 2 * 5 * (4 * 12 + 4 * 4 + 4 * 16 + 16 * 4) + 2 * (2 * 5 * 5 * 4)  # 5 tokens
    head = 2 * 3 * 4 * 48
    expected = 2 * patch_projection + 3 * (encoder_block + embedding + decoder_block + head)
    assert flops.by_hand(size) == expected


def test_of_cross_attention_with_every_number_written_out():
    """4 patches, 1 visible beside 2 class tokens, 2 predicted of 3; widths 8 and 4; the sum of one layer's tokens."""
    changes = {"image_size": 8, "hidden_dim": 8, "num_layers": 1, "decoder_hidden_dim": 4, "num_cls_tokens": 2}
    size = dataclasses.replace(TOY, **changes)
    patch_projection = 2 * 1 * 48 * 8
    encoder_block = 2 * 3 * (8 * 24 + 8 * 8 + 8 * 32 + 32 * 8) + 2 * (2 * 3 * 3 * 8)  # 3 tokens
    sum_of_layers = 2 * 3 * 8 * 1
    queries, keys_and_values = 2 * 2 * 4 * 4, 2 * 3 * 8 * 8
    attention = 2 * (2 * 2 * 3 * 4)  # 2 queries to 3 tokens: logits and values
    behind = 2 * 2 * (4 * 4 + 4 * 16 + 16 * 4)
    head = 2 * 2 * 4 * 48
    decoder = sum_of_layers + queries + keys_and_values + attention + behind + head
    expected = 2 * patch_projection + 3 * (encoder_block + decoder)
    model = {"decoder": "cross", "encoder_layers": (1,), "predict_ratio": 0.67}
    assert flops.by_hand(size, **model) == expected
    assert flops.of_parts_by_hand(size, **model) == (expected - 3 * decoder, 3 * decoder)


def test_of_a_part_in_the_plain_decoder_with_every_number_written_out():
    """4 patches, 1 visible, 1 of 3 predicted: the decoder sees 3 tokens."""
    size = dataclasses.replace(TOY, image_size=8, hidden_dim=8, num_layers=1, decoder_hidden_dim=4)
    decoder_block = 2 * 3 * (4 * 12 + 4 * 4 + 4 * 16 + 16 * 4) + 2 * (2 * 3 * 3 * 4)
    decoder = 2 * 2 * 8 * 4 + decoder_block + 2 * 1 * 4 * 48
    assert flops.of_parts_by_hand(size, predict_ratio=0.2)[1] == 3 * decoder


@pytest.mark.parametrize(
    ("size", "ratio"),
    [
        (BASE, 2.36),
        (dataclasses.replace(BASE, decoder_num_layers=1), 3.58),
        (dataclasses.replace(BASE, hidden_dim=1024, num_layers=24, num_heads=16), 3.23),
    ],
    ids=["ViT-B", "ViT-B, 1-deep decoder", "ViT-L"],
)
def test_cost_of_mask_tokens_in_the_encoder(size, ratio):
    """Those ratios project all patches and then drop most; here they are dropped first, hence up to 2 % more."""
    ours = flops.by_hand(size, mask_tokens_in_encoder=True) / flops.by_hand(size)
    assert ratio <= ours < 1.02 * ratio


def test_functions_branches_and_batched_products_are_counted():
    inner = tf.function(lambda x: tf.matmul(x, x, transpose_b=True), jit_compile=True, autograph=False)

    @tf.function(autograph=False)
    def outer(x):  # (2, 3, 5)
        once = inner(x)  # 2 products of 3 x 5 and 5 x 3
        return tf.cond(tf.reduce_sum(once) > 0, lambda: tf.matmul(x[0], x[1], transpose_b=True), lambda: once[0])

    graph = outer.get_concrete_function(tf.TensorSpec((2, 3, 5))).graph
    assert dict(flops.counted(graph)) == {"BatchMatMulV2": 2 * 2 * 3 * 3 * 5, "MatMul": 2 * 3 * 3 * 5}


def test_shapes_must_be_static():
    graph = tf.function(lambda x: tf.matmul(x, x)).get_concrete_function(tf.TensorSpec((None, 4))).graph
    with pytest.raises(ValueError, match="count with static shapes"):
        flops.counted(graph)
