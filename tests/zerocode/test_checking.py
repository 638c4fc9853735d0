"""A mapping is checked against a service's source: what it names and is not there is named."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from otel_gen.cli.app import app
from otel_gen.zerocode.checking import check
from otel_gen.zerocode.discover import discover
from otel_gen.zerocode.proposal import text
from tests.zerocode.world import APP, mapped

SERVICE = str(APP / "service.py")
PROBLEMS = {
    "service:fix_pli": "there is no fix_pli in service; did you mean fix_ply?",
    "models.sd35:SD35ImageGenerator.generat": "there is no SD35ImageGenerator.generat in models.sd35; did you mean",
    "models.sd35:SD35ImageGenerator": "is a class; name one of its methods",
    "models.flux:Flux.generate": "models.flux is not among what the service imports beside it",
}
FINE = [
    "service:pool.submit",
    "service:generator.generate",
    "service:BackgroundRemover.remove",
    "service:gpu_lock",
]


def written(tmp_path, *targets, more=""):
    path = tmp_path / "mapping.toml"
    stages = "".join(f'\n[[stage]]\ntarget = "{target}"\n' for target in targets)
    path.write_text(mapped("service", "generate", [], more) + stages)
    return path


def test_what_is_proposed_is_there(tmp_path):
    path = tmp_path / "mapping.toml"
    path.write_text(text(discover(SERVICE)))
    assert check(SERVICE, path) == []


@pytest.mark.parametrize(("target", "told"), PROBLEMS.items(), ids=PROBLEMS)
def test_a_target_that_is_not_there_is_named(tmp_path, target, told):
    (problem,) = check(SERVICE, written(tmp_path, target))
    assert problem.startswith(f"{target}: {told}")


def test_objects_and_what_is_taken_from_elsewhere_are_known_when_it_runs(tmp_path):
    assert check(SERVICE, written(tmp_path, *FINE)) == []


def test_a_parameter_that_is_not_there_is_named(tmp_path):
    path = written(tmp_path, more='arguments = {{ prompt = "promt" }}\nconfig = "service:CONFG"')
    assert check(SERVICE, path) == [
        "config: service:CONFG: there is no CONFG in service; did you mean CONFIG?",
        "service:generate: arguments.prompt: there is no promt; did you mean prompt?",
    ]


def test_the_command_says_so(tmp_path):
    good, bad = written(tmp_path), tmp_path / "bad.toml"
    said = CliRunner().invoke(app, ["discover", SERVICE, "--check", str(good)])
    assert (said.exit_code, said.stdout) == (0, "everything that the mapping names is there\n")
    bad.write_text(mapped("service", "generat", []))
    said = CliRunner().invoke(app, ["discover", SERVICE, "--check", str(bad), "--json"])
    assert (said.exit_code, json.loads(said.stdout)["ok"]) == (1, False)
    bad.write_text("[generation]")
    said = CliRunner().invoke(app, ["discover", SERVICE, "--check", str(bad)])
    assert (said.exit_code, said.stdout) == (2, "")
    assert "missing key `target`" in said.stderr
