"""What is installed: a few versions for people, and all of them, to install the same again."""

import functools
import importlib.metadata
import platform

PACKAGES = ("socketlab", "torch", "torchvision", "timm", "numpy", "scikit-learn", "umap-learn")


def versions() -> dict[str, str]:
    """Of what decides the numbers most, and of Python."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return found | {"python": platform.python_version()}


@functools.cache
def _installed() -> tuple[tuple[str, str], ...]:
    found = {
        str(each.metadata["Name"]): each.version for each in importlib.metadata.distributions()
    }
    return tuple(sorted(found.items(), key=lambda item: item[0].lower()))


def packages() -> dict[str, str]:
    """Every installed distribution with its version, as `pip freeze` lists them."""
    return dict(_installed())
