from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.train.head.diagnosis import failure, reason, redact, sentence

STAMP = "2026-01-31 12:00:00.123 [1795533493339701/train/2 (pid 10807)] "
FAILED = [
    "2026-01-31 12:00:01.000 Workflow failed.",
    "    Step failure:",
    "    Step train (task-id 2) failed.",
    "",
]


def log(*lines: str, job: str = "") -> list[str]:
    """What Metaflow prints about a task with this output, which then fails."""
    return [f"{STAMP}{job}{line}" for line in (*lines, "", "Task failed.")] + FAILED


TRACEBACK = ("<flow F step train> failed:", "Internal error", "Traceback (most recent call last):")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            log(*TRACEBACK, 'File "flow.py", line 3, in train', "raise X", "RuntimeError: boom"),
            "RuntimeError: boom (flow.py, line 3)",
        ),
        (
            log(*TRACEBACK, 'File "flow.py", line 3', "model.fit()", "KeyError: 'x'", "second: line"),
            "KeyError: 'x' (flow.py, line 3)",
        ),
        (
            log(*TRACEBACK, 'File "f.py", line 3', "torch.cuda.OutOfMemoryError: no"),
            "torch.cuda.OutOfMemoryError: no (f.py, line 3)",
        ),
        (
            log(*TRACEBACK, "ZeroDivisionError: a", "During handling:", *TRACEBACK[2:], "ValueError: b"),
            "ValueError: b",
        ),
        (
            log("Epoch 3", "AWS Batch error:", "Host EC2 (instance i-0) terminated."),
            "Host EC2 (instance i-0) terminated.; its log ends: Epoch 3",
        ),
    ],
)
def test_reason_is_step_and_exception(lines: list[str], message: str) -> None:
    """The step that failed and the line that says why, out of all that Metaflow prints."""
    assert reason(lines, 1) == f"step train failed: {message}"


def test_what_batch_says_of_a_container_goes_before_what_metaflow_says() -> None:
    """Metaflow says of a step that was killed for memory that it left nothing behind: Batch knows why."""
    lines = log("Data store error:", "No completed attempts of the task was found for task 'F/1/train/2'")
    killed = "OutOfMemoryError: Container killed due to memory usage"
    assert reason(lines, 1, killed) == f"step train failed: {killed}"


@pytest.mark.parametrize("kind", ["errors.ConfigurationError", "aws.failures.NotFound"])
def test_own_errors_are_just_their_sentence(kind: str) -> None:
    """An error of modelbuild is a sentence for people: the name of its class is left out."""
    lines = log(*TRACEBACK, 'File "flow.py", line 3', f"modelbuild.{kind}: the query gave no rows: widen it")
    assert reason(lines, 1) == "step train failed: the query gave no rows: widen it (flow.py, line 3)"


def test_endless_line_takes_no_time() -> None:
    """A line of a megabyte, of the kind on which a search for secrets is slow, is shortened."""
    before = time.process_time()
    assert len(reason(log(*TRACEBACK, "RuntimeError: " + "a-" * 500_000), 1)) == 500
    assert time.process_time() - before < 5


def test_lines_of_batch_jobs_are_read_as_well() -> None:
    """The output of a step on Batch has its job's id before it."""
    job = "[0d6a3f62-1111-2222-3333-444455556666] "
    lines = log(*TRACEBACK, 'File "flow.py", line 3', "RuntimeError: boom", job=job)
    assert reason(lines, 1) == "step train failed: RuntimeError: boom (flow.py, line 3)"


def test_reason_is_of_the_task_that_failed() -> None:
    """Tasks of a foreach print in turns: what another task of the step printed is no reason."""
    other = STAMP.replace("/train/2", "/train/3")
    lines = log("Epoch 1", "<flow F step train[0] (input: a)> failed:", *TRACEBACK[1:], "RuntimeError: boom")
    mixed = [line for pair in zip(lines, [f"{other}all is well"] * len(lines), strict=True) for line in pair]
    mixed[-1:-1] = [f"{other}Traceback (most recent call last):", f"{other}KeyError: 'caught'"]
    assert reason(mixed, 1) == "step train failed: RuntimeError: boom; its log ends: Epoch 1"


