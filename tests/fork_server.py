"""Processes that begin with TensorFlow imported: a server imports it once, and forks for each command.

What starts in 10 ms instead of seconds is otherwise a process of its own: it has its own `__main__`, environment,
devices and end, and has imported nothing of this package. Tests of what an import costs or needs start Python itself,
with `tests.base.run_python`.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import types

TIMEOUT = 900
_servers = {}  # by process, as forked tests have their own, and by modules


def run(arguments, modules, environment):
    """As `subprocess.run` of this Python with `-c PROGRAM ...` or `-m MODULE ...`, with captured text.

    Args:
        arguments: what follows the interpreter.
        modules: imported before the fork: those that every such process imports anyway. For others there is another
            server, so that a process has none of them.
        environment: all of it.
    """
    server = _servers.get((os.getpid(), *modules)) or _started(modules)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        files = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (out, err)]
        request = {"arguments": arguments, "environment": environment, "files": files}
        print(json.dumps(request), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    return subprocess.CompletedProcess([sys.executable, *arguments], code, *texts)


def run_as_an_export_is_checked(command, env, **_):
    """For `subprocess.run` in `keras_mae.export.verify`: a process that has imported TensorFlow alone."""
    python, safe_path, *arguments = command
    assert (python, safe_path) == (sys.executable, "-P")
    return run(arguments, ["tensorflow"], env)


def _started(modules):
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = os.pathsep.join([root, *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fork_server", *modules],
        cwd=root, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    _servers[(os.getpid(), *modules)] = process
    atexit.register(_ended, process, os.getpid())
    return process


def _ended(process, owner):
    if os.getpid() == owner:  # a process that was forked from this one has inherited this
        process.stdin.close()  # the server's loop ends
        process.wait()


def _serve():
    """Forks for every request. Returns a request in the process that is to answer it, and None at the end."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing that an import prints is an answer
    for module in sys.argv[1:]:
        importlib.import_module(module)
    gc.freeze()  # a process that ends would walk through all that was imported: one second
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            answers.close()
            return request
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)
    return None


def _become(arguments, environment, files):
    """The rest of this process is `python ARGUMENTS`."""
    for number, file in enumerate([os.devnull, *files]):
        opened = os.open(file, os.O_RDWR)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    signal.alarm(TIMEOUT)  # ends it
    kind, what, *rest = arguments
    sys.argv = [kind, *rest]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), vars(main))


if __name__ == "__main__":
    _request = _serve()
    if _request is not None:
        _become(**_request)
