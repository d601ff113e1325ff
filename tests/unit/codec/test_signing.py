"""Seals and keys: what is opened, what is refused, and what the refusal says."""

from __future__ import annotations

import base64
import json
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from taskflow.codec import Codec, Key, Keyring
from taskflow.codec.signing import Purpose
from taskflow.errors import ConfigError, Untrusted

ARGS, RESULT = Purpose.ARGS, Purpose.RESULT


@pytest.fixture
def ring() -> Keyring:
    return Keyring.ephemeral()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "taskflow" / "key"


# ── seals ────────────────────────────────────────────────────────────────────────────


def test_what_was_sealed_is_opened(ring: Keyring) -> None:
    sealed = ring.seal(ARGS, 3, b"place", b"body")

    assert ring.open(ARGS, b"place", sealed) == (3, b"body")


def test_every_single_flipped_bit_is_refused(ring: Keyring) -> None:
    sealed = ring.seal(ARGS, 0, b"place", os.urandom(250))

    refused = 0
    for at in range(len(sealed)):
        for bit in range(8):
            altered = bytearray(sealed)
            altered[at] ^= 1 << bit
            with pytest.raises(Untrusted):
                ring.open(ARGS, b"place", bytes(altered))
            refused += 1

    assert refused == 8 * len(sealed)


@pytest.mark.parametrize("keep", [0, 1, 4, 13, 14, 15, 45, 46, 47])
def test_a_shortened_payload_is_refused(ring: Keyring, keep: int) -> None:
    sealed = ring.seal(ARGS, 0, b"place", b"body")

    with pytest.raises(Untrusted):
        ring.open(ARGS, b"place", sealed[:keep])


def test_a_payload_in_another_place_is_refused(ring: Keyring) -> None:
    sealed = ring.seal(ARGS, 0, b"place", b"body")

    with pytest.raises(Untrusted, match="another task"):
        ring.open(ARGS, b"elsewhere", sealed)


def test_the_place_cannot_be_shifted_into_the_body(ring: Keyring) -> None:
    sealed = ring.seal(ARGS, 0, b"place", b"body")
    shifted = sealed[:14] + b"e" + sealed[14:]

    with pytest.raises(Untrusted):
        ring.open(ARGS, b"plac", shifted)


def test_a_result_does_not_pass_for_arguments(ring: Keyring) -> None:
    sealed = ring.seal(RESULT, 0, b"place", b"body")
    relabelled = sealed[:4] + bytes([ARGS]) + sealed[5:]

    with pytest.raises(Untrusted):
        ring.open(ARGS, b"place", sealed)
    with pytest.raises(Untrusted):
        ring.open(ARGS, b"place", relabelled)


def test_a_foreign_key_is_named_and_refused(ring: Keyring) -> None:
    foreign = Keyring.ephemeral()

    with pytest.raises(Untrusted, match="not on this ring") as caught:
        ring.open(ARGS, b"", foreign.seal(ARGS, 0, b"", b"body"))

    assert foreign.signer.kid.hex() in str(caught.value)
    assert ring.fingerprint() in str(caught.value)


def test_a_pickle_of_an_attacker_is_never_opened(codec: Codec, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    evil = b"cos\nsystem\n(S'touch " + str(canary).encode() + b"'\ntR."

    for value in (evil, b"\x01" + evil, b"\x02" + evil, b"\x01TFE1" + evil, b""):
        with pytest.raises(Untrusted):
            codec.load_result("n", 0, 1, 1, value)
        with pytest.raises(Untrusted):
            codec.load_args("f", value)

    assert not canary.exists()


# ── keys ─────────────────────────────────────────────────────────────────────────────


def test_the_first_use_makes_a_key_that_only_the_owner_can_read(path: Path) -> None:
    ring = Keyring.load()

    assert Keyring.load().fingerprint() == ring.fingerprint()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry["use"] for entry in json.loads(path.read_text())] == ["sign"]
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]


@pytest.mark.usefixtures("path")
def test_of_many_first_uses_at_once_one_wins() -> None:
    with ThreadPoolExecutor(8) as threads:
        prints = {f.result().fingerprint() for f in [threads.submit(Keyring.load) for _ in range(24)]}

    assert len(prints) == 1


