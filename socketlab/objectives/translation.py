"""Terms of TGMB and TGKT: tell two domains apart, and hand a teacher's answers to a student.

The papers' full text is not public: what is inferred says so at its function.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from socketlab.objectives._inputs import full_precision, require_matrix, require_same_shape


def _domain_weights(logits: Tensor, is_target: Tensor) -> tuple[Tensor, Tensor]:
    """The domain per sample [B, 1] and weights [B, 1] that add up to a half in each domain.

    Weights and not a selection of rows: how many rows are selected is known to a GPU alone.
    """
    if logits.ndim != 3 or logits.shape[1] != 2 or logits.numel() == 0:
        raise ValueError(
            "logits must have shape [B, 2, P], two domains for each of P patches, "
            f"found {tuple(logits.shape)}"
        )
    if is_target.shape != logits.shape[:1] or is_target.dtype != torch.bool:
        raise ValueError(
            f"is_target must be bool of shape ({len(logits)},), one value per sample of the "
            f"logits, found {is_target.dtype} of shape {tuple(is_target.shape)}"
        )
    of_target = int(is_target.sum())
    of_source = len(is_target) - of_target
    if not of_target or not of_source:
        raise ValueError(
            f"is_target holds {of_target} samples of the target domain and {of_source} of the "
            "other: put samples of both into every batch"
        )
    target = is_target.to(logits.device, non_blocking=logits.device.type == "cuda").unsqueeze(1)
    weights = torch.full(
        target.shape, 0.5 / of_source, dtype=full_precision(logits).dtype, device=logits.device
    )
    return target, weights.masked_fill(target, 0.5 / of_target)


def domain_classification(logits: Tensor, is_target: Tensor) -> Tensor:
    """Cross-entropy of the domain, both domains weighing alike.

    L = (L_0 + L_1) / 2, L_d = mean of -log softmax(logits_i.p)_d over the patches p of the samples
    i of domain d

    A discriminator descends it; what a reversal layer passes on to the translator ascends it.

    Args:
        logits: [B, 2, P], of each patch, of which there may be one; row 1 speaks for the target.
        is_target: [B] bool, True for samples of the target domain. Best left on the CPU: its
            values are counted, and counting on a GPU waits for it.

    Returns:
        Scalar, in nats, from 0; log 2 = 0.693 where the domains cannot be told apart.

    Raises:
        ValueError: when the shapes or types do not fit, or one of the domains is absent.

    Source: the domain loss of Ganin and Lempitsky, ICML 2015 (arXiv 1409.7495), equation 3; that
    domains weigh alike whatever their counts is ours.

    Low, both told apart; high, both taken for the other:

    >>> logits = torch.tensor([[[3.0], [0.0]], [[0.0], [3.0]]])
    >>> for is_target in ([False, True], [True, False]):
    ...     print(f"{domain_classification(logits, torch.tensor(is_target)):.3f}")
    0.049
    3.049
    """
    target, weights = _domain_weights(logits, is_target)
    margin = full_precision(logits[:, 1]) - full_precision(logits[:, 0])
    losses = -logsigmoid(torch.where(target, margin, -margin))
    return (weights * losses.mean(dim=1, keepdim=True)).sum()


def domain_accuracy(logits: Tensor, is_target: Tensor) -> Tensor:
    """Balanced accuracy of the domain: the mean of the two recalls.

    (share of source patches called source + share of target patches called target) / 2

    Args:
        logits: [B, 2, P], as in :func:`domain_classification`. Equal logits count as source.
        is_target: [B] bool.

    Returns:
        Scalar in [0, 1], without gradient, on the device of the logits; 0.5 is chance.

    Raises:
        ValueError: when the shapes or types do not fit, or one of the domains is absent.

    Source: ours.

    High, both told apart; chance, both called target:

    >>> is_target = torch.tensor([False, True])
    >>> domain_accuracy(torch.tensor([[[3.0], [0.0]], [[0.0], [3.0]]]), is_target).item()
    1.0
    >>> domain_accuracy(torch.tensor([[[0.0], [3.0]], [[0.0], [3.0]]]), is_target).item()
    0.5
    """
    target, weights = _domain_weights(logits, is_target)
    right = (logits[:, 1] > logits[:, 0]) == target
    return (weights * right.to(weights.dtype).mean(dim=1, keepdim=True)).sum()


def reversal_strength(progress: float) -> float:
    """Factor of a reversed gradient: none at first, while the discriminator knows nothing.

    2 / (1 + exp(-10 q)) - 1

    Args:
        progress: q, the fraction of training done, in [0, 1].

    Returns:
        From 0 at the start to 0.9999 at the end.

    Raises:
        ValueError: when ``progress`` lies outside [0, 1].

    Source: Ganin and Lempitsky, ICML 2015 (arXiv 1409.7495), section 4.

    >>> [round(reversal_strength(q), 3) for q in (0.0, 0.1, 0.5, 1.0)]
    [0.0, 0.462, 0.987, 1.0]
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"progress must lie in [0, 1], found {progress}")
    return 2 / (1 + math.exp(-10 * progress)) - 1


def knowledge_distillation(
    teacher_logits: Tensor, student_logits: Tensor, *, confidence_weighted: bool = False
) -> Tensor:
    """Make a student answer as its teacher does.

    L = 1/B sum_i w_i KL(t_i || s_i), t_i and s_i the softmax of the teacher's and student's logits

    w_i = 1, or with ``confidence_weighted`` w_i = 1 - H(t_i) / log K. The sum is divided by B, not
    by the sum of the weights: a batch that the teacher is unsure of weighs less as a whole.

    Args:
        teacher_logits: [B, K]; a constant, no gradient flows into it.
        student_logits: [B, K], of the same samples in the same order.
        confidence_weighted: whether a sample counts the less, the less certain its teacher is: 1
            where it is certain, 0 where all classes are alike to it.

    Returns:
        Scalar, in nats, from 0 (the same answers); not bounded above.

    Raises:
        ValueError: when the shapes differ or are no matrices, or weights are asked for with one
            class.

    Source: the KL term of TGKT (arXiv 2401.05014), whose full text is not public to us. Inferred:
    that teacher and student see the same crop (the teacher translated, the student as it is), the
    temperature of 1, and the weighting.

    Low, the same but for a shift that softmax does not see; high, the opposite answer; and the
    high one weighted, its teacher being 1 - 0.191 / 0.693 certain:

    >>> teacher = torch.tensor([[3.0, 0.0]])
    >>> low = knowledge_distillation(teacher, teacher + 1)
    >>> high = knowledge_distillation(teacher, -teacher)
    >>> weighted = knowledge_distillation(teacher, -teacher, confidence_weighted=True)
    >>> print(f"{abs(low):.2f} {high:.2f} {weighted:.2f}")
    0.00 2.72 1.97
    """
    require_same_shape("teacher_logits", teacher_logits, "student_logits", student_logits)
    require_matrix("teacher_logits", teacher_logits, "[B, K]")
    classes = teacher_logits.shape[1]
    if confidence_weighted and classes < 2:
        raise ValueError(
            "confidence_weighted needs at least two classes, found one: a single class is always "
            "certain"
        )
    teacher = torch.log_softmax(full_precision(teacher_logits.detach()), dim=1)
    student = torch.log_softmax(full_precision(student_logits), dim=1)
    divergences = (teacher.exp() * (teacher - student)).sum(dim=1)
    if confidence_weighted:
        entropies = -(teacher.exp() * teacher).sum(dim=1)
        divergences = (1 - entropies / math.log(classes)).clamp(min=0) * divergences
    return divergences.mean()
