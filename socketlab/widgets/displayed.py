"""What a notebook shows below a cell while somebody watches."""

from abc import ABC, abstractmethod
from typing import Any

from socketlab.widgets.live import headless


class Displayed(ABC):
    """Something with a widget; headless there is none, and its still pictures stand for it."""

    @property
    @abstractmethod
    def widget(self) -> Any:
        """As an ipywidgets box, made when it is first asked for."""

    def show(self) -> None:
        """Display the widget below the cell; headless it does nothing."""
        if headless():
            return
        from IPython.display import display

        display(self.widget)  # type: ignore[no-untyped-call]
