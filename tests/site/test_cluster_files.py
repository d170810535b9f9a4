"""The files for clusters and servers: the scripts run with stand-ins, the manifests are parsed, flags are right."""

import json
import os
import re
import shlex
import stat
import subprocess

import pytest
import yaml

from keras_mae import cli
from tests.site.pages import DOCS, text_of

FILES = DOCS / "files"
# of tensorflow_model_server, by its --help
SERVER_FLAGS = {
    "--model_config_file", "--model_config_file_poll_wait_seconds", "--enable_batching",
    "--enable_per_model_batching_parameters",
}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """Runs a script with stand-ins on the path, which note what they are given; returns the process and the notes."""

    def made(script, code=0, **environment):
        tools = {
            "keras-mae": f'echo "$TF_CONFIG" >> {tmp_path}/config; printf "%s\\n" "$@" > {tmp_path}/said; exit {code}',
            "scontrol": f'[[ $1 == show ]] && printf "node1\\nnode2\\n" || echo "$@" > {tmp_path}/requeued',
            "srun": 'for SLURM_PROCID in 0 1; do export SLURM_PROCID; "$@" || failed=$?; done; exit ${failed:-0}',
        }
        for name, text in tools.items():
            (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
            (tmp_path / name).chmod(0o755)
        path = f"{tmp_path}:{os.environ['PATH']}"
        variables = {"PATH": path, "OUTPUT": str(tmp_path / "out"), "DATA": "folder:/data", **environment}
        process = subprocess.run(["bash", "-c", script], env=variables, capture_output=True, text=True)
        read = {name: (tmp_path / name) for name in ("config", "said", "requeued")}
        return process, {name: file.read_text().splitlines() for name, file in read.items() if file.exists()}

    return made


def check(arguments):
    """The command line is one that `keras-mae` takes."""
    name, *rest = arguments
    assert cli.COMMANDS[name].make_flags()([name, *rest])[1:] == []


SLURM = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_ID": "7"}


def test_slurm_gives_every_node_its_place(run):
    process, notes = run((FILES / "slurm.sh").read_text(), **SLURM)
    assert process.returncode == 0, process.stderr
    check(notes["said"])
    assert "--resume" not in notes["said"] and "requeued" not in notes
    cluster = {"worker": ["node1:12345", "node2:12345"]}
    found = [json.loads(line) for line in notes["config"]]
    assert found == [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(2)]


def test_slurm_continues_and_goes_back_into_the_queue(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("{}")
    process, notes = run((FILES / "slurm.sh").read_text(), code=143, **SLURM)
    assert process.returncode == 143
    check(notes["said"])
    assert "--resume" in notes["said"] and notes["requeued"] == ["requeue 7"]


def test_slurm_leaves_a_finished_run_and_shows_other_errors(run, tmp_path):
    process, notes = run((FILES / "slurm.sh").read_text(), code=2, **SLURM)
    assert process.returncode == 2 and "requeued" not in notes
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").write_text("{}")
    process, _ = run((FILES / "slurm.sh").read_text(), code=2, **SLURM)
    assert process.returncode == 0 and "is finished" in process.stdout


def documents(name):
    return {document["kind"]: document for document in yaml.safe_load_all((FILES / name).read_text())}


def test_kubernetes_gives_every_pod_its_place(run, tmp_path):
    found = documents("kubernetes_train.yaml")
    job, service = found["Job"], found["Service"]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (script,) = container["args"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    name = service["metadata"]["name"]
    assert job["spec"]["completionMode"] == "Indexed" and pod["subdomain"] == name
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert int(environment["WORKERS"]) == job["spec"]["completions"] == job["spec"]["parallelism"]
    hosts = [f"{job['metadata']['name']}-{index}.{name}:12345" for index in range(2)]
    for index in range(2):
        process, notes = run(script, WORKERS="2", JOB_COMPLETION_INDEX=str(index))
        assert process.returncode == 0, process.stderr
        check(notes["said"])
        config = json.loads(notes["config"][-1])
        assert config == {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        assert "--overwrite" in notes["said"]
    (tmp_path / "out" / "checkpoints").mkdir(parents=True)
    (tmp_path / "out" / "checkpoints" / "one").touch()
    _, notes = run(script, WORKERS="2", JOB_COMPLETION_INDEX="0")
    assert "--resume" in notes["said"] and "--overwrite" not in notes["said"]
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}


def test_kubernetes_serves_by_flags_that_the_server_has():
    found = documents("kubernetes_serve.yaml")
    pod, service = found["Deployment"]["spec"]["template"], found["Service"]["spec"]
    (container,) = pod["spec"]["containers"]
    assert {argument.split("=")[0] for argument in container["args"]} <= SERVER_FLAGS
    labels = found["Deployment"]["spec"]["selector"]["matchLabels"]
    assert labels == pod["metadata"]["labels"] == service["selector"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    assert {port["targetPort"] for port in service["ports"]} == set(ports)
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["spec"]["volumes"]
    }


def test_docker_runs_with_flags_that_the_server_has():
    (line,) = re.findall(r"tensorflow/serving:[\d.]+((?: |\\\n|--[\w=/.]+)+)", text_of(DOCS / "serving.md"))
    flags = set(re.findall(r"--\w+", line))
    assert flags and flags <= SERVER_FLAGS


@pytest.mark.parametrize("name", ["slurm.sh", "tpu_vm.sh"])
def test_scripts_are_bash_that_can_be_run(name):
    assert os.stat(FILES / name).st_mode & stat.S_IXUSR
    assert (FILES / name).read_text().startswith("#!/bin/bash\n")
    subprocess.run(["bash", "-n", FILES / name], check=True)


def test_the_tpu_script_gives_flags_that_there_are():
    (line,) = re.findall(r"^ *keras-mae (.*)$", (FILES / "tpu_vm.sh").read_text(), flags=re.M)
    check(shlex.split(line))


def test_every_file_is_on_a_page():
    shown = "\n".join(page.read_text() for page in DOCS.glob("*.md"))
    for file in FILES.iterdir():
        assert f"(files/{file.name})" in shown and f'"docs/files/{file.name}"' in shown, file.name
