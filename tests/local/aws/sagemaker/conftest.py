"""SageMaker in the shared stand-in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from endpoints import Serving


@pytest.fixture(scope="session")
def serving(cloud: Any, wait: Callable[..., Any]) -> Iterator[Serving]:
    """SageMaker in the shared stand-in, left without endpoints."""
    made = Serving(cloud, wait)
    yield made
    names = [item["EndpointName"] for item in made.sagemaker.list_endpoints(MaxResults=100)["Endpoints"]]
    for name in names:
        made.settled(name)
        made.sagemaker.delete_endpoint(EndpointName=name)
    wait(lambda: not made.sagemaker.list_endpoints()["Endpoints"])
