"""The process that judges: its limits, and that an answer always comes back."""

import socket
import sys
from pathlib import Path

import pytest

from finewright.learn.grading import grader

CHECK = """
def check(learner, expect):
    expect.equal("answer", learner.answer(), 42, wrong={41: "one_short"})
    expect.note("seen")
"""


def grade_text(tmp_path, text, *, check=CHECK, seconds=20, memory_mb=2048):
    (tmp_path / "check.py").write_text(check)
    file = tmp_path / "mine.py"
    file.write_text(text)
    [grade] = grader.grade([grader.Attempt(file, tmp_path / "check.py")], seconds=seconds, memory_mb=memory_mb)
    return grade


def test_right_and_wrong(tmp_path):
    grade = grade_text(tmp_path, "def answer(): return 42")
    assert (grade.passed, grade.wrong, grade.notes) == (True, "", ["seen"])
    grade = grade_text(tmp_path, "def answer(): return 41")
    assert (grade.passed, grade.wrong) == (False, "one_short")
    assert (grade.claims[0].expected, grade.claims[0].found) == ("42", "41")


RUNS, ENDS = "your code runs to its end", "the check comes to its end"
FILES = {
    "blank": ("def answer(): raise NotImplementedError", "`answer` (line 1) is written", "not written yet"),
    "no function": ("x = 1", "the file has `answer`", "none"),
    "no Python": ("def answer(:", "Python can read the file", "line 1: invalid syntax"),
    "fault": ("x = 1\ndef answer():\n    return [][3]", RUNS, "line 3, in answer: IndexError: list index out of range"),
    "exit": ("import sys\nsys.exit(0)", "the file does not end the program", "exit at line 2, in <module>"),
    "no module": ("import nothing_here", RUNS, "line 1, in <module>: ModuleNotFoundError: No module named 'nothing_here'"),
    "hard exit": ("import os\ndef answer(): os._exit(3)", ENDS, "the process ended with exit code 3"),
    "crash": ("import os, signal\ndef answer(): os.kill(os.getpid(), signal.SIGSEGV)", ENDS, "the process ended with SIGSEGV"),
}


@pytest.mark.parametrize(("text", "what", "found"), FILES.values(), ids=FILES)
def test_every_file_gets_a_result(tmp_path, text, what, found):
    grade = grade_text(tmp_path, text)
    assert not grade.passed
    assert (grade.claims[-1].what, grade.claims[-1].found) == (what, found)


def test_an_error_in_the_check_is_not_attributed_to_the_learner(tmp_path):
    grade = grade_text(tmp_path, "def answer(): return None", check="def check(learner, expect):\n    learner.answer().shape")
    assert grade.claims[0].what == "the check can use what your code gives back"
    assert "NoneType" in grade.claims[0].found


def test_a_check_without_claims_passes_nothing(tmp_path):
    assert not grade_text(tmp_path, "", check="def check(learner, expect): pass").passed


def test_an_endless_loop_is_stopped(tmp_path):
    grade = grade_text(tmp_path, "def answer():\n    while True: pass", seconds=2)
    assert "endless loop" in grade.claims[0].found
    grade = grade_text(tmp_path, "import time\ndef answer(): time.sleep(60)", seconds=2)
    assert "stopped after 2 s" in grade.claims[0].found


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts private memory")
def test_memory_is_limited(tmp_path):
    grade = grade_text(tmp_path, "def answer(): return len(bytearray(3 << 30))", memory_mb=512)
    assert "MemoryError" in grade.claims[-1].found


def test_processor_time_is_limited(tmp_path):
    text = "import resource\ndef answer(): return resource.getrlimit(resource.RLIMIT_CPU)[0]"
    assert grade_text(tmp_path, text, seconds=42).passed


def test_there_is_no_network(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = f"import socket\ndef answer():\n    socket.create_connection(('127.0.0.1', {port}), timeout=2)\n    return 42"
        grade = grade_text(tmp_path, text)
    assert "a check runs without a network" in grade.claims[-1].found
    assert (
        "PermissionError"
        in grade_text(tmp_path, "import socket\ndef answer(): socket.getaddrinfo('example.org', 80)").claims[-1].found
    )


def test_output_is_captured_and_bounded(tmp_path):
    grade = grade_text(tmp_path, "print('hello')\ndef answer():\n    print('x' * 3_000_000)\n    print('the end')\n    return 42")
    assert grade.passed
    assert grade.output.rstrip().endswith("the end")
    assert len(grade.output) <= grader.KEPT_OUTPUT
    noisy = "print('library noise')\ndef check(learner, expect): expect.equal('a', learner.answer(), 42)"
    assert grade_text(tmp_path, "print('mine')\ndef answer(): return 42", check=noisy).output == "mine\n"


def test_child_processes_do_not_delay_the_check(tmp_path):
    start = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    grade = grade_text(tmp_path, f"import subprocess, sys\ndef answer():\n    print({start}.pid)\n    return 42")
    assert grade.passed
    assert grade.output.strip().isdigit()
    status = Path(f"/proc/{grade.output.strip()}/status")
    assert not status.exists() or "zombie" in status.read_text(), "it was ended with the check"


def test_neighbours_can_be_imported_and_do_not_leak_into_the_next_job(tmp_path):
    check = tmp_path / "check.py"
    check.write_text(CHECK)
    jobs = []
    for name, value in (("a", 42), ("b", 41)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "helper.py").write_text(f"VALUE = {value}")
        (folder / "mine.py").write_text("import helper\ndef answer(): return helper.VALUE")
        jobs.append(grader.Attempt(folder / "mine.py", check))
    first, second = grader.grade(jobs, seconds=20, memory_mb=1024)
    assert (first.passed, second.wrong) == (True, "one_short")
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_job_that_ends_the_process_leaves_the_results_of_the_others(tmp_path):
    check = tmp_path / "check.py"
    check.write_text(CHECK)
    texts = {"a": "def answer(): return 42", "b": "import os\ndef answer(): os._exit(0)", "c": "def answer(): return 42"}
    jobs = []
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
        jobs.append(grader.Attempt(tmp_path / f"{name}.py", check))
    grades = grader.grade(jobs, seconds=20, memory_mb=1024)
    assert [one.passed for one in grades] == [True, False, False]
