from __future__ import annotations

import bz2
import gzip
import lzma
import os
import pickle
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskflow import blocks, files, lines
from taskflow.errors import ConfigError, UsageError
from taskflow.plan import Output
from taskflow.workflow import MapReduceJob
from taskflow.workflow.partitions import cut
from taskflow.workflow.sources import WINDOW_BYTES, FilePart, Files
from tests.unit.evaluator import evaluate, new_draft
from tests.unit.workflow.test_mapreduce import count, reduced, words

TEXTS = st.text(st.sampled_from("ab é€😀\x0b\x85\u2028\ufeff\n\n\r\r"), max_size=60)
NOT_TEXTS = st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\r\n", b"\x81", b"\xe2\x82", b"\x8f", b"0"])).map(
    b"".join
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def parts(source: Files[Any], least: int = 1) -> list[FilePart[Any]]:
    return source.partitions(least)  # type: ignore[return-value]


def written(folder: Path, data: bytes, name: str = "data.txt") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# ── lines are those of Python ────────────────────────────────────────────────────────


@given(TEXTS, st.integers(1, 30), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-7", "gb18030"]))
@example("a\r\nb", 2, "utf-8")
@example("a\r\nb", 3, "utf-8")
@example("\r\r\n\n", 1, "utf-8")
@example("a\n\ufeffb\n", 2, "utf-8-sig")
def test_lines_are_those_of_python(folder: Path, text: str, block_bytes: int, encoding: str) -> None:
    path = written(folder, text.encode(encoding))

    source = lines(path, block_bytes=block_bytes, encoding=encoding)

    with path.open(encoding=encoding) as file:
        assert list(source) == list(file)


@pytest.mark.parametrize("encoding", ["iso2022_kr", "shift_jis", "euc_kr", "big5", "utf-32", "cp037", "hz"])
def test_encodings_that_are_no_extension_of_ascii_are_read_as_well(tmp_path: Path, encoding: str) -> None:
    text = "one\n" if encoding in ("cp037", "big5", "shift_jis", "hz") else "가\n나\n"
    path = written(tmp_path, (text * 3).encode(encoding))

    assert "".join(lines(path, block_bytes=3, encoding=encoding)) == text * 3


@given(
    NOT_TEXTS,
    st.integers(1, 10),
    st.sampled_from(["utf-8", "latin-1", "shift_jis", "euc_jp", "gb18030", "iso2022_jp"]),
    st.sampled_from(["replace", "ignore", "backslashreplace"]),
)
@example(b"\x8f\n\xe2\x82\n", 1, "euc_jp", "replace")
@example(b"\r\x81\n", 1, "utf-8", "ignore")
def test_lines_that_are_no_text_are_those_of_python(
    folder: Path, data: bytes, block_bytes: int, encoding: str, errors: str
) -> None:
    path = written(folder, data)

    source = lines(path, block_bytes=block_bytes, encoding=encoding, errors=errors)

    with path.open(encoding=encoding, errors=errors) as file:
        assert list(source) == list(file)


@given(NOT_TEXTS, st.integers(1, 10))
def test_lines_of_bytes_are_those_of_python(folder: Path, data: bytes, block_bytes: int) -> None:
    path = written(folder, data)

    with path.open("rb") as file:
        assert list(lines(path, block_bytes=block_bytes, encoding=None)) == list(file)


@given(TEXTS, st.integers(1, 30), st.sampled_from(["utf-8", "utf-16"]))
def test_blocks_are_the_text_cut_at_line_ends(
    folder: Path, text: str, block_bytes: int, encoding: str
) -> None:
    path = written(folder, text.encode(encoding))

    found = list(blocks(path, block_bytes=block_bytes, encoding=encoding))

    with path.open(encoding=encoding) as file:
        assert "".join(found) == file.read()
    assert all(found)
    assert all(block.endswith("\n") for block in found[:-1])


@given(NOT_TEXTS, st.integers(1, 10))
def test_blocks_of_bytes_are_the_file(folder: Path, data: bytes, block_bytes: int) -> None:
    path = written(folder, data)

    found = list(blocks(path, block_bytes=block_bytes, encoding=None))

    assert b"".join(found) == data
    assert all(block.endswith(b"\n") for block in found[:-1])


def test_a_block_is_about_as_long_as_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, b"0123456\r\n" * 1000)

    found = list(blocks(path, block_bytes=900))

    assert len(found) == 10
    assert {len(block) for block in found} == {800}


# ── how files are cut ────────────────────────────────────────────────────────────────


