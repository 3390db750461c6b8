"""translated: the source model on what a translator paints (TGMB, IEEE TIP 2025; inferred).

No program of the paper is public. The terms are those of its abstract and public reviews; where L_D
looks, when L_IM begins, all weights and the networks are our reading (arXiv 2401.05014).
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from socketlab.data.modality import Encoding
from socketlab.data.views import ImagePairs
from socketlab.methods.base import Transfer
from socketlab.methods.options import Options
from socketlab.methods.translator_options import TgmbOptions
from socketlab.models.classifier import Classifier
from socketlab.models.modes import evaluating
from socketlab.models.translator import Translator, build_translator
from socketlab.objectives import (
    information_maximisation,
    next_running_mean,
    statistics_distance,
)
from socketlab.training.adversary import Adversary
from socketlab.training.batches import centre_window, derive, generator, shuffled_batch, take_pairs
from socketlab.training.optimiser import fused
from socketlab.training.picture_quality import PictureQuality, picture_quality
from socketlab.training.statistics import Statistics, recorded_statistics, reference_statistics
from socketlab.training.steps import Look

TRANSLATED_AT_ONCE = 256


def split_pairs(count: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Rows of `count` TI pairs that are kept out (`share` of them, one at least), and the rest."""
    order = torch.randperm(count, generator=generator(seed, "held out pairs"))
    held_out = max(1, round(count * share))
    return order[:held_out], order[held_out:]


def translation_quality(
    translator: Translator, pairs: ImagePairs, rows: Tensor, crop: int, encoding: Encoding
) -> PictureQuality:
    """PSNR and SSIM of what a translator paints of the pairs `rows` [N], centre crop.

    `pairs` are on the translator's device.
    """
    size, painted, true = pairs.source.raw.shape[1], [], []
    with evaluating(translator):
        for index in torch.split(rows, TRANSLATED_AT_ONCE):
            window = centre_window(len(index), size, crop)
            rgb, other = take_pairs(pairs, index, window, encoding)
            painted.append(translator(other).float())
            true.append(rgb)
    return picture_quality(torch.cat(painted), torch.cat(true))


