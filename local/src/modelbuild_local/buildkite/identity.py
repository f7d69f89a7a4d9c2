"""Ids, tokens and users."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass


def new_id() -> str:
    """A new random UUID."""
    return str(uuid.uuid4())


def new_token() -> str:
    """A new secret for an agent, a job or an upload."""
    return secrets.token_urlsafe(32)


def slug_of(name: str) -> str:
    """The slug of a pipeline's name; empty if the name has neither letters nor digits."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def user_id(email: str) -> str:
    """The id of the user with this address: always the same."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{email}"))


def organization_id(slug: str) -> str:
    """The id of the organization with this slug: always the same."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"organization:{slug}"))


@dataclass(frozen=True)
class User:
    """A person, or the bot that trainings call Buildkite as.

    Attributes:
        id: a UUID.
        name: for people.
        email: the address.
        teams: slugs of the teams that the user belongs to; None for every team.
    """

    id: str
    name: str
    email: str
    teams: tuple[str, ...] | None = None

    def in_one_of(self, teams: Sequence[str]) -> bool:
        """Whether the user belongs to one of these teams."""
        return self.teams is None or not set(self.teams).isdisjoint(teams)
