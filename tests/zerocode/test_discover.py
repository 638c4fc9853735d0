"""Discover reads a service's source, never runs it, and what it proposes is a mapping."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from otel_gen.cli.app import app
from otel_gen.errors import SettingsError
from otel_gen.zerocode.discover import discover
from otel_gen.zerocode.mapping import read
from otel_gen.zerocode.proposal import text

APP = Path(__file__).parent / "app"
PACKAGE = {
    "main.py": """
        from fastapi import FastAPI
        from .routes import router
        raise SystemExit("this was run")
        app = FastAPI()
        app.include_router(router)
    """,
    "routes.py": """
        from fastapi import APIRouter, HTTPException
        from fastapi.responses import FileResponse
        from pydantic import BaseModel
        from .pipe import Pipeline
        from . import settings as cfg

        router = APIRouter()
        pipeline = Pipeline(steps=4)

        class Order(BaseModel):
            prompt: str
            seed: int = 1
            validator_uid: int | None = None

        @router.post("/feedback")
        async def feedback(body: dict): ...

        @router.post("/generate_from_text")
        def create(body: Order):
            try:
                made = pipeline.run(body.prompt, body.seed)
            except RuntimeError as error:
                raise HTTPException(503, "x")
            if made is None:
                raise HTTPException(status_code=422, detail="sparse")
            return FileResponse(made)
    """,
    "settings.py": "CONFIG = dict(steps=4)",
    "broken.py": "def (",
    "pipe/__init__.py": "from .core import Pipeline",
    "pipe/core.py": """
        import threading
        from .sdxl import SDXLTurbo
        from .trellis import TrellisClient as Client

        class Pipeline:
            def __init__(self, steps):
                self.lock = threading.Lock()
                self.text_to_image = SDXLTurbo()
                self.client = Client("http://127.0.0.1")
                self.steps = steps

            def run(self, prompt, seed):
                from ..broken import nothing
                with self.lock:
                    image = self.text_to_image(prompt, steps=self.steps)
                    image = self._remove_background(image)
                    return self.client.reconstruct(image, seed=seed)

            def _remove_background(self, image):
                return self.birefnet(image)
    """,
    "pipe/sdxl.py": """
        class SDXLTurbo:
            def __call__(self, prompt, steps=4):
                return self.pipe(prompt, num_inference_steps=steps)
    """,
    "pipe/trellis.py": """
        class TrellisClient:
            def __init__(self, url): self.url = url
            def reconstruct(self, image, seed):
                return requests.post(self.url).content
    """,
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A service in a package, with relative imports, a request model and an object that holds its lock."""
    from textwrap import dedent

    for name, source in PACKAGE.items():
        path = tmp_path / "gen3d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source))
    (tmp_path / "gen3d" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "gen3d" / "main.py"


def sure(proposal):
    return [(stage.target, stage.name) for stage in proposal.stages if stage.sure]


@pytest.mark.parametrize("how", ["gen3d.main:app", "gen3d.main", "gen3d/main.py"])
def test_a_package_is_followed_through_its_imports(package, how):
    found = discover(how)
    assert found.target == "gen3d.routes:create"
    assert found.others == ["gen3d.routes:feedback"]
    assert found.config == "gen3d.settings:CONFIG"
    assert sure(found) == [
        ("gen3d.routes:pipeline.lock", "queue"),
        ("gen3d.pipe.sdxl:SDXLTurbo.__call__", "sdxl"),
        ("gen3d.pipe.core:Pipeline._remove_background", "background_removal"),
        ("gen3d.pipe.trellis:TrellisClient.reconstruct", "trellis"),
    ]
    assert found.arguments["prompt"] == "body.prompt"
    assert found.arguments["validator_uid"] == "body.validator_uid"
    assert found.arguments["task_id"] == "http.headers.x-task-id"
    assert found.outputs == {"ply": "result.path"}
    assert [(rule["status"], rule["outcome"]) for rule in found.outcomes] == [
        (422, "failed"),
        (503, "failed"),
    ]


def test_a_module_that_is_no_python_is_named_and_passed_over(package):
    found = discover(str(package))
    assert len(found.unread) == 1
    assert "broken.py" in found.unread[0]
    assert "# not read: " in text(found)


@pytest.mark.parametrize("service", ["gen3d.main", str(APP / "service.py")])
def test_what_is_proposed_is_a_mapping(package, tmp_path, service):
    found = discover(service)
    path = tmp_path / "mapping.toml"
    path.write_text(text(found))
    mapping = read(path)
    assert len(mapping.plans) == 1 + len(sure(found))
    assert len(mapping.plans) > 4


def test_what_is_unsure_becomes_a_mapping_when_its_comments_go(package, tmp_path):
    found = discover("gen3d.main")
    lines = text(found).split("[[generation.outcome]]", 1)[1].splitlines()
    head = '[generation]\ntarget = "a:b"\n\n[[generation.outcome]]'
    path = tmp_path / "mapping.toml"
    path.write_text("\n".join([head, *(line.removeprefix("# ") for line in lines)]))
    names = [plan.name for plan in read(path).plans]
    assert "run" in names
    assert len(names) == 1 + len(found.stages)


def test_locks_async_too_and_late_imports_are_found():
    found = discover(str(APP / "service.py"))
    targets = [target for target, _ in sure(found)]
    assert targets[0] == "service:gpu_lock"
    assert "models.sd35:SD35ImageGenerator.generate" in targets  # handed to an executor
    assert "models.clip:ClipValidator.score" in [stage.target for stage in found.stages]  # imported late
    assert [rule.get("header") for rule in found.outcomes[:2]] == ["X-Validation-Failed", "X-Skip-Reason"]


def test_the_operator_may_name_the_generation(package):
    assert discover("gen3d.main", "gen3d.routes:feedback").target == "gen3d.routes:feedback"
    with pytest.raises(SettingsError, match="no such function in gen3d"):
        discover("gen3d.main", "gen3d.routes:nothing")


NOTHING = {
    "nowhere.py": ("no such file or module", None),
    "nowhere.at.all": ("no such file or module", None),
    "empty.py": ("no function looks like a generation; name it", ""),
    "wrong.py": ("cannot be read as Python", "def ("),
    "zero.py": ("cannot be read as Python", "\0"),
}


@pytest.mark.parametrize(("service", "why"), NOTHING.items(), ids=NOTHING)
def test_what_cannot_be_proposed_is_told(tmp_path, monkeypatch, service, why):
    monkeypatch.chdir(tmp_path)
    told, source = why
    if source is not None:
        (tmp_path / service).write_text(source)
    with pytest.raises(SettingsError, match=told):
        discover(service)


def test_the_command_writes_the_mapping_and_json(package):
    said = CliRunner().invoke(app, ["discover", "gen3d.main:app"])
    assert (said.exit_code, said.stdout) == (0, text(discover("gen3d.main")))
    found = json.loads(CliRunner().invoke(app, ["discover", "gen3d.main:app", "--json"]).stdout)
    assert (found["ok"], found["mapping"]) == (True, said.stdout)
    wrong = CliRunner().invoke(app, ["discover", "nowhere"])
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "no such file or module" in wrong.stderr


def test_nothing_of_the_service_is_imported(package):
    code = (
        "import sys\nfrom otel_gen.zerocode.discover import discover\ndiscover('gen3d.main')\n"
        "print([m for m in sys.modules if m.startswith(('gen3d', 'fastapi', 'wrapt'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=package.parent.parent, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
    assert not list(package.parent.rglob("*.pyc"))


def test_names_that_are_made_of_each_other_come_to_an_end(tmp_path):
    path = tmp_path / "round.py"
    path.write_text(
        "one = two.f()\ntwo = one.g()\n\ndef again():\n    return again()\n\n"
        "def generate(prompt):\n    a = b.f()\n    b = a.g(one)\n    c = again()\n    return c.render(a.h, two.i)\n"
    )
    found = discover(str(path))
    assert found.target == "round:generate"
    assert [stage.target for stage in found.stages] == ["round:again"]