def cut_at(path: Path, *edges: int) -> list[list[str]]:
    """The lines of a file in ranges with these edges."""
    size, (whole,) = path.stat().st_size, parts(lines(path))
    ranges = pairwise((0, *edges, size))
    return [list(replace(whole, start=start, stop=stop)) for start, stop in ranges]


@pytest.mark.parametrize("before", range(WINDOW_BYTES - 3, WINDOW_BYTES + 3))
def test_a_line_end_at_the_edge_of_what_is_read_at_once_is_found(tmp_path: Path, before: int) -> None:
    path = written(tmp_path, b"x" * before + b"\r\ny\r" + b"z" * before + b"\n")
    first, second, third = "x" * before + "\n", "y\n", "z" * before + "\n"

    for edge in (1, 2, 3):
        assert cut_at(path, edge) == [[first], [second, third]]
    assert cut_at(path, before + 1) == [[first], [second, third]]  # between the two bytes of a line end
    assert cut_at(path, before + 2) == [[first], [second, third]]
    assert cut_at(path, before + 3) == [[first, second], [third]]


def test_a_range_inside_of_a_long_line_is_empty(tmp_path: Path) -> None:
    path = written(tmp_path, b"x" * 1000 + b"\n" + b"y" * 1000)

    assert cut_at(path, 10, 20, 1000, 1001, 1002, 1500) == [
        ["x" * 1000 + "\n"], [], [], [], ["y" * 1000], [], []
    ]  # fmt: skip


def test_files_are_cut_by_their_sizes_alone(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)

    found = parts(lines(path, block_bytes=1 << 30))

    assert len(found) == 1024
    assert (found[0].start, found[-1].stop) == (0, 1 << 40)


