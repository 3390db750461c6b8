"""The methods: each one short file, a sum of objectives; registered here by one line."""

import importlib
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from socketlab.data.encoding_names import THREE_CHANNELS

if TYPE_CHECKING:
    from socketlab.data.views import Views
    from socketlab.methods.base import Transfer
    from socketlab.methods.options import Options

Model = TypeVar("Model", bound=BaseModel)

# name: module of the class that `METHOD` names in it. No network library is loaded here.
REGISTRY: dict[str, str] = {
    "source_only": "socketlab.methods.source_only",
    "adabn": "socketlab.methods.adabn",
    "tent": "socketlab.methods.tent",
    "shot_im": "socketlab.methods.shot_im",
    "shot": "socketlab.methods.shot",
    "distillation": "socketlab.methods.distillation",
    "aad": "socketlab.methods.aad",
    "nrc": "socketlab.methods.nrc",
    "socket": "socketlab.methods.socket",
    "translated": "socketlab.methods.tgmb",
    "tgkt": "socketlab.methods.tgkt",
    "socket_translated": "socketlab.methods.socket_translated",
    "oracle_pairs": "socketlab.methods.oracle_pairs",
    "oracle_labels": "socketlab.methods.oracle_labels",
}


class UnknownMethod(ValueError):  # noqa: N818 - reads as the thing found
    """A method that is not registered."""


def check_method(name: str) -> str:
    """Return `name` if a method of that name is registered.

    Raises:
        UnknownMethod: with the known names.
    """
    if name not in REGISTRY:
        raise UnknownMethod(f"Unknown method {name!r}. Known: {', '.join(REGISTRY)}.")
    return name


def method_class(name: str) -> "type[Transfer]":
    """The class of a registered method."""
    module = importlib.import_module(REGISTRY[check_method(name)])
    found: type[Transfer] = module.METHOD
    return found


class ThreeChannels(ValueError):  # noqa: N818 - reads as the thing found
    """A method that paints target images was given some that have colours already."""


def check_channels(method: "type[Transfer]", encoding: str) -> None:
    """Raise `ThreeChannels` if a method paints one channel and the encoding gives three.

    A classifier would take the three past its translator, and nothing would be painted.
    """
    if (method.trains_translator or method.needs_translator) and encoding in THREE_CHANNELS:
        raise ThreeChannels(
            f"{method.name!r} paints one channel as colour, and encoding {encoding!r} gives three. "
            "Set encoding to 'replicate' or 'inverse', or choose a method without a translator."
        )


def methods_without_pairs() -> list[str]:
    """Names of the methods that learn nothing from TI pairs."""
    classes = {name: method_class(name) for name in REGISTRY}
    return [n for n, c in classes.items() if not c.needs_pairs and not c.upper_reference]


def methods_for_several_sources() -> list[str]:
    """Names of the methods that can move several source models at once."""
    return [name for name in REGISTRY if method_class(name).several_sources]


def build_method(name: str, options: "dict[str, Any]", views: "Views", **about: Any) -> "Transfer":
    """A method by name, its options checked; `views` reach an upper reference and no other.

    Args:
        name: a registered name.
        options: what differs from the method's defaults.
        views: what the experiment may look at, labels of the target among it.
        about: crop, seed, precision, encoding, and translator where the method needs one.

    Raises:
        UnknownMethod: with the known names.
        UnknownOption: naming the option, the value found and the known ones.
    """
    method = method_class(name)
    checked = check_options(name, options)
    if method.upper_reference:
        return method(checked, views=views, **about)  # type: ignore[call-arg]
    return method(checked, **about)


class UnknownOption(ValueError):  # noqa: N818 - reads as the thing found
    """An option that a method does not have, or a value it cannot have."""


def check_options(name: str, options: "dict[str, Any]") -> "Options":
    """The options of a method as its pydantic model.

    Raises:
        UnknownOption: naming the option, the value found and the known ones.
    """
    return validated(method_class(name).options_model, f"Method {name!r}", options)


def validated(model: type[Model], who: str, options: "dict[str, Any]") -> Model:
    """Options as their pydantic model.

    Raises:
        UnknownOption: naming the option, the value found and the known ones.
    """
    try:
        return model.model_validate(options)
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(map(str, e['loc']))} = {e['input']!r} ({e['msg']})" for e in error.errors()
        )
        raise UnknownOption(
            f"{who} cannot take {found}. Its options: {', '.join(model.model_fields)}."
        ) from None
