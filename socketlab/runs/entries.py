"""What `run.json` holds: how each part ended, the rows, the changes made by hand, the figures."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

Status = Literal["running", "done", "failed", "stopped"]


class Part(BaseModel):
    """One notebook of a run, or one stage of work in it.

    Attributes:
        compiled: of a training: how its networks were compiled, or why they were not.
        memory: of a training: what it was expected to need, and its batch size.
        epoch, epochs, step, steps: of a training: how far it is, and how far it is to go.
        accuracy: of a training: at the end of that epoch, where there are labels.
        taken_from: the run that made this stage, where another one did.
    """

    model_config = ConfigDict(extra="forbid")

    status: Status = "running"
    seconds: float = 0.0
    reason: str = ""
    fingerprint: str = ""
    compiled: str = ""
    memory: str = ""
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    accuracy: float | None = None
    taken_from: str = ""


class Try(BaseModel):
    """One attempt at a run: where it was made, and how it ended.

    Attributes:
        began: wall clock, for people; nothing is decided by it.
        host, pid: which process had it.
        notebook: which part it was at work on last.
        ended: `done`, or what went wrong; empty while it is at work, and after a power cut.
    """

    model_config = ConfigDict(extra="forbid")

    began: str
    host: str
    pid: int
    notebook: str = ""
    ended: str = ""


class Changed(BaseModel):
    """A loss weight, or the learning-rate factor, that became another one while it trained.

    Attributes:
        step: the first step that used it: so many were taken before it.
        name: `weight/<term>` or `learning_rate_factor`.
        value: from then on; 0 or more.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: Annotated[int, Field(strict=True, ge=0)]
    name: str
    value: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        term = name.removeprefix("weight/")
        if name != "learning_rate_factor" and term in (name, ""):
            raise ValueError("give weight/<term> or learning_rate_factor")
        return name


def _one_value_at_a_time(changes: list[Changed]) -> list[Changed]:
    places = [(changed.step, changed.name) for changed in changes]
    for step, name in places:
        if places.count((step, name)) > 1:
            raise ValueError(f"step {step} sets {name!r} twice; give one value")
    return changes


Changes = Annotated[
    list[Changed],
    Field(description="of weights and learning rate, at their steps, as `run.json` lists them"),
    AfterValidator(_one_value_at_a_time),
]
"""What a person may ask to be changed while a transfer trains."""


class Result(BaseModel):
    """One row of the results: how one model scores on one domain.

    Attributes:
        accuracy, balanced_accuracy: shares in [0, 1]; None where no scored image has a label.
        chosen_by: `last` epoch, the label-free score that chose the epoch, or `oracle`: the best
            one by the labels, which nobody has in the field.
        n: how many images were scored.
        epoch: which epoch's model it is.
        scores: label-free scores at that epoch.
        predicted: how many adapted-on images it puts into each class.
        mixing: the weight of each source model, where there are several.
        note: a warning where the answers fall on under half of the classes.
        measures: what else the method says of itself at that epoch, e.g. PSNR of translations.
        advice: what to do where a translator's adversary wins or loses outright.
        seconds, peak_memory, parameters: of the training: wall time with scoring, MiB, and how
            many numbers were trained.
        expected_memory, batch_size: the peak in MiB that was expected, and images a step; 0 where
            nobody asked.
        steered: how many changes were made to the training by hand; those that the parameters ask
            for are none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    protocol: str
    source: str
    target: str
    seed: int
    accuracy: float | None
    balanced_accuracy: float | None
    chosen_by: str
    n: int
    stage: str
    epoch: int = 0
    scores: dict[str, float] = {}
    predicted: list[int] = []
    mixing: list[float] = []
    note: str = ""
    measures: dict[str, float] = {}
    advice: str = ""
    seconds: float = 0.0
    peak_memory: float = 0.0
    expected_memory: float = 0.0
    batch_size: int = 0
    parameters: int = 0
    steered: int = 0


class Listed(BaseModel):
    """A figure of the run, as the report shows it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    title: str
    caption: str
    notebook: str


class Record(BaseModel):
    """What `run.json` holds."""

    model_config = ConfigDict(extra="forbid")

    name: str
    status: Status = "running"
    reason: str = ""
    created: str
    seconds: float = 0.0
    command: str = ""
    configuration: dict[str, dict[str, Any]] = Field({}, description="by notebook")
    seeds: list[int] = []
    versions: dict[str, str] = {}
    packages: dict[str, str] = Field({}, description="every installed distribution: the lock")
    tries: list[Try] = []
    device: dict[str, str] = {}
    notebooks: dict[str, Part] = {}
    stages: dict[str, Part] = {}
    changes: dict[str, list[Changed]] = Field({}, description="while it trained, by stage")
    results: list[Result] = []
    figures: list[Listed] = []
