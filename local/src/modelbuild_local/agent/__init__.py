"""The real ``buildkite-agent``: the one on PATH if it is new enough, else one built once."""

from modelbuild_local.agent.binary import find
from modelbuild_local.agent.build import build

__all__ = ["build", "find"]
