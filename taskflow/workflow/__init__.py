"""Workflows, which are graphs, and map-reduce, which is one: both become flat nodes of a plan."""

from __future__ import annotations

from taskflow.workflow.graph import Workflow
from taskflow.workflow.mapreduce import (
    MapReduceJob,
    MapReducePlan,
    MapReduceRun,
    compile_map_reduce,
    map_reduce,
)
from taskflow.workflow.nodes import Node
from taskflow.workflow.shuffle import ItemFailure

__all__ = [
    "ItemFailure",
    "MapReduceJob",
    "MapReducePlan",
    "MapReduceRun",
    "Node",
    "Workflow",
    "compile_map_reduce",
    "map_reduce",
]
