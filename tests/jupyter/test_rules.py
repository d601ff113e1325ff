"""Who may ask the server about runs, and who may not."""

from __future__ import annotations

import http.cookiejar
import urllib.request
from pathlib import Path

import pytest
import websocket

from tests.jupyter_servers import Jupyter, jupyter

RUN = "019a9a3b-4f21-7abc-8def-0123456789ab"
READS = ["runs", f"runs/{RUN}", "workers"]
CHANGES = [f"runs/{RUN}/cancel", f"runs/{RUN}/retry"]


def upgraded(server: Jupyter, query: str = "", **options: object) -> int:
    """The status with which the socket is opened, or refused."""
    url = server.url.replace("http", "ws", 1) + "taskflow/api/events" + query
    try:
        websocket.create_connection(url, timeout=30, **options).close()
    except websocket.WebSocketBadStatusException as refused:
        return refused.status_code
    return 101


def cookies(server: Jupyter) -> str:
    """What a browser has after it was let in with the token."""
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    opener.open(f"{server.url}login?token={server.token}", timeout=30).close()
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)


@pytest.mark.parametrize("path", READS)
def test_nobody_reads_without_the_token(server: Jupyter, path: str) -> None:
    assert server.ask(f"taskflow/api/{path}", headers={})[0] == 403


@pytest.mark.parametrize("path", [*CHANGES, f"runs/{RUN}/ask"])
def test_nobody_changes_or_asks_without_the_token(server: Jupyter, path: str) -> None:
    assert server.ask(f"taskflow/api/{path}", {}, headers={})[0] == 403


@pytest.mark.parametrize("path", [*CHANGES, f"runs/{RUN}/ask"])
def test_a_cookie_alone_changes_nothing(server: Jupyter, path: str) -> None:
    with_cookie = {"Cookie": cookies(server)}

    status, answer = server.ask(f"taskflow/api/{path}", {}, headers=with_cookie)

    assert server.ask("taskflow/api/runs", headers=with_cookie)[0] == 200
    assert (status, "_xsrf" in answer["message"]) == (403, True)


def test_the_socket_is_for_those_who_are_let_in(server: Jupyter) -> None:
    cookie, here, elsewhere = cookies(server), server.url.rstrip("/"), "http://elsewhere.example"

    assert upgraded(server) == 403
    assert upgraded(server, "?token=wrong") == 403
    assert upgraded(server, f"?token={server.token}") == 101
    assert upgraded(server, cookie=cookie, origin=here) == 101
    assert upgraded(server, cookie=cookie, origin=elsewhere) == 403


@pytest.mark.parametrize("run", ["..%2f..%2fetc", "1", "%", RUN.upper(), RUN + "x", "' or 1 --"])
def test_what_is_no_id_is_refused_before_a_store_is_asked(server: Jupyter, run: str) -> None:
    from urllib.parse import quote

    status, answer = server.ask(f"taskflow/api/runs/{quote(run, safe='%')}")

    assert (status, answer["error"]) == (400, "UsageError")
    assert not Path(server.state / "taskflow").exists()


def test_a_run_that_nobody_knows_is_not_found(server: Jupyter) -> None:
    for status, answer in (
        server.ask(f"taskflow/api/runs/{RUN}"),
        server.ask(f"taskflow/api/runs/{RUN}/ask", {"what": "rows"}),
        server.ask(f"taskflow/api/runs/{RUN}/cancel", {}),
    ):
        assert (status, answer["error"]) == (404, "NoSuchRun")
        assert RUN in answer["message"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("runs?state=runing", "Did you mean 'running'"),
        ("runs?page=x", "is no number"),
        ("runs?size=100000", "at most 200 runs"),
        ("runs?page=999999&size=200", "5,000"),
    ],
)
def test_a_question_that_makes_no_sense_is_told_so(server: Jupyter, path: str, says: str) -> None:
    status, answer = server.ask(f"taskflow/api/{path}")

    assert (status, answer["error"]) == (400, "UsageError")
    assert says in answer["message"]


def test_a_body_that_is_no_question_is_refused(server: Jupyter) -> None:
    assert server.ask(f"taskflow/api/runs/{RUN}/ask", ["rows"])[0] == 400


def test_a_server_that_only_shows_refuses_to_change(tmp_path: Path) -> None:
    with jupyter(tmp_path, "--Panel.read_only=True", base_url="/user/jovyan/") as server:
        answers = [server.ask(f"taskflow/api/{path}", {}) for path in CHANGES]

        assert server.ask("taskflow/api/runs")[1]["read_only"] is True
        assert [status for status, _ in answers] == [403, 403]
        assert "Panel.read_only" in answers[0][1]["message"]
