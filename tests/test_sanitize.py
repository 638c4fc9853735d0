"""The sanitiser: whatever comes in, plain finite bounded JSON comes out, and no foreign code runs."""

import enum
import json
import math
import pathlib
import sys
import threading
import types
import uuid
from collections import Counter, OrderedDict, deque, namedtuple
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_gen import sanitize
from otel_gen.sanitize import MORE, clean, flag, keyname, number, score, text, uid

np = pytest.importorskip("numpy", reason="scalars and arrays of numpy are part of what is cleaned")

RAN = []


def ran(*args, **kwargs):
    RAN.append(args)
    raise RuntimeError("foreign code ran")


OVERRIDDEN = (
    *(
        "__str__",
        "__repr__",
        "__format__",
        "__iter__",
        "__len__",
        "__hash__",
        "__eq__",
        "__bool__",
        "__float__",
    ),
    *("__int__", "__index__", "__getitem__", "__getattr__", "__getattribute__", "__contains__", "isascii"),
    *("encode", "items", "keys", "item", "tolist", "isoformat"),
)
HOSTILE = dict.fromkeys(OVERRIDDEN, ran)
HostileMeta = type("HostileMeta", (type,), {**HOSTILE, "__name__": property(ran)})


def hostile(*bases, **members):
    """Make a class whose every method raises and is remembered."""
    return type.__new__(HostileMeta, "Hostile", bases, {**HOSTILE, **members})


def nodes_in(value):
    if isinstance(value, dict):
        return 1 + sum(map(nodes_in, value.values()))
    return 1 + sum(map(nodes_in, value)) if isinstance(value, list) else 1


def depth_of(value):
    if isinstance(value, (dict, list)):
        return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)
    return 0


def assert_json(value):
    line = json.dumps(value, allow_nan=False).encode()
    assert json.loads(line) == value
    assert msgspec.json.decode(msgspec.json.encode(value)) == value


@pytest.fixture(autouse=True)
def no_foreign_code():
    RAN.clear()
    yield
    assert RAN == []


class Colour(enum.Enum):
    RED = "red"
    ODD = object()


class Level(enum.IntEnum):
    HIGH = 3


class Permission(enum.Flag):
    READ = 4


class WithProperty(enum.Enum):
    A = 1
    value = property(ran)


Point = namedtuple("Point", "x y")


