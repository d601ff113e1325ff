"""`map_partitions`: a DataFrame in, a DataFrame out, and the work done in pieces elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from taskflow import hooks
from taskflow.frames import kinds
from taskflow.frames.frame import from_pandas
from taskflow.frames.places import Place, parts_for, spans
from taskflow.frames.running import tell_place, with_run
from taskflow.frames.steps import Mapped, Pipeline, given

__all__ = ["map_partitions"]


def map_partitions(
    df: Any,
    fn: Callable[..., Any],
    *args: Any,
    npartitions: int | Literal["auto"] = "auto",
    by: Any = None,
    meta: Any = None,
    progress: bool = True,
    client: Any = None,
    **kwargs: Any,
) -> Any:
    """Call a function with each of several pieces of a DataFrame, in other processes, and join what it gives.

    For a function that treats each row by itself this is ``fn(df)``: rows, index, types and time zones are as
    pandas has them. A piece reaches a worker of this host in a file that is mapped, not through a pipe.

    Args:
        df: A DataFrame or Series of pandas, a DataFrame of polars, or a pyarrow Table; the function is given
            pieces of the same kind.
        fn: What to call.
        args: Further positional arguments.
        npartitions: How many pieces; by default some for each slot of the workers, or more of a large frame.
        by: A column, or several: rows that are equal in it come to one piece, in their order. The result is
            then in order of the pieces.
        meta: A table whose column types the result is to have, where pieces may give different ones.
        progress: Whether progress is shown, under the cell or in a terminal.
        client: Where it runs; the current client by default.
        kwargs: Keyword arguments of the function.

    Returns:
        The results, one behind the other; where they are no tables, a Series of them.

    Raises:
        Exception: What the function raised, with notes: which partition it was, of which rows, and the run.
        UsageError: `df` is no table, or there is no such column.
        MissingExtra: pandas is not installed.

    Example:
        >>> import pandas as pd, taskflow
        >>> df = pd.DataFrame({"x": [1, 2, 3]})
        >>> with taskflow.Client(mode="inline") as client:
        ...     map_partitions(df, lambda part: part * 2, npartitions=2, client=client)["x"].tolist()
        [2, 4, 6]
    """
    kinds.checked_kind(df)
    client = client or hooks.current_client()
    if by is not None:
        frame = from_pandas(df, npartitions, client=client).shuffle(by)
        return frame.map_partitions(fn, *args, **kwargs).collect(progress=progress)
    parts = parts_for(df, npartitions, client)
    bounds = spans(kinds.rows_of(df), parts)
    places = [Place(at, parts, lo, hi) for at, (lo, hi) in enumerate(bounds)]
    label = getattr(fn, "__name__", type(fn).__name__)
    pipeline = Pipeline(given, (Mapped(fn, args, kwargs),))
    run = client.options(label=f"map_partitions {label}").map(pipeline, kinds.parted(df, bounds), places)
    made = kinds.joined(_results(run.wait(progress=progress), places))
    return made if meta is None else made.astype(meta.dtypes)


def _results(run: Any, places: Sequence[Place]) -> list[Any]:
    try:
        return run.results()  # type: ignore[no-any-return]
    except BaseException as error:
        failed = next((index for index, _ in run.failed), None)
        with_run(tell_place(error, None if failed is None else places[failed]), run.id)
        raise
