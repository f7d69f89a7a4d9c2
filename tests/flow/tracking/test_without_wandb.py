"""A training goes on without W&B: it is out of reach, silent, or has no key."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import standins
from tracked_training import BEGIN, EVALUATE, KEY, PUBLISH, TRAIN, Training, of_classifier
from waiting import SECONDS

WHOLE = f"{TRAIN}{EVALUATE}{PUBLISH}print(run.recorded.to_json(), run.problem)"


def test_a_training_goes_on_without_wandb(training: Training) -> None:
    """A W&B that cannot be reached costs seconds and a sentence, not the training."""
    training.environ["WANDB_BASE_URL"] = "http://127.0.0.1:9"
    start = time.monotonic()
    done = training.run(WHOLE)
    assert time.monotonic() - start < 60
    assert done.returncode == 0
    assert done.stderr.startswith(f"W&B did not take run {training.id} (")
    assert done.stderr.count("\n") == 1
    assert KEY not in done.stdout + done.stderr
    assert not list(training.folder.glob("wandb"))


def test_without_a_key_nothing_is_tried(training: Training) -> None:
    """No key is no error: nothing is sent, asked for or warned of, and the run says why it is not there."""
    del training.environ["WANDB_API_KEY"]
    begin = BEGIN.replace("run = open_run", "start = time.monotonic()\nrun = open_run")
    done = training.run(f"{WHOLE}\nprint(time.monotonic() - start)", begin)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    *_, said, seconds = done.stdout.splitlines()
    assert said.endswith("there is no key in WANDB_API_KEY")
    assert float(seconds) < 15


def test_an_empty_key_is_none(training: Training) -> None:
    """W&B's SDK, which would look for a key in other places, is not imported."""
    training.environ["WANDB_API_KEY"] = ""
    said = training.succeeds(WHOLE + "\nimport sys; assert 'wandb' not in sys.modules\n")
    assert "there is no key in WANDB_API_KEY" in said


def test_a_key_may_end_in_a_line_break(training: Training) -> None:
    """A secret that was stored with its line end opens W&B as well, and one of blanks is none."""
    training.environ["WANDB_API_KEY"] = f"{KEY}\n"
    assert training.succeeds("run.log(1, {'loss': 0.5})\nprint(run.finish().url)\n").startswith("http")
    training.environ["WANDB_API_KEY"] = " \n"
    assert training.succeeds("print(repr(run.finish().url))\n") == "''\n"


def test_a_key_that_is_none_is_not_shown(training: Training) -> None:
    """A malformed key is one sentence, without the key."""
    training.environ["WANDB_API_KEY"] = "the-malformed-key"
    done = training.run(WHOLE)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "the-malformed-key" not in done.stdout + done.stderr


TIMED_END = """
start = time.monotonic()
run.add_evaluation(evaluated, private=False)
print(run.finish().url)
print(time.monotonic() - start)
"""


def test_a_training_ends_while_wandb_is_silent(tmp_path: Path) -> None:
    """A W&B that falls silent in the middle delays the end by its limit and costs a sentence; the address of
    the run stays.
    """
    limited = BEGIN.replace(
        "run = open_run",
        "from modelbuild.flow.tracking import run as module\nmodule._FINISH_SECONDS = 3.0\nrun = open_run",
    )
    with standins.started("wandb", "--data", tmp_path / "data") as service:
        training = Training(tmp_path, service.url, of_classifier())
        process = training.start(f"{limited}{TRAIN}sys.stdout.flush()\nsys.stdin.readline()\n{TIMED_END}")
        assert process.stdin is not None
        assert process.stdout is not None
        url = process.stdout.readline()
        service.process.send_signal(signal.SIGSTOP)
        stdout, stderr = process.communicate("go on\n", timeout=3 * SECONDS)
        service.process.send_signal(signal.SIGCONT)
    assert process.returncode == 0, stderr
    shown, seconds = stdout.splitlines()
    assert shown == url.strip()
    # Without the limit above, the module's own alone takes longer.
    assert float(seconds) < 20
    assert stderr.startswith(f"W&B did not take run {training.id} (")
    assert stderr.count("\n") == 1