class Zone(tzinfo):
    utcoffset = tzname = dst = ran


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (0.5, 0.5),
        (math.nan, None),
        (-math.inf, None),
        (2**63 - 1, 2**63 - 1),
        (2**63, "9223372036854775808"),
        (-(10**63), str(-(10**63))),
        (10**64, None),
        (10**100_000, None),
        ("\x00\x1b[31m\u2028", "\x00\x1b[31m\u2028"),
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "😀"),
        (b"secret", {"type": "bytes", "size": 6}),
        (bytearray(3), {"type": "bytes", "size": 3}),
        (memoryview(b"abcd"), {"type": "bytes", "size": 4}),
        ([1, (2, 3)], [1, [2, 3]]),
        (frozenset({1}), [1]),
        (deque([1, 2]), [1, 2]),
        (Point(1, 2), [1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (
            {1: "a", 2.5: "b", None: "c", False: "d", (1, 2): "e"},
            {"1": "a", "2.5": "b", "null": "c", "false": "d", MORE: "1 more"},
        ),
        ({1: "a", "1": "b"}, {"1": "a", MORE: "1 more"}),
        ({math.nan: 1, b"k": 2}, {MORE: "2 more"}),
        (Decimal("0.25"), 0.25),
        (Decimal("NaN"), None),
        (Decimal("1e999999"), None),
        (Fraction(1, 4), 0.25),
        (Fraction(10**400, 1), {"type": "Fraction"}),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc), "2026-01-02T03:04:05+00:00"),
        (datetime(2026, 1, 2, tzinfo=ZoneInfo("UTC")), "2026-01-02T00:00:00+00:00"),
        (datetime(2026, 1, 2, tzinfo=Zone()), {"type": "datetime"}),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(seconds=1.5), 1.5),
        (Colour.RED, "red"),
        (Colour.ODD, {"type": "Colour"}),
        (Level.HIGH, 3),
        (Permission.READ, 4),
        (WithProperty.A, 1),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("a/b\udcff"), "a/b\ufffd"),
        (complex(1, 2), {"type": "complex"}),
        (object(), {"type": "object"}),
        (object, {"type": "type"}),
        (np.float32(0.5), 0.5),
        (np.float64("nan"), None),
        (np.int64(3), 3),
        (np.uint64(2**64 - 1), "18446744073709551615"),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.longdouble(2), 2.0),
        (np.datetime64("2026-01-02"), "2026-01-02"),
        (np.arange(3), [0, 1, 2]),
        (np.array([[0.5, np.inf]]), [[0.5, None]]),
        (np.array([object()]), [{"type": "object"}]),
        (np.zeros((50, 50), "f4"), {"type": "ndarray", "shape": [50, 50], "dtype": "float32"}),
        (np.array(["x" * 100_000]), {"type": "ndarray", "shape": [1], "dtype": "str_"}),
        (np.zeros((2000, 2000, 0)), {"type": "ndarray", "shape": [2000, 2000, 0], "dtype": "float64"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_of_value_has_one_plain_form(value, expected):
    assert clean(value) == expected
    assert type(clean(value)) is type(expected)
    assert_json(clean(value))


@pytest.mark.parametrize(
    "base", [object, str, int, float, bytes, dict, list, tuple, set, deque, datetime, uuid.UUID]
)
def test_no_method_of_a_foreign_class_runs(base):
    value = base.__new__(hostile(base), *((2026, 1, 1) if base is datetime else ()))
    for cleaned in (clean(value), clean([value]), clean({"a": value})):
        assert_json(cleaned)
    results = [text(value), keyname(value), number(value), score(value), uid(value), flag(value)]
    assert all(type(result) in (str, int, float, type(None)) for result in results)


def test_a_class_is_named_by_itself_and_not_by_its_metaclass():
    assert clean(object.__new__(hostile(object))) == {"type": "Hostile"}
    assert clean(type("n" * 500, (), {})()) == {"type": "n" * 100}


def test_a_key_of_a_foreign_class_is_dropped_and_counted():
    key = type("Key", (), {})()
    assert clean({key: 1, "a": 2}) == {"a": 2, MORE: "1 more"}


def test_a_str_subclass_is_read_as_the_string_it_holds():
    value = str.__new__(hostile(str), "held")
    assert clean([value]) == ["held"]
    assert (text(value), keyname(value)) == ("held", "held")


def test_a_class_that_only_claims_to_be_of_numpy_or_torch_is_unknown(monkeypatch):
    liar = type("float32", (), {"__module__": "numpy", "item": ran, "shape": property(ran)})
    assert clean(liar()) == {"type": "float32"}
    assert (number(liar()), flag(liar())) == (None, None)
    tensor = type("Tensor", (), {"__module__": "torch", "item": ran})
    assert number(tensor()) is None
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(Tensor=tensor))
    assert number(tensor()) is None


@pytest.fixture
def torch(monkeypatch):
    class Tensor:
        __module__ = "torch"
        __qualname__ = "Tensor"
        dtype = "torch.float32"

        def __init__(self, *values, shape=()):
            self.values, self.shape = values, shape

        def item(self):
            (value,) = self.values
            if isinstance(value, Exception):
                raise value
            return value

    module = types.ModuleType("torch")
    module.Tensor = Tensor
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


def test_a_tensor_of_one_element_counts_by_value(torch):
    assert (number(torch.Tensor(0.25)), score(torch.Tensor(0.25)), uid(torch.Tensor(57))) == (0.25, 0.25, 57)
    assert (clean(torch.Tensor(0.25)), flag(torch.Tensor(True))) == (0.25, True)


def test_a_tensor_that_cannot_be_read_is_named_and_not_raised(torch):
    broken = torch.Tensor(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert (number(broken), score(broken), flag(broken)) == (None, None, None)
    assert clean({"loss": broken})["loss"]["type"].endswith("Tensor")
    assert clean(torch.Tensor(1, 2, shape=(2,)))["shape"] == [2]


def test_a_cycle_ends_where_it_closes():
    loop = [1]
    loop.append(loop)
    assert clean(loop) == [1, {"type": "cycle"}]
    ring = {"name": "ring"}
    ring["self"] = [ring]
    assert clean(ring) == {"name": "ring", "self": [{"type": "cycle"}]}


def test_the_same_object_twice_is_no_cycle():
    part = {"a": 1}
    assert clean([part, part]) == [part, part]


def test_a_deep_nest_is_cut_at_the_depth():
    nest = []
    for _ in range(100_000):
        nest = [nest]
    cleaned = clean(nest)
    assert depth_of(cleaned) == 17
    assert json.dumps(cleaned).count('{"type": "list", "size": 1}') == 1


def test_a_level_that_was_left_can_be_entered_again():
    assert clean([[[1]], [[2]], {"a": [3]}], depth=3) == [[[1]], [[2]], {"a": [3]}]
    assert clean([[[1]]], depth=2) == [[{"type": "list", "size": 1}]]


def test_a_million_keys_are_cut_at_the_node_budget():
    cleaned = clean(dict.fromkeys(map(str, range(1_000_000)), 1))
    assert nodes_in(cleaned) <= 2001
    assert cleaned[MORE] == f"{1_000_000 - 1999} more"
    assert clean(list(range(5)), nodes=4) == [0, 1, 2, f"{MORE} 2 more"]


def test_a_graph_that_unfolds_without_end_stays_in_the_node_budget():
    part = [1]
    for _ in range(40):
        part = [part] * 10
    cleaned = clean(part, depth=60)
    assert nodes_in(cleaned) <= 2 * 2000


def test_a_million_worthless_keys_cost_no_more_than_the_node_budget():
    class Bag(dict):
        pass

    bag = Bag.fromkeys(((i,) for i in range(100_000)), 1)
    assert clean([bag] * 10) == [{MORE: "100000 more"}, f"{MORE} 9 more"]


def test_text_in_a_value_stays_in_the_byte_budget_and_shows_where_it_was_cut():
    assert clean("é" * 100, limit=21) == "é" * 9 + MORE
    assert clean(["a" * 10, "b" * 10, "c"], limit=15) == ["a" * 10, "bb" + MORE, f"{MORE} 1 more"]
    assert clean("\ud800" * 8, limit=24) == "\ufffd" * 8
    cleaned = clean({str(i): "x" * 1000 for i in range(1000)})
    assert sum(len(value) for value in cleaned.values()) <= 65536


def test_a_dict_changed_by_another_thread_is_read_without_an_error():
    shared = {str(i): i for i in range(500)}
    done = threading.Event()

    def change():
        while not done.is_set():
            shared["extra"] = 1
            shared.pop("extra", None)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(200):
            assert len(clean(shared)) >= 500
    finally:
        done.set()
        thread.join()


def test_a_container_that_never_stands_still_is_given_up_after_three_tries():
    tries = []

    def read(container):
        tries.append(container)
        raise RuntimeError("dictionary changed size during iteration")

    assert sanitize._first(read, {}, 10) == []
    assert len(tries) == 3


def test_a_call_at_the_recursion_limit_still_returns():
    def sink():
        try:
            return sink()
        except RecursionError:
            return clean([[[[1]]]])

    assert sink() in (None, [[[[1]]]])


def test_a_broken_enum_or_a_released_buffer_is_no_error():
    released = memoryview(b"abc")
    released.release()
    empty = object.__new__(Colour)
    for value in (released, [released], empty, object.__new__(uuid.UUID), [object.__new__(uuid.UUID)]):
        assert_json(clean(value))


def test_numpy_is_not_needed(monkeypatch):
    value = np.float32(0.5)
    monkeypatch.delitem(sys.modules, "numpy")
    assert (number(value), clean(value)) == (None, {"type": "float32"})


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.binary(max_size=8)
    | st.decimals()
    | st.fractions()
    | st.datetimes()
    | st.builds(np.float32, st.floats(width=32))
    | st.builds(object)
)
hashable = st.text(st.characters(exclude_categories=()), max_size=5) | st.integers() | st.floats() | st.none()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=6) | st.tuples(inner, inner) | st.dictionaries(hashable, inner, max_size=6)
    ),
    max_leaves=60,
)


@given(values)
def test_every_value_becomes_json(value):
    assert_json(clean(value))


@given(values, st.integers(0, 200), st.integers(0, 50), st.integers(0, 5))
def test_every_budget_holds(value, limit, nodes, depth):
    cleaned = clean(value, limit=limit, nodes=nodes, depth=depth)
    assert_json(cleaned)
    assert depth_of(cleaned) <= depth + 1
    # Each cut container adds a marker, each unknown object its class name.
    assert nodes_in(cleaned) <= 3 * max(nodes, 1) + 1


@given(scalars)
def test_a_number_is_finite_and_fits_the_wire(value):
    found = number(value)
    assert found is None or math.isfinite(found)
    assert_json(found)
