"""What a generation's function returned or raised tells its outcome: by the mapping's rules, else by itself."""

from __future__ import annotations

import pytest

from otel_gen.zerocode.mapping import read
from tests.support import the_record
from tests.zerocode.world import mapped

SERVICE = """
class Answer:
    def __init__(self, status_code=200, body=b"ply", **headers):
        self.status_code, self.body = status_code, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

class ServiceError(Exception):
    def __init__(self, status_code, detail):
        super().__init__(detail)
        self.status_code, self.detail = status_code, detail

class GoneError(ConnectionError):
    pass

def generate(do):
    return do()
"""
RULES = """
[[generation.outcome]]
header = "X-Skip"
outcome = "withheld"

[[generation.outcome]]
status = [400, 422]
outcome = "failed"
error_type = "bad_input"

[[generation.outcome]]
raises = "GoneError"
outcome = "withheld"
reason = "3D service gone"

[[generation.outcome]]
value = "result.ok"
equals = false
outcome = "withheld"
reason = "own gate"

[[generation.outcome]]
empty = true
outcome = "unsubmitted"

[[generation.outcome]]
value = "result.note"
outcome = "unsubmitted"
"""

RETURNED = {
    "an answer": (lambda s: s.Answer(), "unscored", None),
    "bytes": (lambda s: b"ply", "unscored", None),
    "a dict": (lambda s: {"ok": True}, "unscored", None),
    "nothing": (lambda s: None, "unsubmitted", None),
    "an empty answer": (lambda s: s.Answer(body=b""), "unsubmitted", None),
    "a header": (lambda s: s.Answer(body=b"", X_Skip="sparse_12"), "withheld", "sparse_12"),
    "a status of the rules": (lambda s: s.Answer(422), "failed", "bad_input"),
    "a status": (lambda s: s.Answer(504), "failed", "timeout"),
    "a value": (lambda s: {"ok": False}, "withheld", "own gate"),
    "a value that is true": (lambda s: {"note": "later"}, "unsubmitted", None),
    "zero is not false": (lambda s: {"ok": 0}, "unscored", None),
}


@pytest.mark.parametrize(("make", "outcome", "word"), RETURNED.values(), ids=RETURNED)
def test_what_was_returned_tells(load, configured, make, outcome, word):
    s = load(SERVICE, more=RULES)
    s.generate(lambda: make(s))
    record = the_record(configured)
    said = record["generation"]["submission"]["rejection_reason"] or record["failure_analysis"]["error_type"]
    assert (record["outcome"], said) == (outcome, word)


RAISED = {
    "a status of the rules": (lambda s: s.ServiceError(400, "no PNG"), "failed", "bad_input", "no PNG"),
    "a status": (lambda s: s.ServiceError(418, "tea"), "failed", "crash", "tea"),
    "a class of the rules": (lambda s: s.GoneError(), "withheld", None, None),
    "an error": (lambda s: MemoryError("CUDA out of memory"), "failed", "oom", "CUDA out of memory"),
    "the end": (lambda s: KeyboardInterrupt(), "cancelled", "cancelled", None),
}


@pytest.mark.parametrize(("make", "outcome", "error_type", "message"), RAISED.values(), ids=RAISED)
def test_what_was_raised_tells(load, configured, make, outcome, error_type, message):
    s = load(SERVICE, more=RULES)
    error = make(s)

    def fail():
        raise error

    with pytest.raises(type(error)) as caught:
        s.generate(fail)
    assert caught.value is error
    record = the_record(configured)
    failure = record["failure_analysis"]
    assert (record["outcome"], failure["error_type"]) == (outcome, error_type)
    assert failure["error_message"] == message or message is None


def test_the_first_rule_that_holds_is_told(tmp_path):
    path = tmp_path / "mapping.toml"
    path.write_text(mapped("a", "b", [], RULES))
    assert [rule.outcome for rule, _ in read(path).plans[0].rules][:2] == ["withheld", "failed"]


def test_a_header_that_may_not_be_set_costs_nothing_else(load, configured):
    source = SERVICE + "\nclass Frozen:\n    headers, body = (), b'ply'\n"
    s = load(source, more='id_header = "X-Id"')
    assert s.generate(s.Frozen).headers == ()
    assert the_record(configured)["outcome"] == "unscored"


HOSTILE = """
class Hostile:
    def __getattribute__(self, name):
        raise RuntimeError(f"no {name}")
    def __eq__(self, other):
        raise RuntimeError("not comparable")
    def __bool__(self):
        raise RuntimeError("neither")
    __hash__ = None

def step(x):
    return x

def generate(x):
    return step(x)
"""


def test_whatever_is_returned_reaches_the_caller(load, configured):
    more = (
        'id_header = "X-Id"\nresults = {{ a = "result.a" }}\noutputs = {{ ply = "result.body" }}\n'
        + RULES
        + '[[stage]]\ntarget = "{module}:step"\narguments = ["x.steps"]\nresults = {{ x = "x" }}\n'
        + 'outputs = {{ ply = "result", enhanced_prompt = "x.text" }}\n'
    )
    s = load(HOSTILE, more=more)
    made = s.Hostile()
    assert s.generate(made) is made
    record = the_record(configured)
    assert record["outcome"] == "unsubmitted"
    assert [stage["name"] for stage in record["generation"]["stages"]] == ["step"]
