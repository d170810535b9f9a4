"""Children of a process that has imported TensorFlow but not started it: each has its own devices, for one import.

`run_python("-m", "tests.forked", MODULE, ARGUMENT)` calls `MODULE.children(argument)` there, which forks with `start`,
and gives back what it returns, by JSON.
"""

import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import traceback

import keras  # noqa: F401
import tensorflow as tf

import keras_mae.models  # noqa: F401
import keras_mae.trainers.pretrain  # noqa: F401


class Child:
    """A forked process that calls a function, and what came of it.

    Args:
        function: returns something that JSON can hold.
        devices: logical processor devices.
        environment: variables more.
    """

    def __init__(self, function, *arguments, devices=1, environment=None):
        self._result = tempfile.NamedTemporaryFile(suffix=".json")  # noqa: SIM115  open as long as the child
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(function, arguments, devices, environment or {})

    def _run(self, function, arguments, devices, environment):
        status = 1
        try:
            os.environ.update(environment)
            processor = tf.config.list_physical_devices("CPU")[0]
            configurations = [tf.config.LogicalDeviceConfiguration()] * devices
            tf.config.set_logical_device_configuration(processor, configurations)
            with open(self._result.name, "w") as file:
                json.dump(function(*arguments), file)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def kill(self):
        """Ends the child as a power cut would; returns whether it was still running."""
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        return os.WIFSIGNALED(status)

    def ended(self):
        """Whether the child has ended, for polling: its exit code, negative for a signal, or None."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def result(self):
        """What the function returned; raises if it did not."""
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code:
            raise RuntimeError(f"a child ended with {code}")
        with open(self._result.name) as file:
            return json.load(file)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def two_workers():
    """`TF_CONFIG` of each of two workers on this machine."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    return [{"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}})} for i in range(2)]


if __name__ == "__main__":
    print("RESULT", json.dumps(importlib.import_module(sys.argv[1]).children(*sys.argv[2:])))
