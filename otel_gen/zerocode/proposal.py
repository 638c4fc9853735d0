"""Proposal: a mapping file as text, with what is unsure in comments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from otel_gen.zerocode.discover import Proposal, StageProposal
from otel_gen.zerocode.mapping import VARIABLE


def text(proposal: Proposal) -> str:
    """Write a proposal as TOML."""
    return (
        "\n".join([*_head(proposal), *_generation(proposal), *_outcomes(proposal), *_stages(proposal)]) + "\n"
    )


def _head(proposal: Proposal) -> Iterator[str]:
    yield "# Proposed from the source. Read it, edit it, then start the service with"
    yield f"#   {VARIABLE}=this-file opentelemetry-instrument <as ever>"
    for one in proposal.unread:
        yield f"# not read: {' '.join(one.split())}"
    yield ""
    yield "# [settings]  # any setting; OTEL_GEN_* variables come before these"
    yield '# data_dir = "data"'
    yield "# miner_uid = 0"
    yield ""


def _generation(proposal: Proposal) -> Iterator[str]:
    yield "[generation]"
    yield f"target = {_value(proposal.target)}"
    for other in proposal.others:
        yield f"# or: target = {_value(other)}"
    yield 'task_type = "auto"  # a prompt or image that is a picture is IMAGE-TO-3D, all else TEXT-TO-3D'
    if proposal.http:
        yield 'id_header = "X-Generation-Id"  # the answer tells the generation\'s id'
    if proposal.config:
        yield f"config = {_value(proposal.config)}"
    if "prompt" not in proposal.arguments:
        yield "# no parameter looks like the prompt: add it to arguments"
    yield f"arguments = {_table(proposal.arguments)}"
    if not proposal.outputs:
        yield '# where is the PLY? "result", "result.body", "result.path", ...'
    yield f"outputs = {_table(proposal.outputs)}"
    yield ""


def _outcomes(proposal: Proposal) -> Iterator[str]:
    for rule in proposal.outcomes:
        yield "[[generation.outcome]]"
        yield from (f"{key} = {_value(value)}" for key, value in rule.items())
        yield ""


def _stages(proposal: Proposal) -> Iterator[str]:
    for stage in proposal.stages:
        mark = "" if stage.sure else "# "
        yield from (mark + line for line in _stage(stage))
        yield ""


def _stage(stage: StageProposal) -> Iterator[str]:
    yield "[[stage]]"
    yield f"target = {_value(stage.target)}"
    yield f"name = {_value(stage.name)}"
    if stage.arguments:
        yield f"arguments = {_value(stage.arguments)}"
    if stage.outputs:
        yield f"outputs = {_table(stage.outputs)}"


def _table(found: dict[str, str]) -> str:
    return (
        "{ " + ", ".join(f"{name} = {_value(value)}" for name, value in found.items()) + " }"
        if found
        else "{}"
    )


def _value(value: Any) -> str:
    """Write a text, number or list: TOML and JSON agree on these."""
    return json.dumps(value)
