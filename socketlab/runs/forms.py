"""The form of a notebook's parameters: their groups, and the names that each can have."""

from collections.abc import Mapping, MutableMapping, Sequence
from functools import partial
from typing import Any, Final

from socketlab.data import known_manifests
from socketlab.gap.scores import SCORES
from socketlab.methods import REGISTRY
from socketlab.models.names import BUILT_IN, TORCHVISION
from socketlab.runs.parameters import NOTEBOOKS, notebook_name, validate
from socketlab.runs.places import manifest_of
from socketlab.widgets.form import Form, Known
from socketlab.widgets.live import headless

FIRST: Final = "What matters first"
GROUPS: Final[Mapping[str, Sequence[str]]] = {
    FIRST: (
        "run", "data", "source", "target", "method", "methods", "translator", "targets", "seeds",
        "pairs", "first", "second", "first_encoder", "second_encoder", "align", "examples",
    ),
    "Training": (
        "source_options", "options", "variants", "backbone", "weights", "seed", "choose_by", "film",
        "source_model", "sources", "options_by_source", "changes",
    ),
    "Images and protocol": ("protocol", "protocols", "size", "crop", "encoding", "scenes_seed"),
    "Maps and layers": ("points", "projection", "fast", "most_pairs", "layers", "layer_images"),
    "Machine and folders": (
        "device", "dtype", "compile", "devices", "deterministic", "root", "data_dir", "runs_dir",
        "shared", "tensorboard",
    ),
}  # fmt: skip


def show_form(notebook: str, namespace: MutableMapping[str, Any]) -> None:
    """Show a form for the parameters that the cell above has set; headless it does nothing.

    A valid change is in `namespace` at once, where the next cell reads it.

    Args:
        notebook: name of the notebook.
        namespace: `globals()` of the notebook.

    Raises:
        ParameterError: for an unknown notebook, with the known ones.
    """
    name = notebook_name(notebook)
    if not headless():
        parameter_form(name, namespace).show()


def parameter_form(notebook: str, namespace: MutableMapping[str, Any]) -> Form:
    """The form of a notebook's parameters, which begins with what `namespace` holds.

    Raises:
        ParameterError: for an unknown notebook, with the known ones.
    """
    name = notebook_name(notebook)
    return Form(
        NOTEBOOKS[name],
        namespace,
        check=partial(validate, name),
        groups=GROUPS,
        known=partial(known_names, NOTEBOOKS[name].model_fields),
    )


def known_names(fields: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Known]:
    """The names that parameters can have, by parameter, where the others have these values.

    Args:
        fields: of the notebook, by name.
        values: those set so far; what `data` and `variants` say decides.
    """
    data = values.get("data", fields["data"].default)
    variants = values.get("variants")
    variants = variants if isinstance(variants, dict) else {}
    methods = [*REGISTRY, *variants]
    translators = ["translated", *(name for name, of in variants.items() if of == "translated")]
    found = {
        "data": Known(known_manifests(), open=True),
        "backbone": Known([*BUILT_IN, *TORCHVISION], open=True),
        "weights": Known(["none", "imagenet"], open=True),
        "first_encoder": Known([*BUILT_IN, *TORCHVISION], open=True),
        "second_encoder": Known([*BUILT_IN, *TORCHVISION], open=True),
        "method": Known(methods),
        "methods": Known(methods),
        "translator": Known(translators),
        "choose_by": Known(list(SCORES)),
    }
    try:
        manifest = manifest_of(str(data))
    except ValueError:  # named by the validation
        return found
    domains = manifest.domains
    colour = [name for name, domain in domains.items() if domain.modality == "rgb"]
    found |= {"source": Known(colour), "sources": Known(colour)}
    found |= {name: Known(list(domains)) for name in ("target", "targets")}
    found |= {name: Known(list(domains), open=True) for name in ("first", "second")}
    found |= {name: Known(list(manifest.protocols)) for name in ("protocol", "protocols")}
    return found
