"""What moves in a notebook: the live board of a training."""

from socketlab.widgets.live import live

__all__ = ["live"]
