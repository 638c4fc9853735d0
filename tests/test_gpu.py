"""GPU: peaks per stage and gauges where there is one; one line and nothing else where there is none."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext
from prometheus_client import CollectorRegistry, generate_latest

import otel_gen
from otel_gen import nvml
from otel_gen import semconv as sc
from otel_gen.errors import MissingExtraError
from otel_gen.foreign import to_event
from otel_gen.gpu import Gpu, Peaks
from otel_gen.nvml import NoGpuError, Reading, chosen
from otel_gen.process import process
from tests.stack.pages import samples
from tests.support import python, the_record, until

GB = 10**9


class Cards:
    """Two GPUs whose figures a test sets; `read_` counts how often they were asked."""

    def __init__(self):
        self.used, self.utilization, self.reads, self.closed, self.fault = GB, 0.1, 0, False, None

    def read(self):
        self.reads += 1
        if self.fault is not None:
            self.fault()
        return [Reading(0, self.used, 80 * GB, self.utilization), Reading(3, GB // 2, 80 * GB, None)]

    def seen(self, times=2):
        """Wait until they were asked so often from now on, so that what is set now was seen."""
        wanted = self.reads + times
        until(lambda: self.reads >= wanted)

    def close(self):
        self.closed = True


@pytest.fixture
def cards():
    return Cards()


@pytest.fixture
def gpu(cards):
    made = Gpu(find=lambda: cards)
    made.EVERY, made.AFTER_FAULT = 0.005, 0.01
    yield made
    made.close(5)


@pytest.fixture
def equipped(data_dir, cards):
    """This process records, on a machine with GPUs."""
    registry = CollectorRegistry()
    otel_gen.configure(data_dir=data_dir, registry=registry, feedback_timeout=0)
    gpu = process.configured.gpu
    gpu._find, gpu.EVERY = (lambda: cards), 0.005
    yield registry
    otel_gen.shutdown()


def test_a_stage_has_the_peaks_of_its_own_time(gpu, cards):
    outer = gpu.begin()
    cards.seen()
    cards.used, cards.utilization = 30 * GB, 0.9
    inner = gpu.begin()
    cards.seen()
    cards.used, cards.utilization = 20 * GB, 0.2
    found = gpu.end(inner)
    assert (found[sc.GPU_MEMORY], found[sc.GPU_UTILIZATION]) == (30 * GB, 0.9)
    assert found[sc.GPU_SAMPLES] >= 1
    later = gpu.begin()
    cards.seen()
    after, whole = gpu.end(later), gpu.end(outer)
    assert (after[sc.GPU_MEMORY], after[sc.GPU_UTILIZATION]) == (20 * GB, 0.2)
    assert (whole[sc.GPU_MEMORY], whole[sc.GPU_UTILIZATION]) == (30 * GB, 0.9)
    assert whole[sc.GPU_SAMPLES] > found[sc.GPU_SAMPLES] + after[sc.GPU_SAMPLES] - 1


def test_a_stage_that_no_sample_saw_says_nothing():
    assert Peaks().attributes() == {}


def test_a_device_that_tells_no_utilisation_has_memory_all_the_same():
    peaks = Peaks()
    peaks.take([Reading(0, 5, 10, None)])
    assert peaks.attributes() == {sc.GPU_MEMORY: 5, sc.GPU_SAMPLES: 1}


def test_the_thread_runs_only_while_stages_do_and_devices_are_found_once(cards):
    finds = []
    gpu = Gpu(find=lambda: finds.append(1) or cards)
    gpu.EVERY, gpu.LINGER = 0.005, 0.01
    assert gpu._thread is None
    for _ in range(3):
        peaks = gpu.begin()
        cards.seen()
        gpu.end(peaks)
        until(lambda: gpu._thread is None)
        at = cards.reads
        gpu.figures()
        assert cards.reads == at
    assert finds == [1]
    assert not [thread for thread in threading.enumerate() if thread.name == "otel_gen-gpu"]
    gpu.close(5)
    assert cards.closed
    assert gpu.end(gpu.begin()) == {}
    assert gpu._thread is None


def test_old_figures_are_read_anew_for_the_next_time_without_waiting(cards):
    gpu = Gpu(find=lambda: cards)
    gpu.EVERY, gpu.LINGER, gpu.STALE = 0.005, 0.01, 0.02
    assert gpu.figures() == {}
    peaks = gpu.begin()
    cards.seen()
    gpu.end(peaks)
    until(lambda: gpu._thread is None)
    cards.used = 7 * GB
    until(lambda: gpu.figures()["gen3d_gpu_memory_used_bytes", ("0",)] == 7 * GB)
    gpu.close(5)


def test_devices_that_fail_are_asked_again_and_no_stage_notices(gpu, cards):
    def fault():
        raise RuntimeError("fell off the bus")

    cards.fault = fault
    peaks = gpu.begin()
    cards.seen(3)
    assert gpu.end(peaks) == {}
    cards.fault, peaks = None, gpu.begin()
    cards.seen()
    assert gpu.end(peaks)[sc.GPU_MEMORY] == GB


def test_a_driver_that_hangs_holds_up_neither_stage_nor_scrape_nor_shutdown(equipped, cards):
    hangs, let_go = threading.Event(), threading.Event()

    def fault():
        hangs.set()
        let_go.wait(60)

    cards.fault = fault
    began = time.monotonic()
    with otel_gen.generation() as gen:
        with gen.stage("trellis"):
            assert hangs.wait(10)
        with gen.stage("validation"):
            pass
        assert b"gen3d_gpu_" not in generate_latest(equipped)
    assert otel_gen.shutdown()
    took = time.monotonic() - began
    let_go.set()
    assert took < 8


def test_stages_on_record_and_in_spans_show_their_peaks_and_metrics_the_last_figures(
    equipped, cards, spans, data_dir
):
    with otel_gen.generation() as gen:
        with gen.stage("sdxl"):
            cards.seen()
        with gen.stage("trellis") as stage:
            stage.set(steps=4)
            cards.used, cards.utilization = 41 * GB, 0.97
            cards.seen()
    shown = samples(generate_latest(equipped).decode())
    found = {name: value for name, value in shown.items() if name.startswith("gen3d_gpu_")}
    assert found.pop("gen3d_gpu_sample_age_seconds{}") >= 0
    assert found == {
        'gen3d_gpu_memory_used_bytes{gpu="0"}': 41 * GB, 'gen3d_gpu_memory_used_bytes{gpu="3"}': GB // 2,
        'gen3d_gpu_memory_total_bytes{gpu="0"}': 80 * GB, 'gen3d_gpu_memory_total_bytes{gpu="3"}': 80 * GB,
        'gen3d_gpu_utilization_ratio{gpu="0"}': 0.97,
    }  # fmt: skip
    sdxl, trellis = the_record(data_dir)["generation"]["stages"]
    assert sdxl["attributes"]["gpu_memory_peak_bytes"] == GB
    known = trellis["attributes"]
    assert (known["gpu_memory_peak_bytes"], known["gpu_utilization_peak"], known["steps"]) == (
        41 * GB,
        0.97,
        4,
    )
    assert known["gpu_samples"] >= 1
    (shown,) = [span for span in spans.get_finished_spans() if span.name == "trellis"]
    assert shown.attributes[sc.GPU_MEMORY] == 41 * GB
    assert shown.attributes[sc.GPU_UTILIZATION] == 0.97


@pytest.mark.parametrize(("value", "kept"), [(5, 5), ("5", 5), ("much", None), ([1], None), (True, None)])
def test_of_a_foreign_span_only_numbers_are_believed(value, kept):
    attributes = {sc.GENERATION_ID: "019a206d-e9ba-7353-9a0c-de3a3c69c974", sc.GPU_MEMORY: value}
    span = ReadableSpan("trellis", SpanContext(1, 2, is_remote=False), attributes=attributes)
    assert to_event(span).attributes.get(sc.GPU_MEMORY) == kept


# --- without one ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (NoGpuError("no NVIDIA driver answers"), "no NVIDIA driver answers"),
        (MissingExtraError("nvidia-ml-py", "gpu"), "pip install 'otel-gen[gpu]'"),
        (OSError("libnvidia-ml.so.1"), "libnvidia-ml.so.1"),
    ],
    ids=["no driver", "no package", "else"],
)
def test_where_there_is_none_one_line_says_so_and_nothing_is_left_of_it(
    equipped, data_dir, caplog, reason, said
):
    def find():
        raise reason

    process.configured.gpu._find = find
    with caplog.at_level(logging.INFO, "otel_gen"):
        for _ in range(5):
            with otel_gen.generation() as gen, gen.stage("trellis"):
                pass
            until(lambda: process.configured.capture.gpu is None)
    (line,) = [record for record in caplog.records if "GPU" in record.message]
    assert (line.levelname, said in line.message) == ("INFO", True)
    assert not [thread for thread in threading.enumerate() if thread.name == "otel_gen-gpu"]
    assert b"gen3d_gpu_" not in generate_latest(equipped)
    otel_gen.shutdown()
    for record in otel_gen.read(data_dir):
        assert record["generation"]["stages"][0]["attributes"] == {}


def test_without_the_package_devices_say_which_extra_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(MissingExtraError, match="gpu"):
        nvml.Devices()


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a driver")
def test_without_a_driver_devices_say_so():
    with pytest.raises(NoGpuError, match="no NVIDIA driver answers"):
        nvml.Devices()


@pytest.mark.skipif(not Path("/dev/nvidiactl").exists(), reason="no NVIDIA driver on this machine")
def test_a_real_gpu_answers():
    devices = nvml.Devices()
    assert all(0 < reading.memory_total >= reading.memory_used for reading in devices.read())
    devices.close()


@pytest.mark.parametrize(
    ("visible", "wanted"),
    [
        (None, [0, 1, 2]), ("", []), ("-1", []), ("1", [1]), ("2,0", [0, 2]), ("0,9,1", [0]), ("0,0", [0]),
        ("GPU-b", [1]), ("GPU-c, 0", [0, 2]), ("GPU-", [0]), ("MIG-x", [0, 1, 2]), ("all", []),
    ],
)  # fmt: skip
def test_devices_are_chosen_as_cuda_does(visible, wanted):
    assert chosen({0: "GPU-aa", 1: "GPU-bb", 2: "GPU-cc"}, visible) == wanted


# --- NVIDIA's binding, with a stand-in for the driver ---------------------------------------------------------
READ = """
import os, sys, time
import otel_gen
from prometheus_client import REGISTRY, generate_latest

