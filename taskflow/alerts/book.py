"""`Book`: the alerts of a store and how they stand, each as one posted text.

They are two texts, since the one is changed by people, and the other by whoever looks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

from taskflow.alerts.grammar import Condition, parse
from taskflow.alerts.measuring import Filter
from taskflow.alerts.state import Standing
from taskflow.codec import Keyring
from taskflow.ports import PostPort
from taskflow.posting import Paper

__all__ = ["Alert", "Book", "Standings"]

Standings: TypeAlias = Mapping[str, Standing]


@dataclass(frozen=True)
class Alert:
    """What is looked for, and whom to tell.

    Args:
        uid: Another one for each time that an alert is added: what is known of an older one is not its.
        when: The condition, as text.
        fn: The condition, as a function that is kept; see `functions.function_to`.
        notify: The places, as `places.place_from` reads them.
        for_s: How long a function has to be true.
        cooldown_s: After a notice that it fires there is none for so long.
        of: Of which work.
        enabled: Whether it is looked for.
    """

    uid: str
    when: str
    fn: tuple[str, str] | None
    notify: tuple[Mapping[str, Any], ...]
    for_s: float
    cooldown_s: float
    of: Filter
    enabled: bool = True

    @property
    def condition(self) -> Condition | None:
        """The condition, where it is a text."""
        return parse(self.when) if self.fn is None else None

    def to_json(self) -> dict[str, Any]:
        """As what it is after it was written and read."""
        told: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return told

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> Alert:
        """Read `to_json`."""
        fn = told["fn"]
        return Alert(
            **{**told, "fn": None if fn is None else (fn[0], fn[1]), "of": Filter(**told["of"])}
            | {"notify": tuple(told["notify"])}
        )


class Book:
    """Reads and changes both texts.

    Args:
        store: Where they are posted.
        keyring: Seals and opens them.
    """

    def __init__(self, store: PostPort, keyring: Keyring) -> None:
        self._alerts = Paper(store, keyring, "alerts", {})
        self._standings = Paper(store, keyring, "alerts.standing", {})

    def alerts(self) -> dict[str, Alert]:
        """The alerts by name, in the order in which they were added.

        Raises:
            Untrusted: Somebody without the key has written them.
        """
        self._alerts.look()
        return _alerts(self._alerts.value)

    def standings(self) -> dict[str, Standing]:
        """How they stand, by `Alert.uid`.

        Raises:
            Untrusted: Somebody without the key has written it.
        """
        self._standings.look()
        return _standings(self._standings.value)

    def change(self, edit: Callable[[dict[str, Alert]], dict[str, Alert]]) -> None:
        """Change alerts; `edit` may be called several times, see `Paper.change`."""

        def on_paper(told: Mapping[str, Any]) -> dict[str, Any]:
            return {name: alert.to_json() for name, alert in edit(_alerts(told)).items()}

        self._alerts.change(on_paper)

    def settle(self, edit: Callable[[str, Standing], Standing]) -> dict[str, Standing]:
        """Change how each alert stands, by its `uid`; what is known of those that are gone is forgotten."""
        uids = [alert.uid for alert in self.alerts().values()]

        def on_paper(told: Mapping[str, Any]) -> dict[str, Any]:
            known = _standings(told)
            new = {uid: edit(uid, known.get(uid, Standing())) for uid in uids}
            return {uid: standing.to_json() for uid, standing in new.items() if standing != Standing()}

        return _standings(self._standings.change(on_paper))

    def enable(self, name: str, enabled: bool) -> None:
        """Look for it, or not."""
        self.change(
            lambda alerts: {
                other: replace(alert, enabled=enabled) if other == name else alert
                for other, alert in alerts.items()
            }
        )


def _alerts(told: Mapping[str, Any]) -> dict[str, Alert]:
    return {name: Alert.from_json(one) for name, one in told.items()}


def _standings(told: Mapping[str, Any]) -> dict[str, Standing]:
    return {uid: Standing.from_json(one) for uid, one in told.items()}
