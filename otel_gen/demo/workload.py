"""What the demo sends: tasks with the outcome that each must have, the awkward ones among them."""

from __future__ import annotations

import base64
import io
import itertools
import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from otel_gen.demo.draw import draw
from otel_gen.demo.order import is_picture
from otel_gen.demo.shapes import COLOURS, SHAPES

VALIDATORS = (27, 49, 57, 128, 142, 212)
SUBMITTED = "submitted"
IMAGE_EVERY = 5  # one task in five brings a picture


class DemoError(Exception):
    """The demo cannot go on; the message says why and what to look at."""


class UsageError(DemoError):
    """The demo cannot begin with these options; the message says which to change."""


@dataclass(frozen=True)
class Task:
    """One request. `expected` None: the user's own input, where any answer is right."""

    number: int
    prompt: str
    expected: str | None = SUBMITTED
    reason: str | None = None
    status: int | None = 200
    fault: str = ""
    panel: str = "usual"  # how the validators treat it: usual, late or invalid
    attempt: int = 1
    task_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def task_type(self) -> str:
        return "IMAGE-TO-3D" if is_picture(self.prompt) else "TEXT-TO-3D"

    @property
    def validator_uid(self) -> int:
        return VALIDATORS[self.number % len(VALIDATORS)]


def plan(count: int, images: Sequence[str | Path] = (), prompts: Sequence[str] = ()) -> list[Task]:
    """Plan `count` tasks: the user's own first, then one of each awkward kind, then ordinary ones."""
    own = [*prompts, *(_file(Path(image)) for image in images)]
    count = max(count, len(own), 1)
    awkward = _awkward()
    room = max(count - len(own), 0)
    tasks = [Task(number, prompt, expected=None, status=None) for number, prompt in enumerate(own)]
    tasks += [_numbered(task, len(own) + place) for place, task in enumerate(awkward[:room])]
    rest = itertools.islice(_ordinary(), count - len(tasks))
    return tasks + [Task(number, prompt) for number, prompt in enumerate(rest, start=len(tasks))]


def _awkward() -> list[Task]:
    """The special cases, the most telling first, so that a short demo has those.

    The white ghost is withheld, so its task is handed out again: same seed, same bytes, withheld again.
    """
    poisoned = Task(0, "a white ghost with pink", "withheld", "similarity_below_threshold")
    cut_short = picture("a brown robot with teal")[:20_000]
    return [
        poisoned,
        Task(0, "a golden lamp with purple", "interrupted", status=None, fault="crash-worker"),
        Task(0, "a teal cup with red", "cancelled", status=None, fault="hold"),
        Task(0, "a pink vase with black", panel="late"),
        Task(0, "a silver robot with orange", "withheld", "sparse", fault="sparse"),
        Task(0, "a black table with green", "failed", "oom", 500, "oom"),
        Task(0, "a blue house with brown", "failed", "connection", 503, "down"),
        Task(0, cut_short, "failed", "bad_image", 400),
        Task(0, poisoned.prompt, "withheld", poisoned.reason, attempt=2, task_id=poisoned.task_id),
        Task(0, "an orange fish with grey", panel="invalid"),
        Task(0, picture("a white robot with red"), "withheld", "similarity_below_threshold"),
        Task(0, picture("a green tree with orange"), "withheld", "sparse", fault="sparse"),
        Task(0, "a purple car with yellow", "failed", "oom", 500, "oom"),
        Task(0, picture("a red ball with blue"), "failed", "connection", 503, "down"),
    ]


def _numbered(task: Task, number: int) -> Task:
    return Task(**{**task.__dict__, "number": number})


def _ordinary() -> Iterator[str]:
    """Endless distinct prompts, one in five of them a picture; the same in every run."""
    rng = random.Random(404)
    colours = [name for name in COLOURS if name not in ("white", "pale")]
    for number in itertools.count(1):
        body, accent = rng.sample(colours, 2)
        words = f"a {body} {rng.choice(list(SHAPES))} with {accent}, number {number}"
        yield picture(words) if number % IMAGE_EVERY == 0 else words


def picture(words: str) -> str:
    """Draw a picture and encode it as the protocol sends it."""
    buffer = io.BytesIO()
    draw(words).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _file(path: Path) -> str:
    try:
        encoded = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise UsageError(f"cannot read the picture {path}: {error.strerror}") from error
    if not is_picture(encoded):
        raise UsageError(f"{path} is no PNG, JPEG, GIF or WebP picture")
    return encoded
