"""The options by which every plugin reaches AWS."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator
from typing_extensions import Self

from modelbuild.settings.options import Options, RoleArn, Text


class AwsSettings(Options):
    """Where and as whom AWS is called."""

    region: Text | None = Field(None, description="Region; by default the one of the agent's environment.")
    role_arn: RoleArn | None = Field(
        None, alias="role-arn", description="Role to assume; by default the agent's own identity is used."
    )
    role_session_name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+=,.@-]{2,64}$")] | None = (
        Field(
            None,
            alias="role-session-name",
            description="Name of the role's session in CloudTrail; by default it leads back to the build.",
        )
    )
    # botocore renews credentials a quarter of an hour before they expire: it would always renew shorter ones.
    role_session_duration: Annotated[int, Field(ge=1800, le=43200)] | None = Field(
        None,
        alias="role-session-duration",
        description="Seconds after which the role's credentials are renewed; by default an hour.",
    )
    oidc: bool = Field(
        False, description="Whether the role is assumed with the agent's OIDC token, not its AWS identity."
    )
    session_tags: list[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]] = Field(
        [],
        alias="session-tags",
        description="Claims of the OIDC token that become tags of the session, such as pipeline_slug.",
    )
    external_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+=,.@:/-]{2,}$")] | None = Field(
        None, alias="external-id", description="External id that the role's trust policy asks for."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Refuse options that would have no effect without others."""
        if self.role_arn is None:
            for name in ("role_session_name", "role_session_duration", "oidc", "external_id"):
                if getattr(self, name):
                    raise ValueError(f"{name.replace('_', '-')} needs role-arn, the role that is assumed")
        if self.session_tags and not self.oidc:
            raise ValueError("session-tags needs oidc: true, as they are claims of the OIDC token")
        if self.external_id and self.oidc:
            raise ValueError("external-id and oidc exclude each other: AWS takes no external id with a token")
        return self
