# Two images that train; the one that serves is TensorFlow Serving's own, see compose.yaml.
#
#   docker build --target cpu --tag keras-mae .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/work" keras-mae demo --output=demo
#
#   docker build --target gpu --tag keras-mae:gpu .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" --volume "$PWD:/work" keras-mae:gpu pretrain --data=folder:images

FROM python:3.12-slim AS wheel
WORKDIR /source
COPY pyproject.toml setup.cfg README.md LICENSE ./
COPY export export
COPY keras_mae keras_mae
COPY trainers trainers
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim AS cpu
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(find /wheels -name '*.whl')[demo]"
ENV HOME=/work
WORKDIR /work
RUN chmod 1777 /work
USER 1000:1000
ENTRYPOINT ["keras-mae"]
CMD ["--help"]

# The image has CUDA, and a cuDNN that is older than the one this TensorFlow asks for: `and-cuda` brings it.
FROM tensorflow/tensorflow:2.21.0-gpu AS gpu
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(find /wheels -name '*.whl')[demo]" "tensorflow[and-cuda]==2.21.*"
ENV HOME=/work
WORKDIR /work
RUN chmod 1777 /work
USER 1000:1000
ENTRYPOINT ["keras-mae"]
CMD ["--help"]
