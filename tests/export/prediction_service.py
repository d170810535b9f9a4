"""A stand-in for TF Serving: its gRPC service, answered by a SavedModel that Python has loaded."""

import contextlib
from concurrent import futures

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


class _Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, name, path):
        self.name, self.signatures = name, tf.saved_model.load(path).signatures

    def Predict(self, request, context):
        if request.model_spec.name != self.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {request.model_spec.name}")
        inputs = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        try:
            outputs = self.signatures[request.model_spec.signature_name or "serving_default"](**inputs)
        except tf.errors.InvalidArgumentError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        return predict_pb2.PredictResponse(outputs={key: tf.make_tensor_proto(value) for key, value in outputs.items()})


@contextlib.contextmanager
def prediction_service(name, path):
    """Serves the SavedModel at `path` as the model `name`; yields the address."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Service(name, path), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(None)