class Tgmb(Transfer):
    """L = L_rec + a_d L_D + a_im L_IM over the translator T; the source model C(F_s) is frozen.

    TI pairs (r, m), TR images x:

    - L_rec = mean (T(m) - r)^2, and by choice |T(m) - r| and mean (F_s(T(m)) - F_s(r))^2.
    - L_D: a discriminator tells T(m) from T(x), T is to deceive it (gradient reversal with a ramp).
    - L_IM: information maximisation of C(F_s(T(x))), its diversity over a running mean.
    - by choice SOCKET's distance of normalisation statistics, of T(x) to the source's.

    `model` is the source model that sees one-channel images through T. A share of the TI pairs is
    kept out; PSNR and SSIM of their translations are measured at every look.
    """

    name = "translated"
    needs_pairs = True
    trains_translator = True
    inferred: ClassVar[str] = "the networks, all weights, where L_D looks, when L_IM begins"
    options_model: ClassVar[type[Options]] = TgmbOptions
    options: TgmbOptions

    def prepare(self) -> None:
        """Translator and discriminator, and the TI pairs that are kept out.

        Raises:
            ValueError: if the TI pairs that are left are fewer than a batch, or the class prior
                has another number of classes.
        """
        super().prepare()
        device, options = self.precision.device, self.options
        torch.manual_seed(derive(self.seed, "translator"))
        self.translator: Translator = self.precision.placed(build_translator(options.translator))
        self.student.requires_grad_(False)
        for member in self.student.members:
            member.translate_with(self.translator)
        self.translator.requires_grad_(True)
        if not any(True for _ in self.translator.parameters()):
            self.epochs = 0  # nothing to learn
        self._keep_out()
        classes = len(self.student.classes)
        if options.class_prior is not None and len(options.class_prior) != classes:
            raise ValueError(
                f"class_prior has {len(options.class_prior)} shares for {classes} classes: "
                f"{', '.join(self.student.classes)}. Give one for each, in this order."
            )
        self.prior = None
        if options.class_prior is not None:
            self.prior = torch.tensor(options.class_prior)  # on the CPU, where it is checked
        self.memory["mean_answer"] = torch.full((classes,), 1 / classes, device=device)
        self.adversary = None
        if options.adversarial_weight and self.epochs:
            self.adversary = Adversary(options.adversary, self.source, self.crop, device)
            self.memory.update(self.adversary.memory)
        if options.statistics_weight and self.epochs:
            rgb, _ = self.pair_batch(0)
            with self.precision.autocast():
                self.reference = reference_statistics(self.source, [rgb])

    @property
    def source(self) -> Classifier:
        """The one source model, frozen."""
        return self.teacher.members[0]

    def _keep_out(self) -> None:
        count = len(self.pairs)
        self.held_out, self.rows = split_pairs(count, self.options.validation, self.seed)
        if self.epochs and len(self.rows) < self.batch_size:
            raise ValueError(
                f"{self.name!r} learns from {self.batch_size} TI pairs at a time; of {count}, "
                f"{len(self.held_out)} are kept out and {len(self.rows)} are left. Lower "
                "batch_size to that, or lower validation."
            )

    def largest_batch(self, images: int, pairs: int) -> int:
        """A batch has as many pairs, of those that are not kept out."""
        kept_out, _ = split_pairs(pairs, self.options.validation, self.seed)
        return min(images, pairs - len(kept_out))

    def build_optimiser(self) -> torch.optim.Optimizer:
        """One Adam for both: the reversed gradient makes the translator deceive."""
        options, rate = self.options, self.options.learning_rate
        networks: dict[str, nn.Module] = {"translator": self.translator}
        if self.adversary is not None:
            networks["discriminator"] = self.adversary.network
        groups = [
            {"params": list(network.parameters()), "name": name, "lr": rate, "base": rate}
            for name, network in networks.items()
        ]
        betas, decay = (options.momentum, 0.999), options.weight_decay
        about = {"betas": betas, "weight_decay": decay, "fused": fused(groups)}
        return torch.optim.Adam(groups, lr=rate, **about)  # type: ignore[arg-type]

    def term_weights(self) -> dict[str, float]:
        """Weight of each term; one of weight 0 costs nothing.

        L_D and the statistics need preparation, so where they are 0 there is nothing to raise.
        """
        options = self.options
        weights = {
            "reconstruction": options.reconstruction_weight,
            "absolute": options.l1_weight,
            "perceptual": options.perceptual_weight,
            "information_maximisation": options.information_weight,
        }
        prepared = {
            "adversarial": options.adversarial_weight,
            "statistics": options.statistics_weight,
        }
        return weights | {name: weight for name, weight in prepared.items() if weight}

    def pair_rows(self, step: int) -> Tensor:
        """Indices [B] of a step's pairs, of those that are not kept out."""
        batch = min(self.batch_size, len(self.rows))
        return self.rows[shuffled_batch(len(self.rows), batch, self.seed, "pairs", step)]

    def tallies(self) -> list[Tensor]:
        """The discriminator's accuracy, which may be of pictures."""
        return [] if self.adversary is None else [self.adversary.tally]

    def begin_epoch(self, epoch: int) -> None:
        """The discriminator's accuracy is counted anew."""
        if self.adversary is not None:
            self.adversary.tally.zero_()

    def losses(self, step: int) -> dict[str, Tensor]:
        """The terms of a batch of TI pairs and a batch of TR images."""
        rgb, other = self.pair_batch(step)
        informs = self.progress(step) >= self.options.information_start
        informs = informs and self.wants("information_maximisation")
        compares = self.wants("statistics")
        if not (informs or compares or self.wants("adversarial")):
            return self._pair_terms(self.translator(other), rgb)[0]
        _, images = self.target_batch(step)
        # In one batch, so that the translator's BatchNorm cannot give the difference away.
        both = self.translator(torch.cat([other, images]))
        pictures, target = both[: len(other)], both[len(other) :]
        terms, of_pairs = self._pair_terms(pictures, rgb)
        features = logits = target
        early: list[Tensor] = []
        if informs or compares or self._reads_source:
            with self._recording(compares) as recorded, self._watching() as early:
                features, logits = self.source.outputs(target)
        if compares:
            terms["statistics"] = statistics_distance(recorded, self.reference, "normalised")
        if self.adversary is not None and self.wants("adversarial"):
            of_target = self.adversary.choose(target, features, early)
            terms["adversarial"] = self.adversary.term(of_pairs, of_target, self.progress(step))
        if informs:
            terms["information_maximisation"] = self._information(logits)
        return terms

    def _pair_terms(self, pictures: Tensor, rgb: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The terms of T(m) and r [B, 3, H, W], and T(m) as the discriminator sees it."""
        terms, pixels = {}, pictures.float()
        if self.wants("reconstruction"):
            terms["reconstruction"] = mse_loss(pixels, rgb)
        if self.wants("absolute"):
            terms["absolute"] = l1_loss(pixels, rgb)
        features, early = pictures, list[Tensor]()
        if self.wants("perceptual") or self._reads_source:
            with self._watching() as early:
                features = self.source.features(pictures)
        if self.wants("perceptual"):
            with torch.no_grad():
                wanted = self.source.features(rgb)
            terms["perceptual"] = mse_loss(features.float(), wanted.float())
        if self.adversary is None or not self.wants("adversarial"):
            return terms, pictures
        return terms, self.adversary.choose(pictures, features, early)

    @property
    def _reads_source(self) -> bool:
        """Whether L_D looks at the source model's features, and has a weight."""
        adversary = self.adversary
        return adversary is not None and adversary.reads_source and self.wants("adversarial")

    def _recording(self, compares: bool) -> AbstractContextManager[Statistics]:
        return recorded_statistics(self.source.encoder) if compares else nullcontext([])

    def _watching(self) -> AbstractContextManager[list[Tensor]]:
        return self.adversary.watching() if self.adversary is not None else nullcontext([])

    def _information(self, logits: Tensor) -> Tensor:
        """L_IM of logits [B, K], the mean answer being that of recent batches too."""
        before, momentum = self.memory["mean_answer"], self.options.information_momentum
        mean = next_running_mean(logits, before, momentum)
        before.copy_(mean)
        return information_maximisation(logits, mean, class_prior=self.prior)

    def look(self) -> Look:
        """As of every method, and how good the pictures are and how well the adversary does."""
        quality = self.quality()
        measures = {"psnr": quality.psnr, "ssim": quality.ssim}
        accuracy = self.adversary.accuracy() if self.adversary is not None else None
        if accuracy is not None:
            measures["discriminator_accuracy"] = accuracy
        return replace(super().look(), measures=measures)

    def quality(self) -> PictureQuality:
        """PSNR and SSIM of the translations of the TI pairs that were kept out."""
        with self.precision.autocast():
            return translation_quality(
                self.translator, self.pairs, self.held_out, self.crop, self.encoding
            )


METHOD = Tgmb