otel_gen.configure(data_dir=sys.argv[1], feedback_timeout=0)
with otel_gen.generation() as gen, gen.stage("trellis"):
    end = time.monotonic() + 20
    while b'gen3d_gpu_utilization_ratio{gpu="' not in generate_latest(REGISTRY):
        assert time.monotonic() < end, "no figures"
page = generate_latest(REGISTRY).decode()
otel_gen.shutdown()
print(page)
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A folder with a libnvidia-ml.so.1 for LD_LIBRARY_PATH, and the file of its figures."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on the PATH")
    folder = tmp_path_factory.mktemp("driver")
    source, library = Path(__file__).with_name("nvml_driver.c"), folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    (folder / "figures").write_text("41000000000 97")
    return {"LD_LIBRARY_PATH": str(folder), "NVML_FIGURES": str(folder / "figures")}


def stages(data_dir):
    (record,) = otel_gen.read(data_dir)
    return record["generation"]["stages"]


def test_the_binding_of_nvidia_reads_what_the_driver_tells(tmp_path, driver):
    shown = samples(python(READ, tmp_path / "data", **driver))
    assert {name for name in shown if name.startswith(("gen3d_gpu_memory_used", "gen3d_gpu_util"))} == {
        'gen3d_gpu_memory_used_bytes{gpu="0"}', 'gen3d_gpu_memory_used_bytes{gpu="1"}',
        'gen3d_gpu_utilization_ratio{gpu="0"}',
    }  # fmt: skip
    (stage,) = stages(tmp_path / "data")
    known = stage["attributes"]
    assert (known["gpu_memory_peak_bytes"], known["gpu_utilization_peak"]) == (41 * GB, 0.97)


def test_a_worker_that_was_forked_reads_for_itself(tmp_path, driver):
    forked = READ.replace(
        "with otel_gen.generation() as gen,",
        """
with otel_gen.generation(task_id="parent") as gen, gen.stage("trellis"):
    time.sleep(0.05)
child = os.fork()
if child:
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))
with otel_gen.generation(task_id="child") as gen,""",
    )
    python(forked, tmp_path / "data", **driver)
    found = {r["metadata"]["task_id"]: r["generation"]["stages"] for r in otel_gen.read(tmp_path / "data")}
    assert found["child"][0]["attributes"]["gpu_memory_peak_bytes"] == 41 * GB


def test_a_gpu_that_is_hidden_is_not_read(tmp_path, driver):
    code = """
import otel_gen.nvml
try:
    otel_gen.nvml.Devices()
except otel_gen.nvml.NoGpuError as error:
    print(error)
"""
    assert "CUDA_VISIBLE_DEVICES hides it" in python(code, **driver, CUDA_VISIBLE_DEVICES="")
