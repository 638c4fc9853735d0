"""Images: what is passed as one, or an image task's prompt that decodes to one by its signature."""

from __future__ import annotations

import base64
import hashlib

import pytest

import otel_gen
from tests.support import the_record

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20
TEXT = base64.b64encode(PNG).decode()
URL = f"data:image/png;base64,{TEXT}"
HASH = "sha256:" + hashlib.sha256(PNG).hexdigest()


def recorded(data_dir, **keywords):
    with otel_gen.generation(**keywords) as gen:
        gen.submitted()
    assert gen.durable
    return the_record(data_dir)


def assert_stored(data_dir, task, data=PNG):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    assert (task["is_base64_image"], task["base64_image_hash"]) == (True, digest)
    assert (data_dir / task["image_file_path"]).read_bytes() == data


@pytest.mark.parametrize(
    "prompt",
    [TEXT, URL, TEXT.encode(), PNG, TEXT.rstrip("=")],
    ids=["base64", "url", "ascii", "raw", "unpadded"],
)
def test_an_image_tasks_prompt_that_decodes_to_an_image_is_the_image(configured, prompt):
    task = recorded(configured, task_type="IMAGE-TO-3D", prompt=prompt)["task"]
    assert_stored(configured, task)
    assert task["prompt"] == f"[BASE64_IMAGE_HASH:{HASH}]"
    assert task["prompt_length"] == len(prompt)


@pytest.mark.parametrize("prompt", [TEXT, URL])
def test_a_text_tasks_prompt_is_text_whatever_it_looks_like(configured, prompt):
    task = recorded(configured, task_type="TEXT-TO-3D", prompt=prompt)["task"]
    assert (task["prompt"], task["is_base64_image"], task["base64_image_hash"]) == (prompt, False, None)
    assert not (configured / "images").exists() or not list((configured / "images").iterdir())


@pytest.mark.parametrize("prompt", ["a red chair", "QUJD" * 2000, "/etc/hostname", TEXT[:8]])
def test_an_image_tasks_prompt_that_is_no_image_is_text(configured, prompt):
    task = recorded(configured, task_type="IMAGE-TO-3D", prompt=prompt)["task"]
    assert (task["prompt"], task["is_base64_image"]) == (prompt, False)


@pytest.mark.parametrize("form", ["bytes", "base64", "url", "path", "Path", "bytearray", "memoryview"])
def test_what_is_passed_as_an_image_may_have_any_form(configured, tmp_path, form):
    path = tmp_path / "in.png"
    path.write_bytes(PNG)
    image = {
        "bytes": PNG,
        "base64": TEXT,
        "url": URL,
        "path": str(path),
        "Path": path,
        "bytearray": bytearray(PNG),
        "memoryview": memoryview(PNG),
    }[form]
    assert_stored(configured, recorded(configured, task_type="IMAGE-TO-3D", image=image)["task"])


def test_a_text_beside_an_image_is_not_lost(configured):
    record = recorded(configured, task_type="IMAGE-TO-3D", image=PNG, prompt="make it blue")
    assert record["task"]["prompt"] == f"[BASE64_IMAGE_HASH:{HASH}]"
    assert record["generation"]["attributes"] == {"prompt": "make it blue"}


def test_an_image_beside_a_text_task_leaves_its_prompt(configured):
    task = recorded(configured, task_type="TEXT-TO-3D", image=PNG, prompt="a red chair")["task"]
    assert (task["prompt"], task["prompt_length"]) == ("a red chair", 11)
    assert_stored(configured, task)


def test_the_same_image_twice_in_one_call_is_stored_once(configured):
    record = recorded(configured, task_type="IMAGE-TO-3D", image=PNG, prompt=TEXT)
    assert_stored(configured, record["task"])
    assert record["generation"]["attributes"] == {}


def test_bytes_that_are_no_image_are_kept_and_said_to_be_none(configured):
    task = recorded(configured, task_type="IMAGE-TO-3D", image=b"II*\0 a TIFF")["task"]
    assert_stored(configured, task, b"II*\0 a TIFF")
    assert task["image_file_path"].endswith(".bin")


@pytest.mark.parametrize("image", ["/nowhere/at/all.png", "/", 5, object(), "a\0b"], ids=repr)
def test_an_image_that_cannot_be_read_is_said_so(configured, image):
    record = recorded(configured, task_type="IMAGE-TO-3D", image=image, prompt="x")
    assert (record["task"]["prompt"], record["generation"]["output"]["shed"]) == ("x", "unreadable")


def test_an_image_that_decodes_only_at_its_beginning_is_given_up(configured):
    record = recorded(configured, task_type="IMAGE-TO-3D", prompt=TEXT[:6000] + "!" + TEXT[6000:])
    assert record["task"]["base64_image_hash"] is None
    assert record["outcome"] == "unscored"


def test_without_image_storage_the_hash_stays(data_dir):
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0, store_images=False)
    task = recorded(data_dir, task_type="IMAGE-TO-3D", prompt=TEXT)["task"]
    assert (task["base64_image_hash"], task["image_file_path"]) == (HASH, None)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_a_prompt_in_any_buffer_is_the_image_of_an_image_task(configured, kind):
    with otel_gen.generation(task_type="IMAGE-TO-3D", prompt=kind(PNG)) as gen:
        gen.withheld("x")
    task = the_record(configured)["task"]
    assert (configured / task["image_file_path"]).read_bytes() == PNG


def test_the_length_of_a_prompt_in_bytes_is_the_number_of_bytes(configured):
    with otel_gen.generation(task_type="TEXT-TO-3D", prompt=b"a red chair"):
        pass
    task = the_record(configured)["task"]
    assert (task["prompt"], task["prompt_length"]) == (None, 11)