def test_a_fingerprint_is_four_words_and_tells_keys_apart() -> None:
    prints = {Keyring.ephemeral().fingerprint() for _ in range(50)}

    assert len(prints) == 50
    assert all(len(text.split("-")) == 4 for text in prints)


def test_a_key_does_not_show_itself() -> None:
    key = Key(b"s" * 32)

    assert "sss" not in repr(key)
    assert base64.b64encode(key.secret).decode() not in repr(key)


def test_the_environment_comes_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Keyring.load()
    monkeypatch.setenv("TASKFLOW_KEY", base64.b64encode(b"k" * 32).decode())

    assert Keyring.load().signer.secret == b"k" * 32


@pytest.mark.parametrize("text", ["", "   ", "not base64!", base64.b64encode(b"short").decode()])
def test_a_key_that_is_set_but_useless_is_fatal(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFLOW_KEY", text)

    with pytest.raises(ConfigError, match="TASKFLOW_KEY"):
        Keyring.load()


def test_a_named_key_file_that_is_missing_is_fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFLOW_KEY_FILE", str(tmp_path / "absent"))

    with pytest.raises(ConfigError, match="cannot be read"):
        Keyring.load()


def _spoil_mode(path: Path) -> None:
    path.chmod(0o640)


def _spoil_link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to(path.with_name("real"))


def _spoil_empty(path: Path) -> None:
    path.write_text("")


def _spoil_text(path: Path) -> None:
    path.write_text('{"not": "a list"}')


def _spoil_short(path: Path) -> None:
    path.write_text(json.dumps([{"key": "QUE=", "created": 0, "use": "sign", "kid": ""}]))


def _spoil_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _spoil_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_spoil_mode, "chmod 600"),
        (_spoil_link, "symbolic link"),
        (_spoil_empty, "is empty"),
        (_spoil_text, "not a key file"),
        (_spoil_short, "too short"),
        (_spoil_directory, "not a plain file"),
        (_spoil_pipe, "not a plain file"),
    ],
)
def test_a_key_file_that_is_not_safe_is_refused_with_the_cure(path: Path, spoil, says: str) -> None:
    Keyring.load()

    spoil(path)

    with pytest.raises(ConfigError, match=says) as caught:
        Keyring.load()
    assert str(path) in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_file_of_another_user_is_refused(path: Path) -> None:
    Keyring.load()

    os.chown(path, 65534, 65534)

    with pytest.raises(ConfigError, match="chown"):
        Keyring.load()


def test_after_a_rotation_the_new_key_seals_and_the_old_one_still_opens(path: Path) -> None:
    ring = Keyring.load()
    old = ring.seal(ARGS, 0, b"", b"old")
    before = ring.fingerprint()

    ring.rotate()

    assert ring.fingerprint() != before
    assert Keyring.load().fingerprint() == ring.fingerprint()
    assert Keyring.load().open(ARGS, b"", old) == (0, b"old")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_revoked_key_opens_nothing_and_says_so(path: Path) -> None:
    ring = Keyring.load()
    old = ring.seal(ARGS, 0, b"", b"old")

    ring.revoke(ring.signer.kid.hex())

    for either in (ring, Keyring.load()):
        with pytest.raises(Untrusted, match="revoked"):
            either.open(ARGS, b"", old)
    assert ring.open(ARGS, b"", ring.seal(ARGS, 0, b"", b"new")) == (0, b"new")


def test_a_ring_follows_its_file(path: Path) -> None:
    ring, other = Keyring.load(), Keyring.load()

    other.rotate()
    ring._look_at = 0.0

    assert ring.open(ARGS, b"", other.seal(ARGS, 0, b"", b"new")) == (0, b"new")
    assert ring.fingerprint() == other.fingerprint()


def test_a_key_from_the_environment_cannot_be_rotated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFLOW_KEY", base64.b64encode(b"k" * 32).decode())

    with pytest.raises(ConfigError, match="where it is set"):
        Keyring.load().rotate()


@pytest.mark.usefixtures("path")
def test_an_unknown_key_cannot_be_revoked() -> None:
    with pytest.raises(ConfigError, match="no key"):
        Keyring.load().revoke("00")


