"""The Dockerfile and the compose file name what exists; the client asks a server, which is not TensorFlow Serving."""

import base64
import contextlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import tomllib

import pytest
import yaml
from packaging.version import Version

from benchmarks import older_servers
from keras_mae.export.serving import write_models_config
from tests.base import ROOT
from tests.drawn import as_image, drawn, encoded

CLIENT = os.path.join(ROOT, "docker", "client.py")


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def instructions():
    """`(word, rest)` of each line of the Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", read("Dockerfile"), flags=re.MULTILINE))
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def test_what_is_copied_exists_and_is_not_ignored():
    copied = [path for word, rest in instructions() if word == "COPY" for path in rest.split()[:-1]]
    kept = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
    assert copied and set(copied) == kept
    for path in copied:
        assert os.path.exists(os.path.join(ROOT, path)), path
    mapped = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]["package-dir"]
    assert set(mapped.values()) <= set(copied)  # all that the wheel is made of


def test_both_images_start_the_program_and_not_as_root():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    stages, stage = {}, None
    for word, rest in instructions():
        if word == "FROM":
            image, _, stage = rest.split()
            stages[stage] = {"image": image}
        else:
            stages[stage].setdefault(word, []).append(rest)
    assert set(stages) == {"wheel", "cpu", "gpu"}
    for name in ("cpu", "gpu"):
        (entry,) = stages[name]["ENTRYPOINT"]
        assert json.loads(entry)[0] in project["scripts"]
        assert stages[name]["USER"] == ["1000:1000"]
        assert "[demo]" in stages[name]["RUN"][0] and "demo" in project["optional-dependencies"]
    (version,) = re.findall(r"^tensorflow==([\d.]+)", read("requirements_lock.txt"), re.MULTILINE)
    minor = ".".join(version.split(".")[:2])
    assert stages["gpu"]["image"].startswith(f"tensorflow/tensorflow:{minor}.")
    assert f'"tensorflow[and-cuda]=={minor}.*"' in stages["gpu"]["RUN"][0]


def test_the_commands_in_the_dockerfile_are_commands():
    from keras_mae import cli

    asked = re.findall(r"keras-mae(?::gpu)? (\w+) -", read("Dockerfile"))
    assert asked == ["demo", "pretrain"] and all(name in cli.COMMANDS for name in asked)


def test_the_server_reads_what_an_export_writes(tmp_path):
    services = yaml.safe_load(read("compose.yaml"))["services"]
    assert set(services) == {"server", "client"}
    image, version = services["server"]["image"].split(":")
    assert image == "tensorflow/serving"
    assert Version(version) >= Version(older_servers.OLDEST)  # which reads exports
    (volume,) = services["server"]["volumes"]
    assert volume == "./models:/models:ro"
    (tmp_path / "models" / "xrays" / "1").mkdir(parents=True)
    (tmp_path / "models" / "xrays" / "1" / "saved_model.pb").write_bytes(b"")
    written = write_models_config(str(tmp_path / "models"))
    (flag,) = services["server"]["command"]
    assert flag == f"--model_config_file=/models/{os.path.basename(written)}"
    with open(written) as file:
        assert '"/models/xrays"' in file.read()


def test_the_client_of_the_compose_file_asks_its_server():
    services = yaml.safe_load(read("compose.yaml"))["services"]
    client = services["client"]
    program, address, model, picture = client["command"][1:]
    script, image = client["volumes"]
    host, place, _ = script.split(":")
    assert place == program and os.path.samefile(os.path.join(ROOT, host), CLIENT)
    assert image["target"] == picture and client["depends_on"] == ["server"] and model == "${MODEL:-xrays}"
    asked = re.search(r"MODEL=(\S+) PICTURE=(\S+) docker compose run --rm client", read("compose.yaml"))
    assert asked.groups() == ("xrays", "./picture.jpg") and image["source"] == "${PICTURE:-./picture.jpg}"
    name, port = re.fullmatch(r"http://(\w+):(\d+)", address).groups()
    assert name in services and any(published.endswith(f":{port}") for published in services[name]["ports"])


class Server(http.server.BaseHTTPRequestHandler):
    """The two requests of TensorFlow Serving's REST interface that the client sends; answers are sizes of files."""

    starting = 0  # requests to answer with an error first

    def do_GET(self):
        if type(self).starting:
            type(self).starting -= 1
            self._answer(404, {"error": "not there yet"})
        elif self.path == "/v1/models/xrays":
            self._answer(200, {"model_version_status": [{"version": "1", "state": "AVAILABLE"}]})
        else:
            self._answer(404, {"error": f"no {self.path}"})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        files = [base64.b64decode(instance["b64"]) for instance in request["instances"]]
        bad = [number for number, file in enumerate(files) if file == b"no image"]
        if self.path != "/v1/models/xrays:predict" or bad:
            self._answer(400, {"error": f"cannot decode file {bad}"})
        else:
            self._answer(200, {"predictions": [[len(file), file[0]] for file in files]})

    def _answer(self, status, content):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serving(starting=0):
    Server.starting = starting
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def ask(*arguments):
    command = [sys.executable, "-I", CLIENT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def files(tmp_path):
    contents = {"a.png": encoded(as_image(drawn(9, 14)), "PNG"), "b.jpg": encoded(as_image(drawn(20, 8)), "JPEG")}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {str(tmp_path / name): content for name, content in contents.items()}


def test_the_client_waits_and_prints_an_answer_for_each_file(files):
    with serving(starting=2) as address:
        done = ask(address, "xrays", *files)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers == [{"file": path, "answer": [len(file), file[0]]} for path, file in files.items()]


def test_the_client_says_what_the_server_says_of_a_bad_file(files, tmp_path):
    (tmp_path / "c.png").write_bytes(b"no image")
    with serving() as address:
        done = ask(address, "xrays", *files, tmp_path / "c.png")
    assert done.returncode == 1 and "400" in done.stderr and "cannot decode file [2]" in done.stderr


def test_the_client_says_how_it_is_called():
    done = ask("http://localhost:8501")
    assert done.returncode == 1 and done.stderr.startswith("usage: ")
