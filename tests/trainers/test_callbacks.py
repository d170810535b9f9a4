"""The progress bar, by a clock that is ours."""

import io

from keras_mae.data import progress as module
from keras_mae.trainers import callbacks


def test_progress_shows_loss_rate_and_remaining_time(monkeypatch):
    """Two epochs of a model that does nothing, at a clock that is ours: 8 images in 0.5 s."""
    seconds, text = [0.0], io.StringIO()

    class Bar(module.tqdm):
        """Writes to `text` at every step, by our clock."""

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **{**kwargs, "file": text, "mininterval": 0, "ncols": 120, "dynamic_ncols": False})
            self._time = lambda: seconds[0]
            self.start_t = self.last_print_t = seconds[0]

    monkeypatch.setattr(module, "tqdm", Bar)
    progress = callbacks.Progress(batch_size=8, steps_per_epoch=5, epochs=2)
    for epoch in range(2):
        for batch in range(5):
            seconds[0] += 60 if (epoch, batch) == (0, 0) else 0.5  # the first step compiles for a minute
            progress.on_train_batch_end(batch, {"loss": 1 - 0.1 * batch})
    progress.close()
    lines = text.getvalue().split("\r")
    # after four of ten steps, six of half a second are left; the minute counts for nothing
    line = next(line for line in lines if "epoch 1/2, loss 0.7000" in line)
    assert " 40%  16.0 images/s, 00:03 left" in line
    last = lines[-1] if "epoch 2/2" in lines[-1] else lines[-2]
    assert "epoch 2/2, loss 0.6000" in last and "100%  16.0 images/s, 00:00 left" in last