def test_a_key_that_was_replaced_opens_for_a_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Keyring.load()
    sealed = ring.seal(ARGS, 0, b"", b"body")
    ring.rotate(keep_s=3600)
    late = Keyring.load()
    assert ring.open(ARGS, b"", sealed) == late.open(ARGS, b"", sealed) == (0, b"body")

    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3601)
    for one in (ring, late):
        one._look_at = 0.0
        with pytest.raises(Untrusted, match="was replaced, and verified until"):
            one.open(ARGS, b"", sealed)
        one.open(ARGS, b"", ring.seal(ARGS, 0, b"", b"body"))


def test_older_keys_may_follow_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    new, old, other = (os.urandom(32) for _ in range(3))
    texts = [base64.b64encode(secret).decode() for secret in (new, old)]
    monkeypatch.setenv("TASKFLOW_KEY", ",".join(texts))
    ring = Keyring.load()

    assert ring.fingerprint() == Keyring([Key(new)]).fingerprint()
    assert ring.open(ARGS, b"", Keyring([Key(old)]).seal(ARGS, 0, b"", b"body")) == (0, b"body")
    with pytest.raises(Untrusted):
        ring.open(ARGS, b"", Keyring([Key(other)]).seal(ARGS, 0, b"", b"body"))


def test_a_key_file_may_hold_what_the_environment_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = os.urandom(32)
    file = tmp_path / "secret"
    file.write_text(base64.b64encode(secret).decode() + "\n")
    file.chmod(0o600)
    monkeypatch.setenv("TASKFLOW_KEY_FILE", str(file))

    assert Keyring.load().fingerprint() == Keyring([Key(secret)]).fingerprint()


class Mounted:
    """A secret as Kubernetes mounts it: root's, mode 0444, behind two links, on a mount that is as told."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, reading: bool, owner: int = 0
    ) -> None:
        self.secret = os.urandom(32)
        (folder / "..1").mkdir()
        self.file = folder / "..1" / "key"
        self.file.write_text(base64.b64encode(self.secret).decode())
        self.file.chmod(0o444)
        (folder / "..data").symlink_to("..1")
        self.named = folder / "key"
        self.named.symlink_to("..data/key")
        flags = SimpleNamespace(f_flag=os.ST_RDONLY if reading else 0)
        monkeypatch.setattr(os, "statvfs", lambda _: flags)
        monkeypatch.setattr(os, "fstatvfs", lambda _: flags)
        fstat = os.fstat
        monkeypatch.setattr(os, "fstat", lambda fd: _owned(fstat(fd), owner))
        monkeypatch.setenv("TASKFLOW_KEY_FILE", str(self.named))


def _owned(info: os.stat_result, uid: int) -> os.stat_result:
    fields = list(info)
    fields[4] = uid
    return os.stat_result(fields)


def test_a_secret_of_a_container_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted = Mounted(tmp_path, monkeypatch, reading=True)

    assert Keyring.load().fingerprint() == Keyring([Key(mounted.secret)]).fingerprint()


def test_a_secret_that_others_could_have_put_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = Mounted(tmp_path, monkeypatch, reading=True)
    mounted.file.chmod(0o464)
    with pytest.raises(ConfigError):
        Keyring.load()


@pytest.mark.parametrize(("reading", "owner"), [(False, 0), (True, 4321)])
def test_what_is_no_such_secret_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reading: bool, owner: int
) -> None:
    Mounted(tmp_path, monkeypatch, reading=reading, owner=owner)

    with pytest.raises(ConfigError):
        Keyring.load()


def test_a_secret_that_was_not_named_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "mount"
    folder.mkdir()
    mounted = Mounted(folder, monkeypatch, reading=True)
    monkeypatch.delenv("TASKFLOW_KEY_FILE")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(mounted.file)

    with pytest.raises(ConfigError, match="symbolic link"):
        Keyring.load()


def test_a_key_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Keyring([Key(os.urandom(32))], path=tmp_path / "gone" / "key")

    with pytest.raises(ConfigError, match="cannot be written"):
        ring._rewrite(list(ring.keys))