def test_segmentation_fault_is_a_reason() -> None:
    """A step that Python could not end with an exception has Metaflow's word for it."""
    lines = [f"{STAMP}Epoch 1", f"{STAMP}Task failed with a segmentation fault.", *FAILED]
    message = "step train failed: Task failed with a segmentation fault.; its log ends: Epoch 1"
    assert reason(lines, 1) == message


def test_sentences_of_a_user_are_not_metaflows() -> None:
    """What a step prints is shown, also where it begins as a line of Metaflow does."""
    lines = log("Task finished with loss 0.3", "Task is starting over", *TRACEBACK, "RuntimeError: boom")
    message = "its log ends: Task finished with loss 0.3 / Task is starting over"
    assert reason(lines, 1) == f"step train failed: RuntimeError: boom; {message}"


@pytest.mark.parametrize("unpacked", ["/tmp/modelbuild-x1/source/flows/shop/", "/srv/metaflow/"])
def test_reported_line_is_in_the_users_own_code(unpacked: str) -> None:
    """An exception deep in a library names the line of the flow that led there, and the log's last lines."""
    deep = "/usr/lib/python3.12/site-packages/torch/nn/module.py"
    frames = [f'  File "{unpacked}rows.py", line 12, in split', "    cut(rows)", f'  File "{deep}", line 9']
    lines = log(*(f"Epoch {number}" for number in range(9)), *TRACEBACK, *frames, "RuntimeError: boom")
    folder = "flows/shop/" if "source" in unpacked else ""
    assert reason(lines, 1) == (
        f"step train failed: RuntimeError: boom ({folder}rows.py, line 12); "
        "its log ends: Epoch 6 / Epoch 7 / Epoch 8"
    )


def test_long_message_keeps_file_and_line() -> None:
    """Where the exception says more than fits, its message is cut, and file and line are not."""
    lines = log(*TRACEBACK, 'File "flow.py", line 3, in train', "RuntimeError: " + "boom " * 200)
    assert "… (flow.py, line 3)" in reason(lines, 1)


def test_page_has_the_end_of_the_log() -> None:
    """The last lines of the task that failed, with its traceback; the reason is that of the result."""
    frame = ('File "flow.py", line 3, in train', "    raise X", "RuntimeError: boom")
    epochs = tuple(f"Epoch {number}" for number in range(40))
    other = STAMP.replace("/train/2", "/other/3") + "all is well"
    lines = [other, *log("Task is starting.", *epochs, *TRACEBACK, *frame)]
    found = failure(lines, 1)
    assert found.step == "train"
    assert found.reason == "step train failed: RuntimeError: boom (flow.py, line 3)"
    assert found.log[-4:] == (TRACEBACK[-1], *frame)
    assert found.log[:-4] == epochs[-26:]
    assert found.explains(reason(lines, 1))
    assert not found.explains("the head died without giving a reason")


def test_page_has_the_frames_of_the_users_code_only() -> None:
    """Of a deep traceback the frames of Metaflow and of libraries are left out, with their code."""
    library = "/usr/lib/python3.12/site-packages/metaflow/cli.py"
    frames = [f'  File "{library}", line 5, in main', "    run()", "    ^^^^^"]
    own = ['  File "/srv/metaflow/flow.py", line 3, in train', "    fit()", "    ^^^^^"]
    lines = log("Epoch 1", *TRACEBACK, *frames * 20, *own, *frames * 20, "RuntimeError: boom", "    more")
    assert failure(lines, 1).log == ("Epoch 1", TRACEBACK[-1], *own, "RuntimeError: boom", "    more")


