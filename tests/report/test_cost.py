from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.contract import StepInstance, StepRun
from modelbuild.errors import ConfigurationError
from modelbuild.report.cost import Prices, cost, read_prices

PRICES = Prices.model_validate({"currency": "EUR", "vcpu-hour": 0.04, "gib-hour": 0.005, "gpu-hour": 1.0})


def test_a_step_costs_what_it_asked_for() -> None:
    """Seconds by vCPUs, memory and GPUs at their prices by the hour; tasks of a step are one line."""
    train = {"step": "train", "cpu": 4, "memory": 16384, "gpu": 1}
    steps = [
        StepRun(step="start", task="1", seconds=2.5),
        StepRun(task="2", seconds=1800, **train),
        StepRun(task="3", seconds=5400, **train),
        StepRun(step="evaluate", task="4", seconds=36, cpu=1, memory=1536),
    ]
    lines = cost(steps, PRICES)
    assert [(line.step, line.seconds, line.resources) for line in lines] == [
        ("start", 2.5, "in the job of the head"),
        ("train", 7200, "4 vCPU, 16 GiB, 1 GPU"),
        ("evaluate", 36, "1 vCPU, 1.5 GiB"),
    ]
    assert lines[0].price is None
    assert [line.price for line in lines[1:]] == pytest.approx([2.48, 0.000475])


INSTANCES = {"instance-hour": {"m5.xlarge": 0.2, "g5.xlarge": 1.2, "g5.xlarge spot": 0.4}}


@pytest.mark.parametrize(
    ("instance", "price", "of"),
    [
        (StepInstance(type="m5.xlarge", vcpus=4), 0.1, " of m5.xlarge"),
        (StepInstance(type="m5.xlarge", vcpus=4, spot=True), 0.1, " of m5.xlarge (spot)"),
        (StepInstance(type="g5.xlarge", vcpus=4, spot=True), 0.2, " of g5.xlarge (spot)"),
        (StepInstance(type="m5.xlarge", vcpus=1), 0.2, " of m5.xlarge"),
        (StepInstance(type="m7i.large", vcpus=2), 0.1, " of m7i.large"),
        (None, 0.1, ""),
    ],
)
def test_a_step_costs_its_part_of_an_instance(instance: StepInstance | None, price: float, of: str) -> None:
    """By vCPUs, never more than the whole; a spot instance without a price is one on demand, and a type
    without one costs what the step asked for.
    """
    prices = Prices.model_validate({**PRICES.model_dump(by_alias=True), **INSTANCES})
    run = StepRun(step="train", task="1", seconds=3600, cpu=2, memory=4096, instance=instance)
    [line] = cost([run], prices)
    assert line.price == pytest.approx(price)
    assert line.resources == f"2 vCPU, 4 GiB{of}"


RUNS = st.lists(
    st.builds(
        StepRun,
        step=st.sampled_from("abc"),
        task=st.text(max_size=2),
        seconds=st.floats(0, 1e6),
        cpu=st.none() | st.integers(1, 96),
        memory=st.none() | st.integers(1, 10**6),
        gpu=st.integers(0, 8),
        instance=st.none()
        | st.builds(
            StepInstance,
            type=st.sampled_from(["g5.xlarge", "m5.large"]),
            spot=st.booleans(),
            vcpus=st.integers(1, 96),
        ),
    )
)


@given(RUNS)
def test_no_second_is_lost(runs: list[StepRun]) -> None:
    """However tasks come, the lines have all of their time, and prices are not negative."""
    lines = cost(runs, PRICES)
    assert sum(line.seconds for line in lines) == pytest.approx(sum(run.seconds for run in runs))
    assert all(line.price is None or line.price >= 0 for line in lines)
    assert len({(line.step, line.resources) for line in lines}) == len(lines)


def test_modelbuild_has_prices() -> None:
    """Without a price file of one's own there are prices in a currency."""
    found = read_prices()
    assert found.currency == "USD"
    assert 0 < found.gib_hour < found.vcpu_hour < found.gpu_hour


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        ("currency: EUR\n", "vcpu-hour"),
        ("currency: EUR\nvcpu-hour: -1\ngib-hour: 1\ngpu-hour: 1\n", "vcpu-hour"),
        ("currency: EUR\nvcpu-hour: .inf\ngib-hour: 1\ngpu-hour: 1\n", "vcpu-hour|inf"),
        ("[", "is not YAML"),
        ("a list", "has no prices"),
    ],
)
def test_a_wrong_price_file_is_a_sentence(content: str | None, message: str, tmp_path: Path) -> None:
    """The sentence names the file and the price."""
    path = tmp_path / "prices.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=rf"the price file .*prices\.yaml .*({message})"):
        read_prices(path)
