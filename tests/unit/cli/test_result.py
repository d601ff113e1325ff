"""result and logs: what a task returned, what it said."""

from __future__ import annotations

import json
import threading

from taskflow.codec import Codec, Keyring
from tests.unit.cli.shop import Shop


def test_a_value_is_printed_as_its_repr(shop: Shop) -> None:
    run = shop.submit(shop.call())
    shop.succeed({"a": "ü", "b": b"\x00"})

    assert shop("result", run) == (0, "{'a': 'ü', 'b': b'\\x00'}\n", "")


def test_a_map_gives_the_list_and_an_index_its_item(shop: Shop) -> None:
    run = shop.submit(shop.map(4))
    shop.work(lambda i: i * i)

    assert shop("result", run).out == "[0, 1, 4, 9]\n"
    assert shop("result", f"{run}:3").out == shop("result", f"{run}[3]").out == "9\n"
    assert shop("result", f"{run}[x]").code == shop("result", "[1]").code == 2
    assert shop("result", f"{run[:18]}:2").out == "4\n"


def test_a_run_gives_the_value_of_its_last_task_or_of_all_last_ones(shop: Shop) -> None:
    parse = shop.map(2)
    run = shop.submit(parse, shop.call("total", parse.id))
    shop.work(lambda i: i)
    many = shop.submit(shop.call("left"), shop.call("right"))
    shop.succeed(1)
    shop.succeed(2)

    assert shop("result", run).out == "0\n"
    assert shop("result", parse.id).out == "[0, 1]\n"
    assert shop("result", many).out == "{'left': 1, 'right': 2}\n"


def test_raw_writes_bytes_and_texts_as_they_are(shop: Shop) -> None:
    text, number = shop.submit(shop.call()), shop.submit(shop.call())
    shop.succeed("line\x1b[1m")
    shop.succeed(3)

    assert shop("result", text, "--raw") == (0, "line\x1b[1m", "")
    assert shop("result", number, "--raw").code == 2
    assert "this is int" in shop("result", number, "--raw").err


def test_raw_bytes_are_not_decoded(shop: Shop) -> None:
    run = shop.submit(shop.call())
    shop.succeed("größe".encode())

    assert shop("result", run, "--raw").out == "größe"


def test_json_of_a_value_is_the_value(shop: Shop) -> None:
    plain, other = shop.submit(shop.call()), shop.submit(shop.call())
    shop.succeed({"error": "no \x9b", "n": [1, 2.5, None]})
    shop.succeed({1j})

    assert json.loads(shop("result", plain, "--json").out) == {"error": "no \x9b", "n": [1, 2.5, None]}
    assert shop("result", other, "--json").code == 2
    assert "is no JSON" in shop("result", other, "--json").err


def test_a_failed_task_prints_its_traceback_and_exits_1(shop: Shop) -> None:
    run = shop.submit(shop.call())
    shop.fail(ValueError("bad file"))

    answer = shop("result", run)

    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("Traceback")
    assert answer.err.endswith("ValueError: bad file\n")


def test_a_map_with_failures_tells_the_first_and_how_many(shop: Shop) -> None:
    run = shop.submit(shop.map(3))
    shop.fail(ValueError("first"))
    shop.fail(ValueError("second"))
    shop.succeed(3)

    answer = shop("result", run)

    assert answer.code == 1
    assert "ValueError: first\n" in answer.err
    assert f"2 items gave no value: `taskflow show {run}`" in answer.err
    assert shop("result", f"{run}:2").out == "3\n"


def test_a_cancelled_task_says_so(shop: Shop) -> None:
    run = shop.submit(shop.call())
    shop("cancel", run, "--reason", "wrong input")

    answer = shop("result", run)

    assert answer.code == 1
    assert "cancelled: " in answer.err
    assert "wrong input" in answer.err


def test_a_result_that_is_not_there_yet_says_how_to_wait(shop: Shop) -> None:
    run = shop.submit(shop.map(2))
    shop.succeed(1)

    assert shop("result", run).code == 1
    assert "--wait" in shop("result", run).err
    assert shop("result", f"{run}:0").out == "1\n"


def test_waiting_ends_with_the_task(shop: Shop) -> None:
    run = shop.submit(shop.call())
    later = threading.Timer(0.05, lambda: shop.succeed("here"))
    later.start()

    answer = shop("result", run, "--wait")

    later.join()
    assert answer == (0, "'here'\n", "")


def test_a_value_of_another_key_is_refused(shop: Shop) -> None:
    run = shop.submit(shop.call())
    shop.codec = Codec(Keyring.ephemeral(), shop.store.blobs)
    shop.succeed(1)

    answer = shop("result", run)

    assert (answer.code, answer.out) == (2, "")
    assert "`taskflow key show`" in answer.err


def test_output_is_printed_with_the_item_that_wrote_it(shop: Shop) -> None:
    parse = shop.map(2)
    run = shop.submit(parse, shop.call("total", parse.id))
    shop.succeed(log="one\ntwo\n")
    shop.succeed(log="three")
    shop.succeed(log="sum")

    assert shop("logs", run).out == "parse[0] | one\nparse[0] | two\nparse[1] | three\ntotal | sum\n"
    assert shop("logs", parse.id).out == "[0] | one\n[0] | two\n[1] | three\n"
    assert shop("logs", f"{parse.id}:0").out == "one\ntwo\n"
    assert json.loads(shop("logs", f"{parse.id}:1", "--json").out)["text"] == "three"


def test_silence_is_a_hint(shop: Shop) -> None:
    run = shop.submit(shop.call())

    assert shop("logs", run) == (0, "", "Nothing was written.\n")


def test_following_logs_prints_each_piece_once_and_ends_with_the_run(shop: Shop) -> None:
    run = shop.submit(shop.map(2))
    shop.succeed(log="first\n")
    later = threading.Timer(0.15, lambda: shop.succeed(log="second\n"))
    later.start()

    answer = shop("logs", run, "-f")

    later.join()
    assert answer == (0, "[0] | first\n[1] | second\n", "")


def test_following_a_run_ends_with_it_and_tells_how(shop: Shop) -> None:
    good, bad = shop.submit(shop.call()), shop.submit(shop.call())
    later = threading.Timer(0.05, lambda: (shop.succeed(1), shop.fail(ValueError("no"))))
    later.start()

    assert shop("show", good, "-f").code == 0
    assert shop("show", bad, "-f").code == 1
    assert shop("show", bad).code == 0
    later.join()
