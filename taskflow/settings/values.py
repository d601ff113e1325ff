"""The settings of an app: what was said of them, by whom, and what counts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, NamedTuple

from taskflow.settings import sources
from taskflow.settings.explaining import rows_of, shown_value
from taskflow.settings.option import Option
from taskflow.settings.table import OPTIONS, PROFILES, find, is_ours, name_of

__all__ = ["Given", "Settings"]

log = logging.getLogger("taskflow.settings")


class Given(NamedTuple):
    """A value that was set, and where."""

    value: Any
    source: str


class _Source(NamedTuple):
    source: object
    namespace: str | None
    called: str | None


class Settings(MutableMapping[str, Any]):
    """The settings of an app, by attribute and by item.

    What counts, the strongest first: the command line (`override`), the environment, what the program sets
    (attributes, items, `update`; the last one), what it loads (`load`; the last one), ``taskflowconfig.py``
    or ``celeryconfig.py`` in the working directory when it loads nothing, the profile, our defaults. Sources
    are read when a value is first asked for, so that an app may be made before its configuration is.

    Every setting is known by its name, by the older names of Celery, and by ``CELERY_`` or ``TASKFLOW_`` and
    its name in upper case. To iterate gives the names of what was set.

    Args:
        values: What to set first.
        compat: ``"celery"`` for Celery's defaults where ours differ on purpose.
        profile: ``"production"`` for its defaults, see docs/settings.md.
        discover: Whether the working directory is looked at when nothing is loaded.
        source: What `values` are called by `explain`.

    Raises:
        ConfigError: A value is impossible, or no setting has a name (the nearest is named).

    Example:
        >>> conf = Settings({"task_time_limit": 60}, discover=False)
        >>> conf.task_time_limit, conf["CELERYD_TASK_TIME_LIMIT"], conf.task_acks_late
        (60.0, 60.0, True)
    """

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        *,
        compat: str | None = None,
        profile: str | None = None,
        discover: bool = True,
        source: str = "the program",
    ) -> None:
        self._lock = threading.RLock()
        self._code: dict[str, Given] = {}
        self._loaded: dict[str, Given] = {}
        self._environment: dict[str, Given] = {}
        self._overriding: dict[str, Given] = {}
        self._pending: list[_Source] = []
        self._discover, self._is_read, self._is_reading = discover, False, False
        self._told: set[str] = set()
        self._known: dict[str, Any] = {}
        self._filled: dict[str, dict[str, Any]] = {}  # defaults that a program may put something into
        self._version = 0
        for name, value in (("compat", compat), ("profile", profile)):
            if value is not None:
                self._set(name, value, source)
        if values:
            self._take(self._code, values, source)

    # ── reading ──────────────────────────────────────────────────────────────────────

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Any:
        known = self._known
        if name in known:
            return known[name]
        option = find(name)
        given = self._given(option.name)
        value = self._default(option) if given is None else given.value
        if self._is_read:
            known[name] = value
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """The value, or `default` when nobody has set it and it has no default of its own.

        A name that is clearly nobody's setting, such as ``DEBUG``, gives `default` as well.

        Raises:
            UnknownSetting: The name looks like a setting, and is none.
        """
        if name_of(name) is None and not is_ours(name):
            return default
        value = self[name]
        return default if value is None else value

    def __contains__(self, name: object) -> bool:
        """Whether anybody has set it."""
        option = name_of(name) if isinstance(name, str) else None
        return option is not None and self._given(option) is not None

    def __iter__(self) -> Iterator[str]:
        self._read()
        return iter([name for name in OPTIONS if self._given(name) is not None])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *OPTIONS]

    @property
    def changes(self) -> dict[str, Given]:
        """What was set, by name: the value that counts, and where it was set."""
        self._read()
        return {name: given for name in OPTIONS if (given := self._given(name)) is not None}

    @property
    def version(self) -> int:
        """Another number whenever something was set: for those who keep what they made of the settings."""
        if not self._is_read:
            self._read()
        return self._version

    # ── setting ──────────────────────────────────────────────────────────────────────

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            self._set(name, value, "the program")

    def __setitem__(self, name: str, value: Any) -> None:
        self._set(name, value, "the program")

    def __delitem__(self, name: str) -> None:
        """Forget what the program has set, if it has; what others say counts again."""
        option = find(name)
        with self._lock:
            self._code.pop(option.name, None)
            self._change()

    def __delattr__(self, name: str) -> None:
        del self[name]

    def update(self, other: Any = (), /, **values: Any) -> None:
        """Set several at once; nothing is set when one of them cannot be.

        Names in upper case without a prefix of ours or Celery's are somebody else's, so that
        ``conf.update(flask_app.config)`` takes what is meant for us.

        Raises:
            ConfigError: As `load`.
        """
        given = dict(other.items() if isinstance(other, Mapping) else other) | values
        self._take(self._code, given, "the program")

    def setdefault(self, name: str, default: Any = None) -> Any:
        """The value; when nobody has set one, set it first."""
        if name not in self:
            self[name] = default
        return self[name]

    def add_defaults(self, values: Mapping[str, Any]) -> None:
        """What counts where nothing else was loaded or set, as in Celery."""
        with self._lock:
            known = sources.settled(dict(values), "add_defaults")
            for name, value in known.items():
                self._loaded.setdefault(name, Given(value, "add_defaults"))
            self._change()

    def load(
        self,
        obj: object | str,
        namespace: str | None = None,
        *,
        source: str | None = None,
        force: bool = False,
    ) -> None:
        """Take settings from an object, at the first access.

        Args:
            obj: A dictionary, module, class or other object; or the name of one: ``"celeryconfig"``,
                ``"django.conf:settings"``.
            namespace: Only names that begin with it and ``_`` are meant: ``"CELERY"``.
            source: What it is called by `explain`.
            force: Read it now.

        Raises:
            ConfigError: It cannot be found, mixes names in lower and upper case, or something in it cannot be
                used; nothing of it is taken. Unless `force` is set this is raised at each access.
        """
        with self._lock:
            self._pending.append(_Source(obj, namespace, source))
            if force or self._is_read:
                try:
                    self._read_pending()
                except Exception:
                    self._pending.pop()
                    raise

    def from_env(self) -> None:
        """Take what the environment says now; by itself this is done at the first access.

        Raises:
            ConfigError: A variable has an impossible value.
        """
        with self._lock:
            said = sources.environment()
            self._environment = {name: Given(value, where) for name, (value, where) in said.items()}
            self._tell(self._environment)
            self._change()

    def override(self, values: Mapping[str, Any], source: str = "the command line") -> None:
        """Set what nothing else may change.

        Raises:
            ConfigError: As `load`.
        """
        self._take(self._overriding, values, source)

    # ── showing ──────────────────────────────────────────────────────────────────────

    def explain(self, name: str | None = None, *, everything: bool = False) -> Any:
        """What counts, where it was set, and what it does here.

        Args:
            name: One setting, by any of its names.
            everything: Also what nobody has set and has no meaning here.

        Returns:
            A DataFrame where pandas is installed, else rows: ``setting``, ``value``, ``unit``, ``source``,
            ``here`` (a `Status`), ``effect``. What was set comes first. Passwords are not shown.

        Raises:
            UnknownSetting: No setting has that name.
        """
        names = [find(name).name] if name is not None else list(OPTIONS)
        return rows_of(
            ((OPTIONS[each], self[each], self._source(each)) for each in names),
            everything=everything or name is not None,
        )

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """A line for each setting, as Celery's reports have it."""
        names = OPTIONS if with_defaults else self.changes
        shown = ((name, shown_value(OPTIONS[name], self[name]) if censored else self[name]) for name in names)
        return "\n".join(f"{name}: {value}" for name, value in shown)

    def __repr__(self) -> str:
        if not self._is_read:
            return "<Settings: not read yet>"
        words = ", ".join(
            f"{name}={shown_value(OPTIONS[name], given.value)}" for name, given in self.changes.items()
        )
        return f"<Settings: {words or 'as they are by default'}>"

    # ── what is kept ─────────────────────────────────────────────────────────────────

    def __getstate__(self) -> dict[str, Any]:
        self._read()
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        object.__setattr__(self, "_lock", threading.RLock())

    def _change(self) -> None:
        """What was known before need not be so now; a reader on the way keeps what it finds to itself."""
        self._version += 1
        self._known = {}

    def _set(self, name: str, value: Any, source: str) -> None:
        option = find(name)
        given = Given(option.check(value), source)
        with self._lock:
            self._code[option.name] = given
            self._change()
        self._tell({option.name: given})

    def _take(self, layer: dict[str, Given], values: Mapping[str, Any], source: str) -> None:
        known = {name: Given(value, source) for name, value in sources.settled(values, source).items()}
        with self._lock:
            layer.update(known)
            self._change()
        self._tell(known)

    def _read(self) -> None:
        """Read what was only named until now; who is read and asks us sees what was read before."""
        if not self._is_read:
            with self._lock:
                self._read_once()

    def _read_once(self) -> None:
        if self._is_read or self._is_reading:
            return
        self._is_reading = True
        try:
            self.from_env()
            if self._discover and not self._pending and (module := sources.found()):
                self._pending.append(_Source(module, None, f"{module}, found in the working directory"))
            self._read_pending()
            self._is_read = True
            self._change()
        finally:
            self._is_reading = False

    def _read_pending(self) -> None:
        """All of it, or nothing: a source that cannot be read is named at each access."""
        taken: dict[str, Given] = {}
        for obj, namespace, called in self._pending:
            given, where, roomy = sources.given_by(obj)
            where = called or where
            values = sources.settled(given, where, namespace=namespace, roomy=roomy)
            taken |= {name: Given(value, where) for name, value in values.items()}
        self._pending.clear()
        self._loaded |= taken
        self._change()
        self._tell(taken)

    def _given(self, name: str) -> Given | None:
        self._read()
        for layer in (self._overriding, self._environment, self._code, self._loaded):
            if name in layer:
                return layer[name]
        return None

    def _default(self, option: Option) -> Any:
        if option.name in ("compat", "profile"):
            return None
        profile = PROFILES.get(self["profile"] or "", {})
        value = profile.get(option.name, option.default_for(self["compat"]))
        return self._filled.setdefault(option.name, dict(value)) if isinstance(value, dict) else value

    def _source(self, name: str) -> str:
        given = self._given(name)
        if given is not None:
            return given.source
        if name not in ("compat", "profile"):
            if name in PROFILES.get(self["profile"] or "", {}):
                return f"profile {self['profile']}"
            if self["compat"] == "celery" and OPTIONS[name].default_for("celery") != OPTIONS[name].default:
                return "default of Celery"
        return "default"

    def _tell(self, given: Mapping[str, Given]) -> None:
        """Say once, of each setting, that it does not do what was asked for."""
        for name, (value, source) in given.items():
            option = OPTIONS[name]
            if name in self._told or value is None or option.holds(value):
                continue
            self._told.add(name)
            log.warning(
                "%s, set by %s, has no meaning here. %s",
                name,
                source,
                option.effect(value),
                extra={"action": "ignore"},
            )