def test_lines_are_cut_as_finely_as_the_run_asks_for_and_blocks_are_not(tmp_path: Path) -> None:
    path = written(tmp_path, b"some words\n" * 100_000)

    assert len(parts(lines(path), least=10)) == 10
    assert len(parts(lines(path), least=10_000)) == -(-path.stat().st_size // 65_536)
    assert len(parts(lines(path, block_bytes=1000), least=10)) == 1100
    assert len(parts(blocks(path), least=10)) == 1


def test_many_small_partitions_make_one_chunk(tmp_path: Path) -> None:
    path = written(tmp_path, b"0123456789\n" * 1000)

    chunks = list(cut(lines(path, block_bytes=100), None))

    assert [len(chunk) for chunk in chunks] == [2] * 46 + [1] * 18
    assert sum(len(list(part)) for chunk in chunks for part in chunk) == 1000
    assert len(list(cut(lines(path, block_bytes=100), 7))) == 7


@pytest.mark.parametrize(
    ("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]
)
def test_compressed_files_are_one_partition(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    path = written(tmp_path, pack(b"one\r\ntwo\nthree" * 100), f"data.{suffix}")

    source = lines(path, block_bytes=10)

    assert list(source) == ["one\n", "two\n", *["threeone\n", "two\n"] * 99, "three"]
    assert len(parts(source)) == 1
    assert "".join(blocks(path, block_bytes=10)) == "".join(source)
    assert len(list(blocks(path, block_bytes=10))) == 100


def test_empty_files_have_no_items(tmp_path: Path) -> None:
    path = written(tmp_path, b"")

    assert list(lines(path)) == list(blocks(path)) == []
    assert list(lines(path, encoding="utf-16")) == []
    assert reduced(lines(path), words, count) == {}


# ── which files ──────────────────────────────────────────────────────────────────────


def test_paths_patterns_and_lists_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.txt", "a.txt", "sub/c.txt", "[a].txt", ".hidden.txt"):
        (tmp_path / name).write_text(f"{name}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    assert list(lines("a.txt")) == ["a.txt\n"]
    assert list(lines("~/a.txt")) == ["a.txt\n"]
    assert list(lines("[a].txt")) == ["[a].txt\n"]
    assert list(lines("[ab].txt")) == ["a.txt\n", "b.txt\n"]
    assert list(lines(tmp_path / "**" / "*.txt")) == ["[a].txt\n", "a.txt\n", "b.txt\n", "sub/c.txt\n"]
    assert list(lines(["b.txt", Path("sub/*.txt")])) == ["b.txt\n", "sub/c.txt\n"]
    assert files(tmp_path, "*.txt") == [tmp_path / name for name in ("[a].txt", "a.txt", "b.txt")]
    assert files("sub") == files("sub/*") == [tmp_path / "sub" / "c.txt"]


def test_a_source_is_looked_up_again_and_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, b"1\n", "1.txt")
    source = lines("*.txt")
    written(tmp_path, b"2\n", "2.txt")
    monkeypatch.chdir("/")

    assert list(pickle.loads(pickle.dumps(source))) == ["1\n", "2\n"]
    assert repr(source) == f"lines('{tmp_path}/*.txt')"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("absent.txt", "There is no file '/.*/absent.txt'"),
        ("*.absent", "no file that matches '/.*/\\*.absent'"),
        ([], "the list of paths is empty"),
        (["here.txt", "absent.txt"], "There is no file '/.*/absent.txt'"),
        (".", "is a directory: give a pattern, such as '/.*/\\*\\*/\\*'"),
        ("pipe", "not a regular file"),
    ],
)
@pytest.mark.parametrize("source", [lines, blocks])
def test_files_that_are_not_there_are_refused_at_once(
    source: Callable[..., Any], given: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, b"", "here.txt")
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(UsageError, match=message):
        source(given)


def test_no_files_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file that matches '\*.xml' in '/"):
        files(tmp_path, "*.xml")
    with pytest.raises(UsageError, match=r"no file that matches '/.*/absent'"):
        files(tmp_path / "absent")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_bytes": 0}, "block_bytes=0 is not possible"),
        ({"block_bytes": 1.5}, r"block_bytes=1\.5"),
        ({"encoding": "utf-9"}, "encoding='utf-9' is not known"),
        ({"encoding": "rot13"}, "encoding='rot13' is not known"),
        ({"errors": "forgive"}, "errors='forgive' is not known"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        lines(written(tmp_path, b"a"), **options)


# ── as data of a map-reduce ──────────────────────────────────────────────────────────


@given(TEXTS, st.integers(1, 30), st.none() | st.integers(1, 8), st.integers(1, 8), st.booleans())
def test_words_of_a_file_are_those_of_its_text(
    folder: Path, text: str, block_bytes: int, partitions: int | None, reducers: int, combined: bool
) -> None:
    path = written(folder, text.encode())
    how: dict[str, Any] = {"partitions": partitions, "reducers": reducers, "sort": True}
    combiner = count if combined else None

    by_line = reduced(lines(path, block_bytes=block_bytes), words, count, combiner=combiner, **how)
    by_block = reduced(blocks(path, block_bytes=block_bytes), lambda t: Counter(t.split()), count, **how)

    expected = Counter(text.split())
    assert list(by_line.items()) == sorted(expected.items())
    assert list(by_block.items()) == sorted(expected.items())


def test_values_come_in_order_of_the_files(tmp_path: Path) -> None:
    for name in "abc":
        written(tmp_path, "".join(f"{name}{i}\n" for i in range(100)).encode(), f"{name}.txt")

    found = reduced(
        lines(tmp_path / "*.txt", block_bytes=17), lambda line: [(0, line.strip())], lambda _, v: v
    )

    assert found == {0: [f"{name}{i}" for name in "abc" for i in range(100)]}


def one_over(line: str) -> list[tuple[str, float]]:
    return [("sum", 1 / int(line))]


def test_an_error_names_the_file_and_the_line(tmp_path: Path) -> None:
    path = written(tmp_path, b"1\n2\n0\n4\n")
    packed = written(tmp_path, gzip.compress(b"1\n0\n"), "data.gz")

    for source, where in [
        (lines(path), f"line 3 of {path}"),
        (lines(path, block_bytes=3), f"line 1 from byte 3 of {path}"),  # the line begins at byte 4
        (lines(packed), f"line 2 of {packed}"),
    ]:
        with pytest.raises(ZeroDivisionError) as caught:
            reduced(source, one_over, count)
        assert caught.value.__notes__ == [f"while mapping {where}"]

    with pytest.raises(ValueError, match="invalid literal") as told:
        reduced(blocks(path, block_bytes=3), one_over, count)
    assert told.value.__notes__ == [f"while mapping the block at byte 0 of {path}"]
    with pytest.raises(ZeroDivisionError) as of_path:
        reduced(files(tmp_path), lambda path: 1 // 0, count)
    assert of_path.value.__notes__ == [f"while mapping item 0, '{packed}'"]


def test_lines_that_fail_are_left_out_and_told_of(tmp_path: Path) -> None:
    path = written(tmp_path, b"1\n2\n0\nfour\n4\n")

    found = reduced(lines(path, block_bytes=4), one_over, count, errors="skip")

    assert found == {"sum": 1.75}
    assert [(f.stage, f.where, f.failure.type) for f in found.failures] == [
        ("map", f"line 1 from byte 4 of {path}", "ZeroDivisionError"),
        ("map", f"line 2 from byte 4 of {path}", "ValueError"),
    ]


def test_what_cannot_be_read_names_the_file_and_the_place(tmp_path: Path) -> None:
    path = written(tmp_path, b"1\n2\n\xff\n4\n5\n")

    with pytest.raises(UnicodeDecodeError) as caught:
        reduced(lines(path, block_bytes=2), one_over, count)
    assert caught.value.__notes__ == [f"while reading bytes 4 to 6 of {path}, as utf-8"]

    found = reduced(lines(path, block_bytes=2), one_over, count, errors="skip")
    assert found == {"sum": 1 + 1 / 2 + 1 / 4 + 1 / 5}
    assert [(f.where, f.failure.type) for f in found.failures] == [
        (f"bytes 4 to 6 of {path}", "UnicodeDecodeError")
    ]


def test_a_file_that_breaks_off_is_told_of_with_the_last_line_before(tmp_path: Path) -> None:
    noise = random.Random(1)
    texts = [f"{noise.random()}\n" for _ in range(10_000)]
    path = written(tmp_path, gzip.compress("".join(texts).encode())[:-2000], "data.gz")

    found = reduced(lines(path), lambda line: [("lines", 1)], count, errors="skip")

    read = found["lines"]
    assert 5_000 < read < 10_000
    assert [(f.where, f.failure.type) for f in found.failures] == [
        (f"{path}, after line {read} of {path}", "EOFError")
    ]


def test_a_file_that_is_gone_or_rewritten_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path, b"1\n" * 100)
    whole, *_, last = parts(lines(path, block_bytes=50))

    path.write_bytes(b"1\n" * 25)
    with pytest.raises(OSError, match="shorter than when it was cut"):
        list(last)
    path.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        list(whole)
    assert caught.value.__notes__ == [f"while reading bytes 0 to 50 of {path}"]


def test_what_is_appended_meanwhile_is_not_read(tmp_path: Path) -> None:
    path = written(tmp_path, b"1\n2")
    found = parts(lines(path, block_bytes=2))

    with path.open("ab") as file:
        file.write(b"34\n5\n")

    assert [line for part in found for line in part] == ["1\n", "2"]


def test_a_chunk_that_is_lost_as_a_whole_is_told_of_by_its_place(tmp_path: Path) -> None:
    class Unpicklable:
        def __reduce__(self) -> Any:
            raise TypeError("not me")

    path = written(tmp_path, b"1\n2\n3\n4\n")

    found = reduced(
        lines(path, block_bytes=2),
        lambda line: [("ok", int(line))] if "3" not in line else [("bad", Unpicklable())],
        count,
        errors="skip",
        partitions=2,
    )

    assert found == {"ok": 3}
    assert [(f.stage, f.where) for f in found.failures] == [
        ("map", f"bytes 4 to 6 of {path} and 1 more partitions")
    ]


def test_a_source_may_be_what_another_node_gives(tmp_path: Path) -> None:
    path = written(tmp_path, b"a b\nb\n")
    draft = new_draft()
    source = Output(draft.call(lines, (path,), {"block_bytes": 2}))

    made = MapReduceJob(data=source, mapper=words, reducer=count).compile(draft)

    assert made.assemble(evaluate(draft).value(made.reduce)) == {"a": 1, "b": 2}


# ── frames ───────────────────────────────────────────────────────────────────────────


def test_the_items_of_a_frame_are_its_rows() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"city": list("abca") * 50, "price": range(200)}, index=pandas.RangeIndex(1000, 1200)
    )

    found = reduced(frame, lambda row: [(row.city, (row.Index, row.price))], lambda _, v: v, partitions=7)

    assert found == {
        city: list(zip(part.index, part["price"], strict=True)) for city, part in frame.groupby("city")
    }


def test_a_row_that_fails_is_named() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": [1, 2, 0, 4]})

    with pytest.raises(UsageError) as caught:
        reduced(frame, lambda row: 7 if row.x == 0 else [], count)
    assert caught.value.__notes__ == ["while mapping row 2"]
    found = reduced(frame, lambda row: [("x", 1)] if row.x else None, count, errors="skip", partitions=2)
    assert found == {"x": 3}
    assert [(f.lo, f.hi, f.where) for f in found.failures] == [(2, 3, "row 2")]
    assert reduced(frame.head(0), words, count) == {}
