"""The options of the plugin ``notify``."""

from __future__ import annotations

from pydantic import Field

from modelbuild.contract import ModelName
from modelbuild.settings.aws import AwsSettings
from modelbuild.settings.options import PluginOptions


class NotifySettings(PluginOptions):
    """Options of the plugin ``notify``."""

    plugin = "notify"

    model: ModelName | None = Field(
        None,
        description="Name of the model that this step follows, where a build trains several.",
    )
    aws: AwsSettings = Field(AwsSettings(), description="Where and as whom the manifest is read.")