def test_page_has_the_end_of_a_log_without_a_step() -> None:
    """A flow that ended before a step failed is shown as it printed."""
    found = failure(["  unknown option --x  ", ""], 2)
    assert (found.step, found.log) == ("", ("unknown option --x",))
    assert found.explains(reason(["  unknown option --x  ", ""], 2))


def test_page_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are blacked out in each line, also one of several lines, and whatever is named like one."""
    monkeypatch.setenv("WANDB_API_KEY", "first-half\nsecond-half")
    found = failure(log("using first-half", "second-half", "password=hunter2-long", "RuntimeError"), 1)
    shown = "\n".join(found.log)
    assert "half" not in shown
    assert "hunter2" not in shown
    assert "RuntimeError" in shown


@given(st.lists(st.text(), max_size=60))
def test_any_output_makes_a_record(lines: list[str]) -> None:
    """Whatever a flow prints, what is recorded of it reads back, and is short."""
    found = failure(log(*lines), 1)
    assert len(found.to_json()) < 100_000
    assert found.explains(reason(log(*lines), 1))


def test_secrets_in_the_log_are_blacked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines that a step printed before it failed are shown without the values of secrets."""
    lines = log("using hunter2-long", *TRACEBACK, "RuntimeError: boom")
    monkeypatch.setenv("WANDB_API_KEY", "hunter2-long")
    message = reason(lines, 1)
    assert message == "step train failed: RuntimeError: boom; its log ends: using [redacted]"


def test_silent_step_is_named() -> None:
    """A step that was killed and said nothing is at least named."""
    assert reason(log(), 1) == "step train failed"


def test_flow_that_did_not_start() -> None:
    """A flow that ends before any step says with which exception, or its last line, or nothing."""
    start = "the flow ended with exit code 1 before a step failed"
    lines = ["Traceback (most recent call last):", '  File "flow.py", line 1', "ImportError: no torch", ""]
    assert reason(lines, 1) == f"{start}: ImportError: no torch (flow.py, line 1)"
    assert reason(["Usage: flow.py", "Error: no such option: --config"], 1) == (
        f"{start}: Error: no such option: --config"
    )
    assert reason([], 1) == start


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter2-long",
        "the api_key: hunter2-long is wrong",
        "Authorization: Bearer hunter2-long",
        "https://user:hunter2-long@host/path",
        '{"token": "hunter2-long"}',
        "aws_secret_access_key = hunter2-long",
        "plain hunter2-long in a sentence",
    ],
)
def test_secrets_are_blacked_out(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of secret variables, and what is named like a secret, never reach the build page."""
    if "plain" in text:
        monkeypatch.setenv("WANDB_API_KEY", "hunter2-long")
    assert "hunter2-long" not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://wandb.example/a/b?c=1",
        "s3://bucket/key",
        "the tokenizer: fast",
        "step train failed: KeyError",
    ],
)
def test_ordinary_text_is_left(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no secret stays readable."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("EMPTY_TOKEN", "")
    assert redact(text) == text


def test_sentence_is_one_line_that_can_be_stored_and_shown() -> None:
    """Line ends, colours, NUL and marks that turn text around are gone; what is too long is cut."""
    text = "\x1b[31mValueError\x1b[0m: a\r\nb\0c \u202ed\ud800 é 日本 token=hunter2-long"
    assert sentence(text) == "ValueError: a b c d é 日本 token=[redacted]"
    assert sentence("x" * 600) == "x" * 499 + "…"


@given(st.text(), st.integers(0, 100))
def test_any_sentence_is_printable(text: str, times: int) -> None:
    """Whatever went wrong, what is said of it is printable text of at most 500 characters."""
    message = sentence(text * times)
    assert message.isprintable()
    assert len(message) <= 500


@given(st.lists(st.text(), max_size=30), st.integers(-15, 255))
def test_any_output_gives_a_short_sentence(lines: list[str], code: int) -> None:
    """Whatever a flow prints, the reason is text of at most 500 characters."""
    assert 0 < len(reason(lines, code)) <= 500
