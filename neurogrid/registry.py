"""Names that the config may say: what is built in by that name, and what other packages register.

Another package registers something of its own as an entry point, for example

    [project.entry-points."neurogrid.models"]
    my_model = "my_package.models:MY_MODEL"

Nothing of it is imported before the config says its name, and then all of it, so that what is broken is refused there.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Protocol, TypeVar

OURS = "NeuroGrid"


class UnknownNameError(ValueError):
    """Nothing is called that, several things are, or what is registered under the name cannot be used."""


class Spec(Protocol):
    """What is known of a name before anything is loaded."""

    @property
    def name(self) -> str:
        """What the config says."""
        ...

    @property
    def words(self) -> str:
        """What it is."""
        ...

    @property
    def load(self) -> Callable[[], Any]:
        """What it stands for."""
        ...


S = TypeVar("S", bound=Spec)


@dataclass(frozen=True)
class Registry(Generic[S]):
    """All of one kind.

    Attributes:
        noun: what they are, in messages: `rule`.
        group: of entry points.
        kind: type that an entry point has to be of.
        built_in: ours, by name.
        usable: whether what a spec loads can be what it says.
    """

    noun: str
    group: str
    kind: type[S]
    built_in: Mapping[str, S]
    usable: Callable[[Any], bool] = callable

    def names(self) -> tuple[str, ...]:
        """All that can be said: those built in, then others' in the order of their names."""
        return (*self.built_in, *sorted(set(_registered(self.group)) - set(self.built_in)))

    def find(self, name: str) -> S:
        """What is known of a name.

        Raises:
            UnknownNameError: nothing or more than one thing is called that, or it is of another kind; the message names
                the packages.
        """
        entries = _registered(self.group).get(name, ())
        owners = [*([OURS] if name in self.built_in else []), *map(_package, entries)]
        if len(owners) > 1:
            raise UnknownNameError(
                f"{self.noun} {name} is registered by {' and by '.join(owners)}; uninstall all but one of them"
            )
        if name in self.built_in:
            return self.built_in[name]
        if not entries:
            raise UnknownNameError(f"there is no {self.noun} {name}; there are {', '.join(self.names())}")
        (entry,) = entries
        try:
            spec = entry.load()
        except Exception as error:  # whatever a module of somebody else raises
            raise UnknownNameError(self._broken(name, f"cannot be loaded: {_words(error)}")) from error
        if not isinstance(spec, self.kind) or spec.name != name:
            raise UnknownNameError(self._broken(name, f"is not a {self.kind.__name__} of that name, but {spec!r:.80}"))
        return spec

    def refuse_unusable(self, name: str) -> S:
        """As `find`, and of another package's also loads it.

        Raises:
            UnknownNameError: as `find` does, or it cannot be loaded.
        """
        spec = self.find(name)
        if name not in self.built_in:
            try:
                loaded = spec.load()
            except Exception as error:  # as above
                raise UnknownNameError(self._broken(name, f"cannot be loaded: {_words(error)}")) from error
            if not self.usable(loaded):
                raise UnknownNameError(self._broken(name, f"loads what is no {self.noun}: {loaded!r:.80}"))
        return spec

    def specs(self) -> Iterator[tuple[str, S | UnknownNameError]]:
        """Every name with what is known of it, or with what is wrong with it."""
        for name in self.names():
            try:
                yield name, self.find(name)
            except UnknownNameError as error:
                yield name, error

    def _broken(self, name: str, how: str) -> str:
        (entry,) = _registered(self.group)[name]
        return f"{self.noun} {name}, registered by {_package(entry)} as {entry.value}, {how}"


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "a package"


@cache
def _registered(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=group):
        found[entry.name] = (*found.get(entry.name, ()), entry)
    return found
