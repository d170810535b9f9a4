"""Turns whose time and memory are known, and a benchmark that tells its process."""

import json
import os
import time


def sleeping(seconds, megabytes=0):
    calls = []

    def turn():
        calls.append(None)
        time.sleep(seconds)
        return bytearray(megabytes * 2**20).count(1)  # written, read, and given back

    return turn


def on_a_device(peak_bytes):
    turn = sleeping(0)
    turn.peak_bytes = lambda: peak_bytes
    return turn


def failing():
    raise OSError("no such library")


def line_of(name):
    return json.dumps({"benchmark": name, "process": os.getpid()})
