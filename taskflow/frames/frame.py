"""`Frame`: a DataFrame in partitions that lie in the store, and are worked on where the workers are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Self

from taskflow import hooks
from taskflow.errors import ConfigError, UsageError, nearest
from taskflow.frames import kinds, steps
from taskflow.frames.drawing import Source, Stage
from taskflow.frames.groups import Groups
from taskflow.frames.ordering import Order
from taskflow.frames.places import Place, parts_for, spans
from taskflow.frames.running import fetched, send
from taskflow.frames.sources import Held, Made, Merged, Repartitioned, Shuffled, Sorted
from taskflow.frames.writing import Written, fresh_directory

if TYPE_CHECKING:
    from taskflow.workflowrun import WorkflowRun

__all__ = ["Frame", "from_pandas"]

FIRST_ROWS = 5
_HOWS = ("inner", "left", "right", "outer")


def from_pandas(df: Any, npartitions: int | Literal["auto"] = "auto", *, client: Any = None) -> Frame:
    """Store a DataFrame in partitions, by rows.

    Args:
        df: A DataFrame of pandas or polars, or a pyarrow Table.
        npartitions: How many; by default some for each slot of the workers, or more of a large frame.
        client: Where they are stored; the current client by default.

    Raises:
        UsageError: It is no table.
        ConfigError: The number is below 1.

    Example:
        ``taskflow.from_pandas(df, 8).groupby("city").agg({"price": "mean"}).to_pandas()``
    """
    kinds.checked_kind(df)
    client = client or hooks.current_client()
    bounds = spans(kinds.rows_of(df), parts_for(df, npartitions, client))
    refs = [client.scatter(part) for part in kinds.parted(df, bounds)]
    places = [Place(at, len(bounds), lo, hi) for at, (lo, hi) in enumerate(bounds)]
    return Frame(Held(refs, places), client=client, first=kinds.slice_of(df, 0, FIRST_ROWS))


class Frame:
    """A DataFrame in partitions; made by `from_pandas`, `read_csv` and `read_parquet`.

    Partitions are kept by the store, and never come to this process unless they are asked for. Methods that
    give a `Frame` do nothing yet: steps that treat each partition by itself become one call for each, and all
    is done when something is asked for: `to_pandas`, `head`, ``len``, `to_parquet`, or `persist`, which keeps
    the partitions, so that what comes later starts there.

    Attributes:
        run: The run that makes the partitions of a persisted frame, or the last one that was made for this
            frame; `None` before that.
    """

    def __init__(
        self, source: Source, steps: tuple[steps.Step, ...] = (), *, label: str = "", client: Any = None,
        first: Any = None,
    ) -> None:  # fmt: skip
        self._stage = Stage(source, steps, label or source.label)
        self._client = client
        self._first = first
        self.run: WorkflowRun | None = source.run if isinstance(source, Made) else None

    # ── what it is ───────────────────────────────────────────────────────────────────

    @property
    def npartitions(self) -> int:
        """How many partitions there are."""
        return self._stage.source.npartitions

    @property
    def columns(self) -> Any:
        """The names of the columns; where these are not known yet, the first partition is made to see."""
        sample = self._sample()
        return sample.column_names if kinds.kind_of(sample) == "arrow" else sample.columns

    @property
    def dtypes(self) -> Any:
        """The types of the columns, of the first partition; a pyarrow schema for its tables."""
        sample = self._sample()
        return sample.schema if kinds.kind_of(sample) == "arrow" else sample.dtypes

    def __len__(self) -> int:
        return sum(self._values(self._stage.then(steps.count, "count")))

    def __bool__(self) -> bool:
        return True

    def head(self, n: int = FIRST_ROWS) -> Any:
        """The first `n` rows: of the first partition, and only where that has fewer, of all."""
        stage = self._stage.then(steps.First(n), "head")
        found = self._values(stage, only=0)
        if kinds.rows_of(found[0]) < n and self.npartitions > 1:
            found = self._values(stage)
        return kinds.slice_of(kinds.joined(found), 0, n)

    def _sample(self) -> Any:
        """The first rows of the first partition."""
        if self._first is None:
            self._first = self._values(self._stage.then(steps.First(FIRST_ROWS), "first rows"), only=0)[0]
        return self._first

    # ── partition by partition ───────────────────────────────────────────────────────

    def map_partitions(self, fn: Callable[..., Any], *args: Any, meta: Any = None, **kwargs: Any) -> Self:
        """Call a function with each partition.

        Args:
            fn: What to call; what it gives becomes the partition.
            args: Further positional arguments.
            meta: A table with the columns and types of the result, perhaps without rows: `columns` and
                `dtypes` then need not make a partition to tell.
            kwargs: Keyword arguments.
        """
        label = getattr(fn, "__name__", type(fn).__name__)
        return self._then(steps.Mapped(fn, args, kwargs), label, first=meta)

    def filter(self, keep: Callable[[Any], Any] | str) -> Self:
        """Keep the rows for which `keep`, called with the partition, is true.

        Args:
            keep: A function that gives a mask (for polars an expression will do); or a text for ``query`` of
                pandas.
        """
        return self._then(steps.Filtered(keep), "filter")

    def assign(self, **columns: Any) -> Self:
        """Add or replace columns: values, or functions that are called with the partition."""
        return self._then(steps.Assigned(columns), "assign")

    def __getitem__(self, names: list[Any]) -> Self:
        """The columns of these names, as ``frame[["a", "b"]]``."""
        if not isinstance(names, list):
            raise UsageError(f"A list of names chooses columns: frame[[{names!r}]].")
        return self._then(steps.Selected(names), "select")

    # ── between partitions ───────────────────────────────────────────────────────────

    def groupby(self, by: Any, *, dropna: bool = True) -> Groups:
        """Group by columns, or levels of the index, of these names; ``.agg(...)`` or ``.apply(fn)`` goes on.

        Groups are those that occur (``observed=True``), in order of their keys.

        Args:
            by: A name, or a list of names.
            dropna: Whether rows whose key is missing are left out.
        """
        return Groups(self, names_of(by), dropna)

    def shuffle(self, by: Any, npartitions: int | None = None) -> Self:
        """Bring rows together that are equal in `by`: a name, or a list of names.

        Within a partition rows keep their order; which partition a key comes to depends on nothing but the
        key and how many there are.
        """
        return self._from(Shuffled(self._stage, names_of(by), self._parts(npartitions)), first=self._first)

    def merge(
        self, other: Frame | Any, on: Any = None, how: str = "inner", *, left_on: Any = None,
        right_on: Any = None, suffixes: tuple[str | None, str | None] = ("_x", "_y"),
        npartitions: int | None = None,
    ) -> Self:  # fmt: skip
        """Merge with another frame on columns, as `pandas.merge` does; rows come in order of the partitions.

        Args:
            other: A `Frame`; or a DataFrame, which goes to each partition where `how` allows that.
            on: A name, or a list of names, of columns that both have.
            how: ``"inner"``, ``"left"``, ``"right"`` or ``"outer"``.
            left_on: Names of columns of this frame, where the others have other names.
            right_on: Those of the other one.
            suffixes: What is added to names that both have.
            npartitions: How many partitions the result has.

        Raises:
            ConfigError: There is no such `how`.
            UsageError: It is not said on what.
        """
        if how not in _HOWS:
            raise ConfigError(f"how={how!r} is not known.{nearest(how, _HOWS)} Use one of {_HOWS}.")
        left, right = (names_of(side if on is None else on) for side in (left_on, right_on))
        if not left or len(left) != len(right):
            raise UsageError("Say on which columns: on=..., or left_on=... and right_on=... of equal length.")
        keys = {"on": left} if on is not None else {"left_on": left, "right_on": right}
        asked = {"how": how, "suffixes": suffixes, **keys}
        if not isinstance(other, Frame):
            if how in ("inner", "left"):
                return self._then(steps.Mapped(_merged, (other,), asked), "merge")
            other = from_pandas(other, client=self._client)
        parts = npartitions or max(self.npartitions, other.npartitions)
        return self._from(Merged(self._stage, other._stage, left, right, self._parts(parts), asked))

    def sort_values(
        self, by: Any, ascending: bool | list[bool] = True, *, na_position: Literal["first", "last"] = "last",
        npartitions: int | None = None,
    ) -> Self:  # fmt: skip
        """Sort by columns, as ``sort_values(by, kind="stable")`` of pandas: ties keep their order.

        Each partition holds a range of the keys. The bounds are chosen of samples, so that partitions have
        about the same length, unless few keys have most of the rows.
        """
        order = Order(names_of(by), ascending, na_position)
        return self._from(Sorted(self._stage, order, self._parts(npartitions)), first=None)

    def repartition(self, npartitions: int) -> Self:
        """The same rows in the same order, in so many partitions of equal length."""
        return self._from(Repartitioned(self._stage, self._parts(npartitions)), first=self._first)

    # ── to an end ────────────────────────────────────────────────────────────────────

    def persist(self) -> Self:
        """Start to make the partitions, and keep them in the store: what comes later starts there.

        Returns:
            A frame of them, at once. Its `run` is the handle to wait for, watch and cancel.
        """
        stage = self._stage
        if not stage.steps and isinstance(stage.source, Held | Made):
            return self
        self.run, plan = send(self._client, stage.label, lambda drawn: drawn.stage(stage))
        return self._from(Made(self.run, plan.outputs, plan.places), first=self._first)

    def retry_failed(self) -> Self:
        """Run again what failed of a persisted frame, and what was to come after; the rest is kept.

        Raises:
            UsageError: The frame is not persisted.
        """
        source = self._stage.source
        if not isinstance(source, Made):
            raise UsageError("Only a persisted frame keeps what was done: call persist() first.")
        again = Made(source.run.retry_failed(), source.outputs, source.told)
        return type(self)(again, self._stage.steps, label=self._stage.label, client=self._client)

    def collect(self, *, progress: bool = True) -> Any:
        """All of it here, as one table of the kind that the partitions are.

        Args:
            progress: Whether progress is shown, under the cell or in a terminal.

        Raises:
            Exception: What a partition raised, with notes: which it was, of which rows and file, and the run.
        """
        return kinds.joined(self._values(self._stage, progress=progress))

    def to_pandas(self, *, progress: bool = True) -> Any:
        """All of it here, as one DataFrame of pandas; see `collect`."""
        return kinds.to_pandas(self.collect(progress=progress))

    def to_parquet(self, directory: Any, **options: Any) -> list[str]:
        """Write each partition to a file ``part-00000.parquet`` …, by the workers.

        Args:
            directory: Where to; it is made if it is not there, and must hold no such files yet.
            options: As ``to_parquet`` of pandas takes them (``write_parquet`` of polars, ``write_table`` of
                pyarrow).

        Returns:
            The paths.

        Raises:
            UsageError: There are Parquet files already.
        """
        place = fresh_directory(directory)
        return self._values(self._stage.then(Written(place, options), "to_parquet"), progress=True)

    # ── showing ──────────────────────────────────────────────────────────────────────

    @property
    def state(self) -> str:
        """``"lazy"``; or how the run stands that makes the partitions; ``"stored"`` when they are there."""
        source = self._stage.source
        if self._stage.steps or not isinstance(source, Made | Held):
            return "lazy"
        return str(source.run.state) if isinstance(source, Made) else "stored"

    def __repr__(self) -> str:
        known = "" if self._first is None else f", columns {', '.join(map(str, self.columns))}"
        return f"<Frame of {self.npartitions} partitions, {self.state}{known:.200}>"

    def _repr_html_(self) -> str:
        """The first rows where they are known, the number of partitions and the state."""
        from html import escape

        words = f"Frame of {self.npartitions:,} partitions, {self.state}"
        if self._stage.steps or self.state == "lazy":
            words += f" ({self._stage.label})"
        table = (
            "" if self._first is None else kinds.to_pandas(self._first).to_html(max_cols=20, notebook=True)
        )
        hint = "" if table else "<p>head() shows the first rows.</p>"
        return f"<div>{table}{hint}<p>{escape(words)}</p></div>"

    # ── inside ───────────────────────────────────────────────────────────────────────

    def _then(self, step: steps.Step, label: str, first: Any = None) -> Self:
        stage = self._stage.then(step, label)
        return type(self)(stage.source, stage.steps, label=label, client=self._client, first=first)

    def _from(self, source: Source, steps: tuple[steps.Step, ...] = (), *, first: Any = None) -> Self:
        return type(self)(source, steps, client=self._client, first=first)

    def _parts(self, wanted: int | None) -> int:
        if wanted is None:
            return self.npartitions
        if not isinstance(wanted, int) or wanted < 1:
            raise ConfigError(f"npartitions={wanted!r} is not possible: use a number above 0.")
        return wanted

    def _values(self, stage: Stage, *, only: int | None = None, progress: bool = False) -> list[Any]:
        source = stage.source
        if isinstance(source, Held) and not stage.steps:
            return [ref.get() for ref in source.refs]
        if isinstance(source, Made) and not stage.steps:
            outputs = source.outputs if only is None else [source.outputs[only]]
            return fetched(source.run, outputs, source.told, progress=progress)
        self.run, plan = send(self._client, stage.label, lambda drawn: drawn.stage(stage, only))
        return fetched(self.run, plan.outputs, plan.places, progress=progress)


def names_of(by: Any) -> list[Any]:
    """One name, or several, as a list."""
    if by is None:
        return []
    return list(by) if isinstance(by, list) else [by]


def _merged(part: Any, other: Any, **how: Any) -> Any:
    import pandas as pd

    return pd.merge(kinds.only_pandas(part, "merge"), kinds.to_pandas(other), **how)
