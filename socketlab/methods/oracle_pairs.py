"""oracle_pairs: distillation on pairs of the target's own images; an upper reference."""

from typing import Any, ClassVar, Self

from torch import Tensor

from socketlab.data.views import Views
from socketlab.methods.distillation import Distillation, PairOptions
from socketlab.training.rehearsal import few_rows


class OraclePairs(Distillation):
    """L = L_TI on TR pairs: the RGB partners of the adapted-on images, which no method may see.

    It says how far a transfer by pairs could get if the pairs showed the right things.
    """

    name = "oracle_pairs"
    upper_reference = True
    needs_pairs: ClassVar[bool] = False  # of TI, which are what `fit` is given

    def __init__(self, options: PairOptions, *, views: Views, **about: Any) -> None:
        super().__init__(options, **about)
        if views.target_pairs is None:
            raise ValueError(
                f"{self.name!r} learns from RGB partners of the target images, and "
                f"{views.target.domain} has none. Leave this reference out."
            )
        self.partners = views.target_pairs

    def of_few(self, rows: Tensor) -> Self:
        """With as many partners."""
        few = super().of_few(rows)
        few.partners = self.partners.rows(few_rows(len(self.partners), len(rows)))
        return few

    def prepare(self) -> None:
        """TR pairs in the place of TI pairs."""
        self.pairs = self.partners.to(self.precision.device)
        super().prepare()


METHOD = OraclePairs
