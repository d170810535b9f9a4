"""What the time goes into, by kind of operation."""

import pytest
import tensorflow as tf

from benchmarks import operations


@pytest.mark.parametrize(
    "name, kind",
    [
        ("_MklNativeFusedMatMul", "products with weights"),
        ("BatchMatMulV2", "products of attention"),
        ("Cast", "changes of dtype"),
        ("ResourceApplyAdam", "AdamW's update"),
        ("SquaredDifference", operations.REST),
    ],
)
def test_kinds(name, kind):
    assert operations.kind_of(name) == kind


def test_a_graph_of_products_spends_its_time_on_products():
    matrix = tf.random.normal((300, 300))

    @tf.function
    def products():
        return tf.linalg.trace(tf.nn.softmax(matrix @ matrix) @ matrix @ matrix @ matrix)

    spent = operations.milliseconds(products)
    assert set(spent) == {*operations.KINDS, operations.REST}
    assert spent["products with weights"] > spent["softmax"] > 0 == spent["AdamW's update"]


def test_shares_are_of_each_columns_sum():
    rest = dict.fromkeys([*operations.KINDS, operations.REST], 0.0)
    lines = operations.table(
        {"one": {**rest, "softmax": 1.0, "changes of dtype": 3.0}, "other": {**rest, "softmax": 2.0}}
    )
    assert "| softmax | 25.0 | 100.0 |" in lines and lines.endswith("| sum, ms | 4 | 2 |")
