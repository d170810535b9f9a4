"""The time in which an accelerator has nothing to do, as its images are late."""

from __future__ import annotations

import time

from keras_mae.data.waiting import Waiting


class IdleTime:
    """Tells from what the host waits for whether the accelerator does, which works while the host is some steps ahead.

    After `n` steps in `t` seconds the host waits `s` seconds for the accelerator. If the images are late, it has the
    last step alone to do then: a step takes `s`, and it was idle for `t - n s`. If they are early, it has more than one
    to do, and `n s` is more than `t`. It was never idle for longer than the host waited for images.

    Args:
        waiting: of the host, for images.
    """

    def __init__(self, waiting: Waiting) -> None:
        self.seconds = 0.0
        self._waiting = waiting
        self.begin()

    def begin(self) -> None:
        """Begins to count steps; the accelerator has nothing to do now."""
        self._begun, self._asked = time.perf_counter(), self._waiting.seconds

    def end(self, steps: int, seconds: float) -> None:
        """Adds to `seconds` the idle time of so many steps, at whose end the host has waited for the accelerator.

        Args:
            steps: since `begin`, which follows.
            seconds: that the host has waited for the last of them to end.
        """
        idle = time.perf_counter() - self._begun - steps * seconds
        self.seconds += max(min(idle, self._waiting.seconds - self._asked), 0.0)
        self.begin()
