"""What a recipe means: its steps run one after another in this process, without any part of taskflow.

Where the rules leave open what happens, the meaning follows the run it is compared with: after a failure
with ``stop`` a step may have run or been cancelled; and a step before which one was skipped by choice and
another failed is skipped for either reason.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.model.recipes import Deed, Recipe, Step, joined, text_of

__all__ = ["End", "Flat", "Meaning", "flatten"]

FAILURES = ("failed", "dead")


class End(NamedTuple):
    """How a step ended. `chosen`: it has no value, and nobody minds."""

    state: str
    chosen: bool = False
    value: Any = None

    @property
    def ok(self) -> bool:
        return self.state == "succeeded"

    @property
    def kind(self) -> tuple[str, bool]:
        return self.state, self.chosen and self.state == "skipped"


@dataclass
class Flat:
    """A step of a run, under its full name.

    Args:
        name, kind: What it is; also ``gate``, ``join``, ``items`` (of a spread), ``dict`` (of a workflow).
        gives: The steps whose values it gets.
        waits: All that it waits for.
        step: Its recipe.
        on_failure: As the option.
        condition, wanted: Of a gate.
        keys: Of a dict.
        roots: More that it waits for.
    """

    name: str
    kind: str
    gives: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()
    step: Step = field(default_factory=Step)
    on_failure: str = "continue"
    condition: str | None = None
    wanted: bool = True
    keys: tuple[str, ...] = ()
    roots: tuple[list[str], ...] = ()


def flatten(recipe: Recipe) -> dict[str, Flat]:
    """The steps of a run by their full names."""
    made: dict[str, Flat] = {}
    _Level(made, "", (), recipe.on_failure).spread(recipe, [])
    for flat in made.values():
        waits = (*flat.waits, *(name for root in flat.roots for name in root))
        flat.waits = tuple(dict.fromkeys(waits))
    return made


@dataclass
class _Level:
    """The steps of one workflow among those of a run.

    Args:
        made: All of them.
        prefix: Goes before the names of its own.
        roots: What its first steps wait for; these lists may still grow.
        on_failure: Of steps that do not say.

    Attributes:
        own: Its own steps, and which of them each waits for.
        names: What each of its numbers stands for.
        doors: Of workflows inside: what their first steps wait for.
    """

    made: dict[str, Flat]
    prefix: str
    roots: tuple[list[str], ...]
    on_failure: str
    own: dict[str, set[str]] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    doors: dict[str, list[str]] = field(default_factory=dict)

    def spread(self, recipe: Recipe, inputs: Sequence[str]) -> list[str]:
        self.names = list(inputs)
        for n, step in enumerate(recipe.steps):
            name = f"{self.prefix}s{n}"
            self.names.append(self.branch(name, step) if step.kind == "branch" else self.add(name, step))
        return self.names

    def place(self, flat: Flat, before: tuple[str, ...]) -> str:
        self.own[flat.name] = {name for name in before if name in self.own}
        flat.waits = before
        flat.roots = self.roots if flat.kind == "join" or not self.own[flat.name] else ()
        self.made[flat.name] = flat
        return flat.name

    def add(self, name: str, step: Step) -> str:
        given = tuple(self.names[n] for n in step.before)
        after = self.gated(name, step, given)
        mine = step.on_failure or self.on_failure
        if step.kind == "sub":
            return self.sub(name, step, given, after)
        if step.kind == "spread":
            items = Flat(f"items of {name}", "items", given[:1], on_failure=mine)
            self.place(items, (*given, *after))
            del self.own[items.name]
            self.place(Flat(name, "spread", given, step=step, on_failure=mine), (*given, *after))
            self.made[name].waits += (items.name,)
            return name
        return self.place(Flat(name, step.kind, given, step=step, on_failure=mine), (*given, *after))

    def gated(self, name: str, step: Step, given: tuple[str, ...]) -> tuple[str, ...]:
        """What a step waits for beside what it is given."""
        after = tuple(self.names[n] for n in step.after)
        if step.when is None:
            return after
        gate = Flat(f"{name}?", "gate", given, on_failure=self.on_failure)
        if isinstance(step.when, int):
            gate.gives = (self.names[step.when],)
        else:
            gate.condition = step.when
        return (*after, self.place(gate, (*gate.gives, *after)))

    def sub(self, name: str, step: Step, given: tuple[str, ...], after: tuple[str, ...]) -> str:
        inner = step.inner
        assert inner is not None
        door = list(after)
        names = _Level(self.made, f"{name}/", (door, *self.roots), self.on_failure).spread(inner, given)
        followed = {n for one in inner.steps for n in _followed(one)}
        last = [n for n in range(inner.inputs, len(names)) if n not in followed]
        ends = tuple(names[n] for n in last)
        if len(ends) == 1:
            name = ends[0]
        else:
            keys = tuple(f"s{n - inner.inputs}" for n in last)
            self.made[name] = Flat(name, "dict", ends, ends, on_failure=self.on_failure, keys=keys)
        self.doors[name] = door
        self.own[name] = {one for one in (*given, *after) if one in self.own}
        return name

    def branch(self, name: str, step: Step) -> str:
        condition = self.names[step.before[0]]
        ends = [self.add(f"{name}.{leg}", one) for leg, one in zip(("then", "else"), step.legs, strict=False)]
        for end, wanted in zip(ends, (True, False), strict=False):
            mine = self.alone(end, {condition, *ends} - {end})
            gate = f"{end}?-2" if f"{end}?" in self.made else f"{end}?"
            flat = Flat(gate, "gate", (condition,), wanted=wanted, on_failure=self.on_failure)
            self.place(flat, (condition,))
            joins = {one for one in mine if self.made[one].kind == "join" and one in self.own}
            for start in joins | {one for one in mine if not self.own[one] & mine}:
                self.hold(start, gate)
        join = Flat(name, "join", tuple(ends), on_failure=step.on_failure or self.on_failure)
        return self.place(join, (*ends, condition))

    def alone(self, end: str, kept: set[str]) -> set[str]:
        """The steps that are there for this one alone, and it."""
        after: dict[str, set[str]] = {name: set() for name in self.own}
        for name, before in self.own.items():
            for parent in before:
                after[parent].add(name)
        mine = {end}
        while more := {n for n, all_ in after.items() if all_ and all_ <= mine and n not in mine | kept}:
            mine |= more
        return mine

    def hold(self, start: str, gate: str) -> None:
        """Let a step wait for a gate; of a workflow inside, its first steps."""
        self.own[start].add(gate)
        if start in self.doors:
            self.doors[start].append(gate)
            return
        for name in (start, f"items of {start}"):
            if name in self.made:
                self.made[name].waits += (gate,)


def _followed(step: Step) -> set[int]:
    """The steps that are no longer the last once this one is there."""
    used = {*step.before, *step.after} if step.kind != "branch" else {step.before[0]}
    if isinstance(step.when, int):
        used.add(step.when)
    return used.union(*map(_followed, step.legs))


# ── running ──────────────────────────────────────────────────────────────────────────


class Seen(NamedTuple):
    """What became of a step in the run that is compared."""

    state: str
    chosen: bool
    counts: Mapping[str, int]


@dataclass
class Meaning:
    """What must have come of a recipe.

    Args:
        flats: Its steps.
        seen: What became of each, where that is left open.
        healed: Whether nothing is broken any more.
        kept: Steps that are taken from an earlier run.
        before: What this one is a retry of.

    Attributes:
        ends: How each step ended, by name.
        items: How each item of a map ended.
        runs: How often each call was begun, by its full name; items are ``name[index]``.
        minded: The states of calls that took the place of a step, where somebody minds.
        stopped: Whether a failure has cancelled the rest.
        raced: Whether more than one outcome was possible.
        wrong: What the run did that it may not do.
    """

    flats: Mapping[str, Flat]
    seen: Mapping[str, Seen]
    healed: bool = False
    kept: Mapping[str, End] = field(default_factory=dict)
    before: Meaning | None = None
    ends: dict[str, End] = field(default_factory=dict)
    items: dict[str, list[End]] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    parts: dict[str, End] = field(default_factory=dict)
    minded: set[str] = field(default_factory=set)
    stopped: bool = False
    raced: bool = False
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.before is not None:
            self.items = dict(self.before.items)
        self.stopped = any(
            seen.state in FAILURES and self._treatment(label) == "stop" for label, seen in self.seen.items()
        )
        todo = dict(self.flats)
        while todo:
            ready = [flat for flat in todo.values() if all(name in self.ends for name in flat.waits)]
            assert ready, f"nothing is first among {list(todo)}"
            for flat in ready:
                self.ends[flat.name] = self._end(todo.pop(flat.name))
        minded = {
            (label.startswith("parts of "), seen.state)
            for label, seen in self.seen.items()
            if _is_part(label) and seen.state in FAILURES and self._treatment(label) != "skip"
        }
        if self.stopped:
            self.minded = {state for _, state in minded}
        self.minded |= {state for of_tree, state in minded if of_tree}

    def _end(self, flat: Flat) -> End:
        if flat.name in self.kept:
            return self.kept[flat.name]
        allowed = self._allowed(flat)
        seen = self.seen.get(flat.name)
        if seen is None:
            self.wrong.append(f"{flat.name} is not in the run")
            return allowed[0]
        self.raced |= len(allowed) > 1
        for end in allowed:
            if end.kind == (seen.state, seen.chosen):
                return end
        if self.stopped and seen.state == "cancelled":
            return End("cancelled")
        if self.stopped and seen.state in {end.state for end in self.items.get(flat.name, ())} - {
            "succeeded"
        }:
            return End(seen.state)
        self.wrong.append(
            f"{flat.name} is {seen.state}{' by choice' * seen.chosen}, and should be {allowed[0].state}"
            f"{' by choice' * allowed[0].kind[1]}{' or else' * (len(allowed) > 1)}"
        )
        return allowed[0]

    def _treatment(self, label: str) -> str:
        """What a failure of a node of the run does to the run: parts of a step are treated as it is."""
        step = _step_of(label)
        return self.flats[step].on_failure if step in self.flats else "continue"

    def is_by_choice(self, name: str) -> bool:
        end = self.ends[name]
        return end.kind[1] or (end.state in FAILURES and self.flats[name].on_failure == "skip")

    def _allowed(self, flat: Flat) -> list[End]:
        refusals = set()
        for name in flat.waits:
            if not self.ends[name].ok and not (
                flat.kind == "join" and name in flat.gives and self.is_by_choice(name)
            ):
                refusals.add(self.is_by_choice(name))
        if refusals and flat.step.tree and self._breaks(flat) and flat.on_failure == "skip":
            refusals.add(True)  # a part of it may have been broken by itself
        if refusals:
            return [End("skipped", chosen) for chosen in sorted(refusals)]
        return getattr(self, f"_{flat.kind}")(flat)  # type: ignore[no-any-return]

    def _values(self, flat: Flat) -> list[Any]:
        return [self.ends[name].value for name in flat.gives]

    def _gate(self, flat: Flat) -> list[End]:
        if flat.condition == "broken" and not self.healed:
            return [End("failed")]
        holds = flat.condition != "no" if flat.condition is not None else self._values(flat)[0]
        return [End("succeeded", value=flat.wanted) if bool(holds) is flat.wanted else End("skipped", True)]

    def _join(self, flat: Flat) -> list[End]:
        taken = [self.ends[name].value for name in flat.gives if self.ends[name].ok]
        return [End("succeeded", value=taken[0] if taken else None)]

    def _dict(self, flat: Flat) -> list[End]:
        return [End("succeeded", value=dict(zip(flat.keys, self._values(flat), strict=True)))]

    def _items(self, flat: Flat) -> list[End]:
        value = self._values(flat)[0]
        return [End("failed") if value is None else End("succeeded", value=len(value))]

    def _call(self, flat: Flat) -> list[End]:
        return self._act(flat.name, flat.step.deeds[0], self._values(flat), flat.step.retries)

    def _map(self, flat: Flat) -> list[End]:
        return self._each(flat, range(flat.step.width), self._values(flat))

    def _spread(self, flat: Flat) -> list[End]:
        first, *shared = self._values(flat)
        return self._each(flat, first, shared)

    def _each(self, flat: Flat, items: Iterable[Any], shared: list[Any]) -> list[End]:
        ends = []
        deeds = flat.step.deeds
        known = self._items_kept(flat)
        for index, item in enumerate(items):
            if known and known[index].ok:
                ends.append(known[index])
                continue
            found = self._act(
                f"{flat.name}[{index}]", deeds[index % len(deeds)], [item, *shared], flat.step.retries
            )
            end = found[0]
            self.raced |= len(found) > 1
            if end.state == "skipped" and len(found) > 1:  # for either reason: the counts tell
                end = End("failed") if self._more_failed(flat, ends) else End("skipped", True)
            ends.append(End("failed") if end.kind == ("skipped", False) else end)
        self.items[flat.name] = ends
        states = [end.state for end in ends]
        worst = next((state for state in ("dead", "failed") if state in states), "succeeded")
        return [End(worst, value=[end.value for end in ends if end.ok])]

    def _more_failed(self, flat: Flat, ends: list[End]) -> bool:
        return self.seen[flat.name].counts.get("failed", 0) > sum(end.state == "failed" for end in ends)

    def _items_kept(self, flat: Flat) -> list[End]:
        """The items of a map that is retried, unless something before it is retried too."""
        known = self.before is not None and self._is_resumed(flat.name)
        return self.before.items.get(flat.name, []) if known else []  # type: ignore[union-attr]

    def _is_resumed(self, name: str) -> bool:
        """Whether all that a step waits for is kept, so that what it did itself is kept as well."""
        return all(parent in self.kept for parent in self.flats[_step_of(name)].waits)

    def _reduce(self, flat: Flat) -> list[End]:
        step = flat.step
        breaks = self._breaks(flat)
        initial = [">"] if step.initial else []
        parts: list[Any] = self._values(flat)
        if len(parts) == 1:
            parts = list(parts[0]) if parts[0] is not None else []
            if self._values(flat)[0] is None:
                return [End("failed")]
        chunks = self._chunks(flat, parts) if step.tree else []
        if len(chunks) > 1 and breaks and any(len(chunk) > 1 for chunk in chunks):
            return [End("skipped", flat.on_failure == "skip")]
        if len(parts) + len(initial) == 0:
            return [End("failed")]
        if breaks and len(parts) + len(initial) > 1:
            return self._broken_tree(flat, chunks, len(initial))
        return [End("succeeded", value=functools.reduce(joined, [*initial, *parts]))]

    def _breaks(self, flat: Flat) -> bool:
        return flat.step.deeds[0].end == "raise" and not self.healed

    def _chunks(self, flat: Flat, parts: list[Any]) -> list[list[Any]]:
        """The stretches that the leaves of a tree fold."""
        single = len(flat.gives) == 1
        if single and self.flats[flat.gives[0]].kind not in ("map", "spread"):
            return []
        fan = 8 if flat.step.tree is True else flat.step.tree
        if not single:
            return [parts[lo : lo + fan] for lo in range(0, len(parts), fan)]
        ends = self.items[flat.gives[0]]
        return [[e.value for e in ends[lo : lo + fan] if e.ok] for lo in range(0, len(ends), fan)]

    def _broken_tree(self, flat: Flat, chunks: list[list[Any]], initial: int) -> list[End]:
        """Leaves of one value each fold nothing: it is above them that it breaks."""
        fan, left = 8 if flat.step.tree is True else flat.step.tree or 0, sum(map(bool, chunks))
        if fan and len(chunks) > fan:
            rows = [chunks[lo : lo + fan] for lo in range(0, len(chunks), fan)]
            if any(sum(map(bool, row)) > 1 for row in rows):
                return [End("skipped", flat.on_failure == "skip")]
            return self._broken_tree(flat, [[1] if any(row) else [] for row in rows], initial)
        return [End("failed")] if not chunks or left + initial > 1 else [End("succeeded", value="?")]

    def to_retry(self) -> set[str]:
        """The steps that a retry runs again: what has no value that somebody minds, and all below."""
        again = {name for name, end in self.ends.items() if not end.ok and not self.is_by_choice(name)}
        while more := {n for n, flat in self.flats.items() if n not in again and again & set(flat.waits)}:
            again |= more
        return again

    def to_resume(self) -> set[str]:
        """The steps that a resumed run runs again: what did not succeed, and all below."""
        again = {name for name, end in self.ends.items() if not end.ok}
        while more := {n for n, flat in self.flats.items() if n not in again and again & set(flat.waits)}:
            again |= more
        return again

    # ── calls ────────────────────────────────────────────────────────────────────────

    def _act(self, name: str, deed: Deed, inputs: Sequence[Any], retries: int = 0) -> list[End]:
        """A call, and what takes its place."""
        found = self._act_anew(name, deed.healed if self.healed else deed, inputs, retries)
        self.parts[name] = found[0]
        if ">" in name and found[0].state in FAILURES and self._treatment(name) != "skip":
            self.minded.add(found[0].state)
        return found

    def _act_anew(self, name: str, deed: Deed, inputs: Sequence[Any], retries: int) -> list[End]:
        known = self._known(name)
        if name in known and known[name].ok:
            return [known[name]]
        if f"{name}>0" not in known:  # where something took its place, only that is run again
            self.runs[name] = 1 + (retries if deed.end == "raise" else min(deed.fails, retries))
        if deed.fails > retries or deed.end == "raise":
            return [End("failed")]
        if deed.end == "reject":
            return [End("dead")]
        if deed.end == "skip":
            return [End("skipped", True)]
        if deed.parts:
            return self._grown(name, deed, inputs)
        return [End("succeeded", value=text_of(name, deed, tuple(inputs)))]

    def _known(self, name: str) -> Mapping[str, End]:
        """What is kept of a call that is retried: nothing, where it has chosen to be skipped."""
        if self.before is None or not self._is_resumed(name):
            return {}
        call = self.before.parts.get(name.partition(">")[0])
        return self.before.parts if call is not None and not call.kind[1] else {}

    def _grown(self, name: str, deed: Deed, inputs: Sequence[Any]) -> list[End]:
        names = [f"{name}>{n}" for n in range(len(deed.parts))]
        at_once = {"call": 1, "chain": 1, "group": len(names), "chord": len(names) - 1}[deed.end]
        ends = [self._act(*one, inputs) for one in zip(names[:at_once], deed.parts, strict=False)]
        if deed.end == "group":
            return self._gathered(name, ends)
        for part, what in zip(names[at_once:], deed.parts[at_once:], strict=True):
            got = self._gathered(name, ends) if deed.end == "chord" else ends[-1]
            ends.append(self._act(part, what, (got[0].value,)) if got[0].ok else self._below(name, got))
            self.parts[part] = ends[-1][0]
        return ends[-1]

    def _gathered(self, name: str, ends: list[list[End]]) -> list[End]:
        """The list of values; where parts have none, skipped for whatever reason one of them has."""
        bad = [end for found in ends for end in found if not end.ok]
        return self._below(name, bad) if bad else [End("succeeded", value=[found[0].value for found in ends])]

    def _below(self, name: str, bad: list[End]) -> list[End]:
        may_fail = self._treatment(name) == "skip"
        reasons = {end.kind[1] or (may_fail and end.state in FAILURES) for end in bad}
        return [End("skipped", chosen) for chosen in sorted(reasons)]


def _step_of(label: str) -> str:
    """The step that a node of a run belongs to."""
    return label.rpartition("parts of ")[2].partition(">")[0].partition("[")[0]


def _is_part(label: str) -> bool:
    """Whether a node is a part of a tree, or of what took the place of a call."""
    return ">" in label or label.startswith("parts of ")
