"""Marks: tags of single tasks of a run, as its meta keeps them, beside the tags of the run as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from taskflow.ids import NodeId

__all__ = ["marked", "marks_of", "matches", "renamed", "tags_of"]


def marks_of(
    nodes: Sequence[NodeId], tags: Mapping[NodeId, Mapping[str, Any]], base: Mapping[str, Any]
) -> dict[str, Any]:
    """What the meta of a run says of its tags: ``tags`` are those that all of its nodes have, ``marks`` the
    others, each with the nodes that have it.

    Args:
        nodes: All nodes of the run.
        tags: The tags of those that have some of their own.
        base: What they all have, unless their own say otherwise.

    Example:
        >>> marks_of(["a", "b"], {"a": {"step": 1}}, {"exp": 7})
        {'tags': {'exp': 7}, 'marks': [[{'step': 1}, ['a']]]}
    """
    own = [{**base, **tags.get(node, {})} for node in nodes] if tags else [dict(base)] * len(nodes)
    shared = {
        name: value for name, value in own[0].items() if all(name in t and t[name] == value for t in own)
    }
    marks: dict[str, tuple[dict[str, Any], list[NodeId]]] = {}
    for node, all_of_it in zip(nodes, own, strict=True) if tags else ():
        rest = {name: value for name, value in all_of_it.items() if name not in shared}
        if rest:
            marks.setdefault(json.dumps(rest, sort_keys=True), (rest, []))[1].append(node)
    found = {"tags": shared, "marks": [[rest, members] for rest, members in marks.values()]}
    return {name: value for name, value in found.items() if value}


def tags_of(meta: Mapping[str, Any], node: str) -> dict[str, Any]:
    """The tags of one node, from the meta of its run.

    Example:
        >>> tags_of({"tags": {"exp": 7}, "marks": [[{"step": 1}, ["a"]]]}, "a")
        {'exp': 7, 'step': 1}
    """
    found = dict(meta.get("tags", {}))
    for tags, nodes in meta.get("marks", ()):
        if node in nodes:
            found.update(tags)
    return found


def renamed(meta: Mapping[str, Any], names: Mapping[NodeId, NodeId]) -> dict[str, Any]:
    """The meta of a run whose nodes have other ids.

    Example:
        >>> renamed({"marks": [[{"step": 1}, ["a"]]]}, {"a": "b"})
        {'marks': [[{'step': 1}, ['b']]]}
    """
    made = dict(meta)
    if "marks" in made:
        made["marks"] = [[tags, [names[node] for node in nodes]] for tags, nodes in made["marks"]]
    return made


def marked(meta: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[NodeId] | None:
    """The nodes of a run that have one of the wanted tags; `None` when the run has it as a whole.

    Args:
        meta: That of the run.
        wanted: See `matches`.
    """
    if matches(meta.get("tags", {}), wanted):
        return None
    return (NodeId(node) for tags, nodes in meta.get("marks", ()) if matches(tags, wanted) for node in nodes)


def matches(tags: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether any tag has a wanted value; where a tag or what is wanted is a list, one of it is enough.

    Example:
        >>> matches({"exp": 7}, {"exp": [6, 7]}), matches({"exp": [7, 8]}, {"exp": 7})
        (True, True)
    """
    return any(
        any(value in _listed(values) for value in _listed(tags[name]))
        for name, values in wanted.items()
        if name in tags
    )


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
