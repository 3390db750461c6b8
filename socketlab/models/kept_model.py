"""A model that a run has kept, as the source model of another one."""

from collections.abc import Sequence

from socketlab.models.checkpoint import CheckpointError, build_member, load_classifier
from socketlab.models.classifier import Classifier
from socketlab.models.own_model import build_own_model
from socketlab.models.own_model_spec import KEPT, OwnModel, OwnModelError


def own_classifier(own: OwnModel, classes: Sequence[str], *, crop: int) -> Classifier:
    """The own source model for the classes of a task, in eval mode, on the CPU.

    Its logits are the original's of those classes, in their order.

    Raises:
        OwnModelError: as `build_own_model`; and for a kept model that is damaged, or that wraps
            another network and has other classes.
    """
    if own.network != KEPT:
        return build_own_model(own, classes, crop=crop)
    try:
        model, card = load_classifier(own.file)
    except CheckpointError as error:
        raise OwnModelError(f"The own source model: {error}") from error
    (whole,), (member,) = model.members, card.members
    if tuple(classes) == whole.classes:
        return whole
    rows = own.rows(classes)
    if whole.own is not None:
        raise OwnModelError(
            f"{str(own.file)!r} wraps another network, and its outputs are "
            f"{', '.join(whole.classes)}: those of this task, {', '.join(classes)}, cannot be "
            "chosen from them. Give the file that describes that network."
        )
    chosen = build_member(member, classes, own.file.parent)
    state = whole.state_dict()
    chosen.load_state_dict({k: v[rows] if k.startswith("head.") else v for k, v in state.items()})
    return chosen.eval()
