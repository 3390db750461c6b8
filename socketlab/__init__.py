"""socketlab: move what an RGB classifier knows to a depth or infrared camera."""

__version__ = "0.1.0"
