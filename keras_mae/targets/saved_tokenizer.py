"""SavedModels as tokenizers: opened only if their graphs compute, and do nothing else."""

from __future__ import annotations

import re

import keras
import tensorflow as tf
from google.protobuf import message
from tensorflow.core.protobuf import saved_model_pb2

# Operations that touch files, the network or Python
_REACHES_OUT = re.compile(
    r"ReadFile|WriteFile|MatchingFiles|PyFunc|Reader|FileWriter|DbWriter|Summary|TextFile|LookupTableExport"
    r"|(TextLine|TFRecord|FixedLengthRecord|Sql|LMDB|Cache|Snapshot|Save|Load|DataService|Generator)\w*Dataset"
    r"|^(Save|SaveV2|SaveSlices|Restore|RestoreV2|RestoreSlice|MergeV2Checkpoints|LoadAndRemapMatrix|PrintV2|Print"
    r"|RemoteCall|Rpc\w*|CreateSummary\w*|DebugIdentity\w*|DebugNumericSummary\w*)$"
)
_SAVER = re.compile(r"__inference__traced_(save|restore)_\d+$")


def open_tokenizer(path: str) -> keras.layers.Layer:
    """Opens the SavedModel in the folder `path` as a layer.

    Raises:
        ValueError: if it cannot be loaded, or its graph has operations that read or write files, use the network or
            call Python.
    """
    try:
        with tf.io.gfile.GFile(tf.io.gfile.join(path, "saved_model.pb"), "rb") as file:
            saved = saved_model_pb2.SavedModel.FromString(file.read())
    except (tf.errors.OpError, message.DecodeError) as error:
        raise ValueError(
            f"the tokenizer {path} is not the folder of a SavedModel: it holds no readable saved_model.pb"
        ) from error
    found = sorted(_operations(saved))
    if found:
        raise ValueError(
            f"the tokenizer {path} reaches beyond its own numbers ({', '.join(found[:4])}): a SavedModel that reads or "
            "writes files, prints or calls Python is refused"
        )
    try:
        return keras.layers.TFSMLayer(path, call_endpoint="serving_default")  # Keras' default is that of its exports
    except Exception as error:  # TensorFlow and Keras raise many kinds for damaged files and missing endpoints
        text = " ".join(str(error).split())[:160]
        raise ValueError(
            f"the tokenizer {path} cannot be loaded as a layer with the signature 'serving_default' "
            f"({type(error).__name__}: {text})"
        ) from error


def _operations(saved: saved_model_pb2.SavedModel) -> set[str]:
    """The operations that reach out, without those of the functions by which TensorFlow restores the variables."""
    found: set[str] = set()
    for graph in (each.graph_def for each in saved.meta_graphs):
        functions = graph.library.function
        attributes = [value for function in functions for node in function.node_def for value in node.attr.values()]
        called = {one.name for value in attributes for one in (value.func, *value.list.func)}
        for function in functions:
            if not _SAVER.search(function.signature.name) or function.signature.name in called:
                found |= {node.op for node in function.node_def if _REACHES_OUT.search(node.op)}
    return found
