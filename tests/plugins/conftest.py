from __future__ import annotations

from pathlib import Path

import pytest

from modelbuild.settings.deploy import DeploySettings
from modelbuild.settings.notify import NotifySettings
from modelbuild.settings.train import TrainSettings

PLUGINS = {settings.plugin: settings for settings in (TrainSettings, NotifySettings, DeploySettings)}


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return Path(__file__).parents[2]


@pytest.fixture(params=sorted(PLUGINS))
def plugin(request: pytest.FixtureRequest) -> str:
    """Each plugin's name."""
    return str(request.param)


@pytest.fixture
def settings(plugin: str) -> type[TrainSettings | NotifySettings | DeploySettings]:
    """The model of the plugin's options."""
    return PLUGINS[plugin]
