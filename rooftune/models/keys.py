"""Values of a config.json by key, with the family's defaults; remembers which keys were understood."""

from __future__ import annotations

from collections.abc import Mapping

from rooftune.errors import InputError

Json = Mapping[str, object]
MOST = 2**40
"""No size in a config.json is larger; what is, is a damaged file."""


class Keys:
    """The keys that describe one language model.

    A fact may have several names. A stated name wins over a default; a stated null means that there is none.
    """

    def __init__(self, stated: Json, model: str, defaults: Json | None = None) -> None:
        self.stated, self.defaults, self.model = stated, defaults or {}, model
        self.understood: set[str] = set()

    def number(self, *names: str) -> int | None:
        """A whole number, zero or more; None where no name has one.

        Raises:
            InputError: not a whole number, or two names that disagree.
        """
        found = {name: value for name, value in self._values(names).items() if value is not None}
        numbers = {name: self._whole(name, _one(value)) for name, value in found.items()}
        if len(set(numbers.values())) > 1:
            said = " and ".join(f"{name} is {value}" for name, value in numbers.items())
            raise InputError(f"{self.model}: {said}; both name the same size, so correct one of them.")
        return next(iter(numbers.values()), None)

    def needed(self, *names: str) -> int:
        """A whole number above zero.

        Raises:
            InputError: no name has one.
        """
        found = self.number(*names)
        if not found:
            raise InputError(
                f"{self.model}: config.json has no {names[0]}; rooftune sizes decoder-only transformers and needs it."
            )
        return found

    def numbers(self, name: str) -> list[int] | None:
        """A list of whole numbers; None where the key is absent or holds something else than a list."""
        value = self._value(name)
        if not isinstance(value, list):
            return None
        self.understood.add(name)
        return [self._whole(name, item) for item in value]

    def words(self, name: str) -> list[str] | None:
        """A list of words; None where the key is absent or holds something else."""
        value = self._value(name)
        if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
            return None
        self.understood.add(name)
        return [str(item) for item in value]

    def text(self, name: str) -> str | None:
        """A word or sentence; None where the key is absent or holds something else."""
        value = self._value(name)
        if not isinstance(value, str):
            return None
        self.understood.add(name)
        return value

    def inner(self, name: str) -> dict[str, object]:
        """A mapping; empty where the key is absent or holds something else."""
        value = self._value(name)
        if not isinstance(value, dict):
            return {}
        self.understood.add(name)
        return {str(key): item for key, item in value.items()}

    def flag(self, name: str, default: bool = False) -> bool:
        """Yes or no."""
        self.understood.add(name)
        value = self._value(name)
        return default if value is None else bool(value)

    def holds(self, name: str) -> bool:
        """Whether a key is stated with a value other than null, false, zero or nothing."""
        value = self.stated.get(name)
        return value not in (None, False, 0, "", [], {})

    def _value(self, name: str) -> object:
        return self.stated[name] if name in self.stated else self.defaults.get(name)

    def _values(self, names: tuple[str, ...]) -> dict[str, object]:
        self.understood.update(names)
        stated = {name: self.stated[name] for name in names if name in self.stated}
        return stated or {name: self.defaults[name] for name in names if name in self.defaults}

    def _whole(self, name: str, value: object) -> int:
        whole = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MOST
        if not whole or int(value) != value:  # type: ignore[call-overload]
            raise InputError(f"{self.model}: {name} is {_short(value)}; it must be a whole number.")
        return int(value)  # type: ignore[call-overload, no-any-return]


def _one(value: object) -> object:
    """What a list says where it says the same for every layer; anything else as it is."""
    same = isinstance(value, list) and value and all(item == value[0] for item in value)
    return value[0] if same and isinstance(value, list) else value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
