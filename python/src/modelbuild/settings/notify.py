"""The options of the plugin ``notify``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator
from typing_extensions import Self

from modelbuild.contract import TRAINING_ANNOTATION, ModelName, S3Uri
from modelbuild.settings.aws import AwsSettings
from modelbuild.settings.options import EndpointName, Options, PluginOptions, Text

SIZE = "model_bytes"
"""The name by which gates know the size of the model's archive, in bytes."""

LATENCY = "latency_seconds"
"""The name by which gates know the median time of one prediction in the evaluation's step, in seconds."""

Style = Literal["success", "info", "warning", "error"]


class ScoreSettings(Options):
    """Whether the live model scores evaluation rows that it was not evaluated on, as a job of Batch."""

    timeout: int = Field(
        900, ge=0, description="Seconds that this step waits for the job; 0: no job is submitted."
    )
    queue: Text = Field("modelbuild-default", description="Job queue of the job.")


class CompareSettings(Options):
    """The endpoint whose live model a new one is compared with."""

    endpoint: EndpointName = Field(
        description="Name of the endpoint, as in option endpoint of the deploy plugin."
    )
    artifacts: S3Uri = Field(
        description="Where served models lie in S3, as in option artifacts of the deploy plugin."
    )
    aws: AwsSettings = Field(
        AwsSettings(), description="Region and identity with which the step reads the history."
    )
    score_live: ScoreSettings = Field(
        ScoreSettings(),
        alias="score-live",
        description="How the live model scores evaluation rows that it was not evaluated on.",
    )


class Gate(Options):
    """A rule that a model must meet."""

    metric: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")] = Field(
        description=f"Name of a metric of the evaluation, such as macro_f1, or {SIZE} or {LATENCY}."
    )
    slice: Annotated[str, StringConstraints(pattern=r"^[^=]+=.+$")] | None = Field(
        None, description="Column and value of a slice, such as domain=tweets; by default all rows."
    )
    minimum: float | None = Field(None, description="The least value that passes.")
    maximum: float | None = Field(None, description="The greatest value that passes.")
    maximum_drop: float | None = Field(
        None,
        alias="maximum-drop",
        ge=0,
        description="By how much the metric may be worse than the live model's.",
    )

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.minimum is None and self.maximum is None and self.maximum_drop is None:
            raise ValueError("a gate needs minimum, maximum or maximum-drop")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(
                f"minimum {self.minimum:g} is above maximum {self.maximum:g}, so no model meets the gate: "
                "exchange them"
            )
        return self

    @model_validator(mode="after")
    def _figures_of_the_archive_have_limits_only(self) -> Self:
        if self.metric in (SIZE, LATENCY):
            if self.slice is not None:
                raise ValueError(f"{self.metric} is of the model and not of a slice: leave slice out")
            if self.maximum_drop is not None:
                raise ValueError(f"{self.metric} is not compared with the live model: give maximum")
        return self


class Styles(Options):
    """The style of the annotation by what the comparison with the live model shows."""

    first: Style = Field("info", description="No model is live.")
    better: Style = Field("success", description="The model is better than the live one.")
    no_difference: Style = Field("info", alias="no-difference", description="The rows show no difference.")
    worse: Style = Field("error", description="The model is worse than the live one.")
    not_comparable: Style = Field(
        "warning",
        alias="not-comparable",
        description="The two cannot be compared, or their difference has no interval.",
    )


class WandbSettings(Options):
    """Where Weights & Biases is asked for experimental runs."""

    api_key: Text = Field(
        "WANDB_API_KEY", alias="api-key", description="Name of the variable with the API key."
    )
    base_url: Annotated[str, StringConstraints(pattern=r"^https?://\S+$")] | None = Field(
        None,
        alias="base-url",
        description="Address of a server of one's own, with https; by default WANDB_BASE_URL or W&B's.",
    )
    entity: Text | None = Field(None, description="Team or user; by default the API key's own.")
    project: Text | None = Field(
        None, description="Project of the experimental runs; by default the pipeline."
    )


class GitHubSettings(Options):
    """Where the verdict of a pull request's build is shown beside Buildkite."""

    token: Text = Field(
        "GITHUB_TOKEN", description="Name of the variable with a token that may write comments."
    )
    host: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+(:[0-9]+)?$")] = Field(
        "github.com",
        description="Host of the repository's GitHub, such as one of GitHub Enterprise Server.",
    )


class NotifySettings(PluginOptions):
    """Options of the plugin ``notify``."""

    plugin = "notify"

    model: ModelName | None = Field(
        None,
        description="Name of the model that this step follows, where a build trains several.",
    )
    compare_with: CompareSettings | None = Field(
        None,
        alias="compare-with",
        description="The endpoint whose live model the new one is compared with; by default none.",
    )
    gates: list[Gate] = Field([], description="Rules that the model must meet.")
    on_failure: Literal["fail", "warn", "block"] = Field(
        "fail",
        alias="on-failure",
        description="Whether an unmet gate fails this step, only warns, or makes deploy ask for a reason.",
    )
    styles: Styles = Field(Styles(), description="Styles of the annotation.")
    context: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9/_-]{1,60}$")] = Field(
        TRAINING_ANNOTATION,
        description="Context of the annotation; with your own, the step removes that of the train step.",
    )
    show_examples: bool = Field(
        True, alias="show-examples", description="Whether the page shows evaluation rows with their inputs."
    )
    template: Text | None = Field(
        None, description="Jinja2 template in the checkout that replaces the page's own; it is sandboxed."
    )
    extra_body: Text | None = Field(
        None, alias="extra-body", description="Text that is added at the end of the page."
    )
    prices: Text | None = Field(
        None, description="Price file in the checkout, in place of modelbuild's own prices of AWS."
    )
    soft_fail: bool = Field(
        False,
        alias="soft-fail",
        description="Whether the step passes although the training failed; deploy refuses it all the same.",
    )
    wandb: WandbSettings | None = Field(
        None, description="Where the step asks W&B for experimental runs; by default it does not ask."
    )
    github: GitHubSettings | None = Field(
        None, description="Comment on the pull request of the build, on GitHub; by default there is none."
    )
    aws: AwsSettings = Field(
        AwsSettings(), description="Region and identity with which the step reads the manifest."
    )

    @field_validator("gates", mode="after")
    @classmethod
    def _drops_are_compared(cls, gates: list[Gate], info: ValidationInfo) -> list[Gate]:
        """Refuse a drop that is never checked: without an endpoint, no model is known to be live."""
        # A value of the option that is not valid, or not known before the build, is missing in the data.
        known_without = info.data.get("compare_with", ...) is None
        if known_without and any(gate.maximum_drop is not None for gate in gates):
            raise ValueError("maximum-drop needs compare-with, the endpoint whose live model is compared")
        return gates
