"""Which configuration depends on when it is parsed: `alias`, `enabled`, a test's `where`.

A commit is parsed once and run at many times. What dbt renders while it parses, and keeps, is then
as old as the parse. So what was rendered with a look at the clock is rendered again as at other
times. If the result differs, it depends on the clock. A model's body is rendered when it runs.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import cache
from typing import Any

from dbt_common.clients.jinja import get_template, render_template

from mage_dbt.dbt.patches.patch import Patch, apply_fitting

MOMENT = (
    *("__str__", "__repr__", "__format__", "__hash__", "__reduce_ex__", "__reduce__"),
    *("__add__", "__radd__", "__sub__", "__rsub__"),
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"),
)


class _Clock:
    """What the templates of a parse see as the time."""

    def __init__(self) -> None:
        self.read = False
        self.shift = datetime.timedelta()
        self.found: dict[str, None] = {}
        """In the order of the parse, what depends on the clock."""

    def look(self, time: datetime.datetime) -> datetime.datetime:
        self.read = True
        return time + self.shift

    def kept(self, name: str, rendered: Any, again: Callable[[], Any]) -> None:
        """`rendered` is kept under `name`; `again` renders it once more."""
        if not self.read:
            return
        now = datetime.datetime.now(datetime.UTC)
        if any(self._differs(moment - now, rendered, again) for moment in elsewhen(now)):
            self.found[name] = None

    def _differs(self, shift: datetime.timedelta, rendered: Any, again: Callable[[], Any]) -> bool:
        self.shift = shift
        try:
            return bool(again() != rendered)
        except Exception:
            return True  # at that time it is no configuration at all
        finally:
            self.shift = datetime.timedelta()


def elsewhen(now: datetime.datetime) -> Iterator[datetime.datetime]:
    """Moments other than `now`, in UTC, at which configuration is rendered again.

    Whenever `now` is, they cover each day of the month and of the week, each month, each hour, both
    halves of it, and the next two years, in the zones where people live. A condition on one of
    these is seen true and false.
    """
    for day in range(1, 32):  # about noon, which is on the same date almost everywhere
        month = day % 12 + 1 if day <= 28 else 7  # July has 31
        year, minute = now.year + 1 + day // 16, 15 + 30 * (day % 2)
        yield now.replace(year=year, month=month, day=day, hour=11, minute=minute, second=day)
    for hour in range(24):
        yield now.replace(year=now.year + 1, month=2, day=3, hour=hour, minute=20, second=hour)


@contextmanager
def clock_reads() -> Iterator[tuple[dict[str, None], list[str]]]:
    """Notes what of the configuration depends on the clock while dbt parses in this block.

    Yields that, and the functions of dbt that we do not know, whose results are not watched.
    """
    clock = _Clock()
    with ExitStack() as back:
        yield clock.found, apply_fitting(patches(clock), back)


def patches(clock: _Clock) -> tuple[Patch, ...]:
    """Patches of what dbt renders while it parses, and of where templates get the time."""
    keeps = "What is rendered as dbt parses is kept for all runs, however long after."
    asks = "A template asks this for the time."
    return (
        Patch("dbt.tracking:User.__init__", _user(clock), ("0a377aef02eab237",), asks),
        Patch(
            "dbt.context.base:get_datetime_module_context",
            _modules(clock),
            ("1869aa3070dee0e6",),
            asks,
        ),
        Patch(
            "dbt.config.renderer:BaseRenderer.render_value",
            _value(clock),
            ("c098ccaf5430e6fa",),
            keeps,
        ),
        Patch(
            "dbt.parser.generic_test_builders:get_rendered",
            _test_config(clock),
            ("e1be3ef293c7c3d5",),
            keeps,
        ),
        Patch(
            "dbt.parser.base:ConfiguredParser.render_with_context",
            _node(clock),
            ("a05ba5f3475ca3ab",),
            keeps,
        ),
        Patch(
            "dbt.parser.base:ConfiguredParser.update_parsed_node_relation_names",
            _names(clock),
            ("cf3f69badcb2358c", "1beeaa44cd6010cf"),
            keeps,
        ),
    )


def all_patches() -> tuple[Patch, ...]:
    """The patches with a clock of their own: to be compared, not applied."""
    return patches(_Clock())


Wrapper = Callable[[Any], Any]


def _user(clock: _Clock) -> Wrapper:
    """dbt's `run_started_at`."""

    def wrap(original: Any) -> Any:
        def init(user: Any, *arguments: Any) -> None:
            original(user, *arguments)
            user.run_started_at = _moment(clock, user.run_started_at)

        return init

    return wrap


