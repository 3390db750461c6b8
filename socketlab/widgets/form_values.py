"""What a form has set, what waits in it, and what is in force; knows no control."""

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

from pydantic import BaseModel

MEMORY: Final = "_form_values"
"""Name in the namespace under which a form remembers what was set in it."""


class _Missing:
    """The value of a parameter that the cell does not set."""

    def __repr__(self) -> str:
        return "not set"


MISSING: Final = _Missing()


class FormValues:
    """The parameters in a namespace, and answers that are put there as soon as they are valid.

    Values that were set here outlive a new run of the cell that sets the parameters; one that was
    edited in the cell meanwhile takes the cell's value.

    Args:
        model: whose fields are the parameters.
        namespace: where the cell above has set values and the cell below reads them.
        check: gives the model of these values, or raises a ValueError that says what is wrong.
    """

    def __init__(
        self,
        model: type[BaseModel],
        namespace: MutableMapping[str, Any],
        check: Callable[[Mapping[str, Any]], BaseModel],
    ) -> None:
        self._model, self._namespace, self._check = model, namespace, check
        self.waiting: dict[str, Any] = {}
        self.unread: dict[str, str] = {}
        self.note = self._remember()

    @property
    def in_force(self) -> dict[str, Any]:
        """The parameters that the namespace holds, by name; the rest have their defaults."""
        names = self._model.model_fields
        return {name: self._namespace[name] for name in names if name in self._namespace}

    @property
    def asked(self) -> dict[str, Any]:
        """Those in force, and over them the answers that wait."""
        return self.in_force | self.waiting

    @property
    def changes(self) -> dict[str, tuple[Any, Any]]:
        """By name what the cell says (or `MISSING`), and the value in force that was set here."""
        return dict(self._namespace.get(MEMORY, {}))

    def value(self, name: str) -> Any:
        """The value in force."""
        return self._namespace.get(name, self._default(name))

    def answer(self, name: str, read: Callable[[], Any]) -> None:
        """Put an answer into force, if it is valid; else it waits, and what was in force stays.

        Args:
            name: of the parameter.
            read: gives the answer, or raises a ValueError that says why it cannot be read.
        """
        self.unread.pop(name, None)
        self.waiting.pop(name, None)
        try:
            answer = read()
        except ValueError as error:
            self.unread[name] = str(error)
            return
        self.waiting[name] = answer
        # Two that fit only together (a data set and its domain) wait for each other, and one that
        # is wrong does not hold up another that is right.
        if not self._enforce(dict(self.waiting)):
            self._enforce({name: answer})

    def forget(self) -> None:
        """Back to what the cell says."""
        for name, (cell, _) in self.changes.items():
            self._put(name, cell)
        self._namespace[MEMORY] = {}
        self.waiting, self.unread = {}, {}

    @property
    def problem(self) -> str:
        """What is wrong with the answers that wait, or with the cell; nothing where all is well."""
        found = list(self.unread.values())
        try:
            self._check(self.asked)
        except ValueError as error:
            found.append(str(error))
        return "\n".join(found)

    def _remember(self) -> str:
        now, earlier = self.in_force, self.changes
        kept = {
            name: (cell, value)
            for name, (cell, value) in earlier.items()
            if now.get(name, MISSING) in (cell, value)
        }
        self._namespace[MEMORY] = {}
        try:
            self._check(now | {name: value for name, (_, value) in kept.items()})
        except ValueError as error:
            for name, (cell, _) in kept.items():
                self._put(name, cell)
            if not kept:
                return ""
            return f"What was set here no longer fits the cell above, which holds now. {error}"
        for name, (_, value) in kept.items():
            self._namespace[name] = value
        self._namespace[MEMORY] = kept
        return ""

    def _enforce(self, answers: dict[str, Any]) -> bool:
        try:
            found = self._check(self.in_force | answers).model_dump()
        except ValueError:
            return False
        changes = self.changes
        for name in answers:
            value = found[name]
            cell = changes[name][0] if name in changes else self._namespace.get(name, MISSING)
            if value == (self._default(name) if cell is MISSING else cell):
                changes.pop(name, None)
                self._put(name, cell)
            else:
                changes[name] = (cell, value)
                self._namespace[name] = value
            self.waiting.pop(name, None)
        self._namespace[MEMORY] = changes
        return True

    def _put(self, name: str, value: Any) -> None:
        if value is MISSING:
            self._namespace.pop(name, None)
        else:
            self._namespace[name] = value

    def _default(self, name: str) -> Any:
        return self._model.model_fields[name].get_default(call_default_factory=True)
