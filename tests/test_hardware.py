"""The machine."""

import pytest

from finewright import doctor, hardware


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


def test_control_groups_bound_cores_and_memory(monkeypatch):
    files = {"/sys/fs/cgroup/cpu.max": "100000 100000", "/sys/fs/cgroup/memory.max": "123456"}
    monkeypatch.setattr(hardware, "_read", lambda path: files.get(path, ""))
    assert hardware.cpu_count() == 1
    assert hardware.memory_bytes() == 123456
    files["/sys/fs/cgroup/memory.max"] = "max"
    assert hardware.memory_bytes() > 123456


def test_peak_memory_grows_with_what_is_held():
    before = hardware.peak_memory_bytes()
    held = bytearray(300 << 20)
    held[::4096] = b"x" * len(held[::4096])
    assert hardware.peak_memory_bytes() - before > 100 << 20


def test_versions_and_git():
    found = hardware.versions()
    assert {"python", "torch", "transformers", "peft", "finewright"} <= set(found)
    assert isinstance(hardware.git_state(), str)


def test_doctor_names_the_command_for_what_is_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = {line.name: line for line in doctor.examine()}
    assert found["datasets"].status == "missing"
    assert found["datasets"].fix == "pip install 'finewright[hub]'"
    assert found["precision"].detail.split(":")[0] in ("float32", "bfloat16")
    assert found["openai-community/gpt2"].fix == "" or "hf download openai-community/gpt2" in found["openai-community/gpt2"].fix
