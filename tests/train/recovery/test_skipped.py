"""What reconciliation says of trainings whose records it cannot read."""

from __future__ import annotations

import pytest

from memory import MemoryObjects
from modelbuild.train.recovery import reconcile

MODELS = "s3://modelbuild-123456789012/models/demo"


@pytest.mark.parametrize(("requests", "said"), [({}, "every build"), ({"7": b"{}"}, "every other build")])
def test_a_training_that_is_skipped_is_not_said_to_be_delivered(
    requests: dict[str, bytes], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether the build of an unreadable request knows how its training ended is not known."""
    objects = MemoryObjects()
    for number, content in requests.items():
        objects.write(f"{MODELS}/sentiment/{number}/request.json", content)
    for name, value in (("session", None), ("Storage", objects), ("Batch", None)):
        monkeypatch.setattr(reconcile, name, lambda *_, value=value: value)
    reconcile.run(MODELS, "heads", "a-secret", {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines[:-1]] == [f"sentiment {number}" for number in requests]
    assert lines[-1] == f"{said} below {MODELS} knows how its training ended"
