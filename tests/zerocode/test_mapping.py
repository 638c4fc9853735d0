"""A mapping file is read whole, and every mistake in it is named by file, table and key."""

from __future__ import annotations

import pytest

from otel_gen.errors import SettingsError
from otel_gen.zerocode.mapping import read
from otel_gen.zerocode.values import AbsentError, Call, Value

WHOLE = """
[settings]
miner_uid = 226
feedback_timeout = 60

[generation]
target = "service:generate"
arguments = { prompt = "form.prompt" }
config = { steps = "service:STEPS" }

[[generation.outcome]]
header = "X-Skip-Reason"
outcome = "withheld"

[[stage]]
target = "models.sd35:SD35ImageGenerator.generate"
arguments = ["width", "self.steps"]
"""

MISTAKES = {
    "[generation]\ntarget = 'service:generate'\n[[stage]]\ntarget = 'a:b'\nnam = 'x'": (
        "[[stage]] 1 (a:b): nam: unknown key; did you mean name?"
    ),
    "[generation]\ntarget = 'service.generate'": "[generation]: target: 'service.generate' is no target",
    "[generation]\ntarget = 5": "[generation]: target: Expected `str | array`, got `int`",
    "[generation]\ntarget = 'a:b'\n[stage]\ntarget = 'a:c'": "[stage]: write it with two brackets",
    "[generation]\ntarget = 'a:b'\n[[stage]]\nname = 'x'": "[[stage]] 1: missing key `target`",
    "[[stage]]\ntarget = 'a:b'": "[generation]: is missing",
    "[generation]\ntarget = 'a:b'\ntask_type = '3D'": "[generation]: task_type: '3D' is not auto",
    "[generation]\ntarget = 'a:b'\narguments = {p = 'x()'}": "[generation]: arguments.p: 'x()' is no value",
    "[generation]\ntarget = 'a:b'\n[[generation.outcome]]\noutcome = 'lost'\nstatus = 500": (
        "[[generation.outcome]] 1: outcome: 'lost' is not one of"
    ),
    "[generation]\ntarget = 'a:b'\n[[generation.outcome]]\noutcome = 'failed'": (
        "[[generation.outcome]] 1: tell it from something"
    ),
    "[generation]\ntarget = 'a:b'\n[[stage]]\ntarget = 'a:b'": "target: a:b is there twice",
    "[generation]\ntarget = 'a:b'\n[settings]\nminer_uidd = 5": "[settings]: unknown setting 'miner_uidd'",
    "[generation]\ntarget = 'a:b'\n[settings]\nminer_uid = 'x'": "miner_uid",
    "[generations]\ntarget = 'a:b'": "[generations]: unknown table",
    "[generation\n": "is no TOML",
}


def written(tmp_path, text):
    path = tmp_path / "mapping.toml"
    path.write_text(text)
    return path


def test_a_whole_file_is_read(tmp_path):
    found = read(written(tmp_path, WHOLE))
    assert [(str(plan.target), plan.name) for plan in found.plans] == [
        ("service:generate", None),
        ("models.sd35:SD35ImageGenerator.generate", "generate"),
    ]
    assert sorted(found.plans[1].arguments) == ["steps", "width"]
    assert found.settings == {"miner_uid": 226, "feedback_timeout": 60}


def test_several_functions_may_make_generations(tmp_path):
    found = read(
        written(tmp_path, "[generation]\ntarget = ['a:text', 'a:image']\noutputs = {ply = 'result'}")
    )
    assert [str(plan.target) for plan in found.plans] == ["a:text", "a:image"]
    assert all(plan.outputs["ply"].root == "result" for plan in found.plans)


@pytest.mark.parametrize(("text", "told"), MISTAKES.items(), ids=MISTAKES.values())
def test_a_mistake_is_told_with_its_place(tmp_path, text, told):
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        read(path)
    assert told in str(caught.value)
    assert all(line.startswith(str(path)) for line in str(caught.value).splitlines())


def test_all_mistakes_are_told_at_once(tmp_path):
    with pytest.raises(SettingsError) as caught:
        read(written(tmp_path, "[generation]\ntarget = 'a'\n[[stage]]\ntarget = 'b'\n"))
    assert len(str(caught.value).splitlines()) == 2


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(SettingsError, match="OTEL_GEN_MAPPING names the mapping file"):
        read(tmp_path / "nowhere.toml")


class Model:
    steps = 20
    options = ({"width": 512}, "fast")

    def make(self, prompt, *, seed=42, **more):
        return {"ply": b"12345"}


def called(*args, **kwargs):
    model = Model()
    call = Call(model.make, model, args, kwargs)
    call.result = model.make(*args, **kwargs)
    return call


VALUES = {
    "prompt": "a chair",
    "seed": 42,
    "self.steps": 20,
    "self.options.0.width": 512,
    "self.options.1": "fast",
    "guidance": 7.5,
    "result.ply": b"12345",
    "len(result.ply)": 5,
    "len(prompt)": 7,
    "http": None,
    "http.headers.x-task-id": None,
    "result.nothing": None,
}


@pytest.mark.parametrize(("text", "wanted"), VALUES.items(), ids=VALUES)
def test_values_are_found_in_a_call(text, wanted):
    assert Value.of(text).look(called("a chair", guidance=7.5).roots()) == wanted


@pytest.mark.parametrize("text", ["prompts", "self.step", "self.options.7", "seed.0"])
def test_a_value_that_leads_nowhere_is_told(text):
    with pytest.raises(AbsentError, match="no "):
        Value.of(text).look(called("a chair").roots())


@pytest.mark.parametrize("text", ["", "a b", "f()", "1x", "a..b", "len(a", "a)", "__import__('os')", "a[0]"])
def test_no_value_runs_code(text):
    with pytest.raises(ValueError, match="is no value"):
        Value.of(text)
