"""The demo as a user runs it: all as expected, exit code 0, nothing left running."""

import json
import socket

import pytest

import otel_gen
from otel_gen.demo import runner


@pytest.mark.crash
@pytest.mark.timeout(240)
def test_forty_generations_in_forty_records_out(tmp_path, capsys):
    data_dir = tmp_path / "demo"
    code = runner.run(data_dir=data_dir, json_output=True)
    result = json.loads(capsys.readouterr().out)
    assert result["differences"] == []
    assert code == 0
    assert result["generations"] == result["records"] == 40
    assert len(result["workers_scraped"]) == 2
    found = {name: number["found"] for name, number in result["outcomes"].items()}
    assert {name: found[name] for name in ("withheld", "failed", "cancelled", "interrupted", "unscored")} == {
        "withheld": 5,
        "failed": 5,
        "cancelled": 1,
        "interrupted": 1,
        "unscored": 1,
    }
    assert result["late"] == ["accepted"]
    assert len(list(otel_gen.read(data_dir))) == 40


def test_a_taken_port_is_said_and_nothing_is_left_running(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert runner.run(count=1, data_dir=tmp_path / "demo", port=port) == 1
    assert "address already in use" in capsys.readouterr().err.lower()


def test_a_port_that_another_demo_serves_is_taken_too(server, tmp_path, capsys):
    assert runner.run(count=1, data_dir=tmp_path / "demo", port=server.port) == 1
    assert "choose another --port" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_wrong_usage(capsys):
    assert runner.run(count=1, data_dir="/proc/otel-gen-demo") == 2
    assert capsys.readouterr().err.startswith("/proc/otel-gen-demo cannot be used (")


def test_a_folder_that_is_no_demos_is_wrong_usage(tmp_path, capsys):
    (tmp_path / "mine").write_text("x")
    assert runner.run(count=1, data_dir=tmp_path) == 2
    assert "not a demo's" in capsys.readouterr().err
