"""What a person may choose of every transfer method, and what a method cannot do without."""

from pydantic import Field

from socketlab.training.optimiser import SgdOptions


class MissingPairs(ValueError):  # noqa: N818 - reads as the thing found
    """A method that learns from TI pairs was given none."""


class SeveralSources(ValueError):  # noqa: N818 - reads as the thing found
    """A method that moves one source model was given several."""


class MissingTranslator(ValueError):  # noqa: N818 - reads as the thing found
    """A method that sees through a translator was given none."""


class Options(SgdOptions):
    """What a person may choose for every transfer method."""

    epochs: int = Field(15, ge=0, description="passes over the target images")


class FirstLook(Options):
    """What a method does that begins with its own answers on all target images."""

    statistics_first: bool = Field(
        False, description="look with the target's BatchNorm statistics, not the source's"
    )
