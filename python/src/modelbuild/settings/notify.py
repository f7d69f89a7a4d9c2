"""The options of the plugin ``notify``."""

from __future__ import annotations

from pydantic import Field

from modelbuild.settings.aws import AwsSettings
from modelbuild.settings.options import PluginOptions


class NotifySettings(PluginOptions):
    """Options of the plugin ``notify``."""

    plugin = "notify"

    aws: AwsSettings = Field(AwsSettings(), description="Where and as whom the manifest is read.")
