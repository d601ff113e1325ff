"""What a run says of itself, held against what it should."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.model.meaning import FAILURES, Meaning, Seen

__all__ = ["Told", "state_of", "wrong_values"]

MINDED = ("dead", "failed", "skipped", "cancelled")


class Told:
    """What a run says of itself, by the labels of its nodes."""

    def __init__(self, run: Any) -> None:
        view = run.progress
        self.state = str(view.state)
        self.label = {node.id: node.label for node in view.nodes}
        self.array = {node.id: node.array for node in view.nodes}
        self.open = [node.label for node in view.nodes if node.ended_at is None]
        self.seen: dict[str, Seen] = {}
        for node in view.nodes:
            counts = {str(state): items for state, items in node.counts.items()}
            if node.label in self.seen and self.seen[node.label].state in FAILURES:
                continue  # of the parts of a tree, which have one label, those that failed
            self.seen[node.label] = Seen(
                str(node.state), node.root is None and node.state == "skipped", counts
            )

    def name(self, node: str, index: int) -> str:
        return f"{self.label[node]}[{index}]" if self.array[node] else self.label[node]


def wrong_values(run: Any, meaning: Meaning) -> Iterator[str]:
    for name, flat in meaning.flats.items():
        end = meaning.ends[name]
        if end.ok and flat.kind != "items":
            handle = run.nodes[name]
            value = handle.results("skip") if flat.kind in ("map", "spread") else handle.result()
            if value != end.value:
                yield f"{name} gives {value!r}, and should give {end.value!r}"


def state_of(meaning: Meaning) -> str:
    """How the run must have ended: the worst that somebody minds."""
    found = {end.state for name, end in meaning.ends.items() if name not in meaning.kept
             and not end.ok and not meaning.is_by_choice(name)}  # fmt: skip
    found |= meaning.minded
    worst = next((state for state in MINDED if state in found), "succeeded")
    return "failed" if worst == "skipped" else worst
