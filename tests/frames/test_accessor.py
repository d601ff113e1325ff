"""``df.taskflow``: what it gives, and that it costs nobody an import."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import taskflow.frames
from taskflow import Client
from taskflow.errors import UsageError
from taskflow.hooks import using

DF = pd.DataFrame({"k": np.arange(20) % 3, "x": np.arange(20.0)})
same = pd.testing.assert_frame_equal


def test_the_accessor_gives_what_pandas_gives(inline: Client) -> None:
    with using(inline):
        same(DF.taskflow.map(lambda x: x * 2), DF.map(lambda x: x * 2))
        found = DF.taskflow.apply(lambda row: row.x + row.k, axis=1)
        pd.testing.assert_series_equal(found, DF.apply(lambda row: row.x + row.k, axis=1))
        same(DF.taskflow.apply(lambda row: row * 2), DF.apply(lambda row: row * 2, axis=1))
        same(DF.taskflow.groupby("k").agg(["sum", "median"]), DF.groupby("k").agg(["sum", "median"]))
        pd.testing.assert_series_equal(
            DF.taskflow.groupby("k")["x"].agg("mean"), DF.groupby("k")["x"].agg("mean")
        )
        pd.testing.assert_series_equal(DF.taskflow.groupby("k").size(), DF.groupby("k").size())
        same(DF.taskflow.groupby("k").apply(lambda g: g.tail(1)), DF.groupby("k").apply(lambda g: g.tail(1)))
        same(DF.taskflow.to_frame(3).to_pandas(), DF)
        same(DF.taskflow.map_partitions(lambda part, by: part * by, 2, npartitions=4), DF * 2)


def test_columns_cannot_be_applied_to_in_pieces() -> None:
    with pytest.raises(UsageError, match="axis=1"):
        DF.taskflow.apply(sum, axis=0)


@pytest.mark.parametrize(
    "code",
    [
        "import taskflow.frames; assert 'pandas' not in sys.modules;"
        "import pandas; pandas.DataFrame().taskflow",
        "import pandas; import taskflow.frames; pandas.DataFrame().taskflow",
        "import taskflow.frames; import pandas.testing; import pandas as pd; pd.DataFrame().taskflow",
        "import taskflow.frames; taskflow.frames.register(); import pandas; pandas.DataFrame().taskflow;"
        "import importlib; assert type(pandas.__spec__.loader).__module__ != 'taskflow.frames.accessor';"
        "assert not any('taskflow' in type(f).__module__ for f in sys.meta_path)",
    ],
    ids=["before pandas", "after pandas", "before a part of pandas", "twice, and leaves no trace"],
)
def test_the_accessor_is_there_whatever_is_imported_first(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import sys; {code}"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_loading_the_extension_registers_the_accessor_without_pandas() -> None:
    code = (
        "import sys; from IPython.core.interactiveshell import InteractiveShell as S; s = S.instance();"
        "s.run_line_magic('load_ext', 'taskflow'); assert 'pandas' not in sys.modules;"
        "import pandas; print(type(pandas.DataFrame().taskflow).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout.split()[-1:] == ["Accessor"], done.stderr


def test_a_frame_shows_its_first_rows_and_nothing_that_could_act(inline: Client) -> None:
    df = pd.DataFrame({"<b>name</b>": ["<script>alert(1)</script>"] * 3})
    frame = taskflow.frames.from_pandas(df, 2, client=inline)

    shown = frame._repr_html_()

    assert "&lt;script&gt;" in shown
    assert "<script" not in shown
    assert "<b>name" not in shown
    assert "2 partitions, stored" in shown
    lazy = frame.map_partitions(lambda part: part)
    assert "<table" not in lazy._repr_html_()
    assert repr(lazy) == "<Frame of 2 partitions, lazy>"