def _modules(clock: _Clock) -> Wrapper:
    """dbt's `modules.datetime`."""

    def wrap(original: Any) -> Any:
        def modules() -> dict[str, Any]:
            return {**original(), **_datetime_classes(clock)}

        return modules

    return wrap


def _value(clock: _Clock) -> Wrapper:
    """A value of a YAML file."""

    def wrap(original: Any) -> Any:
        def render(renderer: Any, value: Any, keypath: Any = None) -> Any:
            clock.read = False
            rendered = original(renderer, value, keypath)
            clock.kept(str(value), rendered, lambda: original(renderer, value, keypath))
            return rendered

        return render

    return wrap


def _test_config(clock: _Clock) -> Wrapper:
    """A test's `where`, `severity` and so on."""

    def wrap(original: Any) -> Any:
        def render(value: Any, context: Any, *arguments: Any, **options: Any) -> Any:
            clock.read = False
            rendered = original(value, context, *arguments, **options)
            clock.kept(
                str(value), rendered, lambda: original(value, context, *arguments, **options)
            )
            return rendered

        return render

    return wrap


def _node(clock: _Clock) -> Wrapper:
    """What a node's own text configures and refers to."""

    def wrap(original: Any) -> Any:
        def render(parser: Any, node: Any, config: Any) -> Any:
            clock.read = False
            context = original(parser, node, config)

            @cache
            def copied() -> tuple[Any, Any, Any, Any]:
                other, configured = deepcopy(node), parser.initial_config(node.fqn)
                variables = parser._context_for(other, configured)
                template = get_template(node.raw_code, variables, other, capture_macros=True)
                return other, configured, variables, template

            def again() -> Any:
                other, configured, variables, template = copied()
                configured._config_call_dict.clear()
                for name in ("refs", "sources", "functions"):
                    getattr(other, name, []).clear()
                render_template(template, variables, other)
                return _configured(other, configured)

            clock.kept(node.name, _configured(node, config), again)
            return context

        return render

    return wrap


def _configured(node: Any, config: Any) -> Any:
    refers = [getattr(node, name, None) for name in ("refs", "sources", "functions")]
    return [dict(config._config_call_dict), *refers]


def _names(clock: _Clock) -> Wrapper:
    """Database, schema and alias, by the project's macros."""

    def wrap(original: Any) -> Any:
        def update(parser: Any, node: Any, config: Any) -> None:
            clock.read = False
            original(parser, node, config)

            def again() -> Any:
                other = deepcopy(node)
                original(parser, other, config)
                return other.database, other.schema, getattr(other, "alias", None)

            named = node.database, node.schema, getattr(node, "alias", None)
            clock.kept(node.name, named, again)

        return update

    return wrap


def _moment(clock: _Clock, time: datetime.datetime) -> datetime.datetime:
    """A `time` that looks at the clock whenever something is asked of it."""

    def asked(name: str) -> Any:
        return lambda _, *arguments: getattr(clock.look(time), name)(*arguments)

    def attribute(_: Any, name: str) -> Any:
        return getattr(clock.look(time), name)

    answers = {name: asked(name) for name in MOMENT} | {"__getattribute__": attribute}
    kind = type("datetime", (datetime.datetime,), answers)
    moment: datetime.datetime = kind(time.year, time.month, time.day, tzinfo=time.tzinfo)
    return moment


def _datetime_classes(clock: _Clock) -> dict[str, Any]:
    """Python's own classes, except for what asks the machine for the time."""

    class Likewise(type):
        """Instances of Python's own class are instances of these too."""

        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, cls.__mro__[1])

    class Date(datetime.date, metaclass=Likewise):
        @classmethod
        def today(cls) -> Any:
            return clock.look(datetime.datetime.now()).date()

    class DateTime(datetime.datetime, metaclass=Likewise):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return clock.look(datetime.datetime.now(tz))

        @classmethod
        def today(cls) -> Any:
            return clock.look(datetime.datetime.now())

        @classmethod
        def utcnow(cls) -> Any:
            return clock.look(datetime.datetime.now(datetime.UTC).replace(tzinfo=None))

    return {"date": Date, "datetime": DateTime}
