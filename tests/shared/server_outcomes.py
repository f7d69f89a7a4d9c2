"""The outcomes of ``modelbuild check-image`` for a server."""

from __future__ import annotations

from model_servers import RightServer, running
from modelbuild.image_check import server_checks
from modelbuild.image_check.model import CheckedModel
from modelbuild.image_check.outcome import Outcome
from modelbuild.image_check.server import Server
from modelbuild.image_check.session import Session


def examine(behaviour: RightServer, model: CheckedModel, seconds: float = 5.0) -> dict[str, Outcome]:
    """The outcomes of the checks of a server, by subject."""
    with running(behaviour) as running_server:
        found = Server("127.0.0.1", running_server.server_port)
        outcomes = list(server_checks.examine(Session(found, model, model.identity), seconds))
    assert len({outcome.subject for outcome in outcomes}) == len(outcomes)
    return {outcome.subject: outcome for outcome in outcomes}
