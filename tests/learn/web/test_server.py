"""The course's local page over raw HTTP: who may come in, and what the pages do."""

import http.client
import re
import socket
from urllib.parse import urlencode

import pytest
from markupsafe import escape

from finewright.core.errors import UserError
from finewright.learn import quiz
from finewright.learn.course import Course, Lesson
from finewright.learn.web import lesson_markdown, site
from finewright.learn.workspace import Workspace
from support import made_runs


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("web")
    made_runs.write_runs(root / "runs")
    one = site.create_server(Workspace(work=root / "learn", runs=root / "runs"))
    one.workspace_root = root
    one.start()
    yield one
    one.stop()


class Visitor:
    """A browser, as far as these rules go; every header can be changed."""

    def __init__(self, server):
        self.port = server.port
        self.host = f"127.0.0.1:{server.port}"
        self.cookie = f"finewright-learn-{server.port}={server.token}"

    def ask(self, verb, path, *, form=None, **headers):
        given = {"Host": self.host, "Cookie": self.cookie}
        body = None
        if verb == "POST":
            body = urlencode(form or {})
            given |= {"Origin": f"http://{self.host}", "Content-Type": "application/x-www-form-urlencoded"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest(verb, path, skip_host=True, skip_accept_encoding=True)
        if body is not None and "Content-Length" not in given:
            given["Content-Length"] = str(len(body))
        for name, value in given.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body.encode() if body else None)
        reply = connection.getresponse()
        text = reply.read()
        connection.close()
        return reply.status, text.decode("utf-8", "replace"), reply.headers


@pytest.fixture
def visitor(server):
    return Visitor(server)


def test_the_printed_address_sets_the_cookie_and_removes_the_token(server, visitor):
    assert server.address.startswith(f"http://127.0.0.1:{server.port}/?token=")
    status, text, headers = visitor.ask("GET", f"/?token={server.token}", Cookie=None)
    assert status == 200
    assert "Lessons" not in text
    assert headers["Set-Cookie"] == f"{visitor.cookie}; HttpOnly; SameSite=Strict; Path=/"
    assert server.token not in text
    assert visitor.ask("GET", "/")[0] == 200


def test_every_start_has_another_token(server, tmp_path):
    other = site.create_server(Workspace(work=tmp_path))
    assert other.token != server.token
    assert len(server.token) >= 40
    other.stop()


@pytest.mark.parametrize("path", ["/", "/quiz", "/progress", "/static/learn.css", "/lessons/04_lora_with_peft", "/nothing"])
@pytest.mark.parametrize(
    "cookie", [None, "", "finewright-learn-0=x", "finewright-learn-{port}=wrong", "finewright-learn-{port}=é"]
)
def test_requests_without_the_cookie_are_refused(visitor, path, cookie):
    given = cookie.format(port=visitor.port).encode("latin-1") if cookie else cookie
    status, text, _ = visitor.ask("GET", path, Cookie=given)
    assert status == 403
    assert "open the address that the terminal shows" in text


def test_a_wrong_token_sets_no_cookie(visitor):
    status, _, headers = visitor.ask("GET", "/?token=wrong", Cookie=None)
    assert status == 403
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", "0.0.0.{port}"])
def test_another_host_is_refused_even_with_cookie_and_token(server, visitor, host):
    given = host.format(port=visitor.port) if host else host
    for verb, path in (("GET", "/"), ("GET", f"/?token={server.token}"), ("POST", "/quiz/begin")):
        status, _, headers = visitor.ask(verb, path, Host=given)
        assert status == 421
        assert "Set-Cookie" not in headers


def test_a_request_without_a_host_is_not_http(visitor):
    assert visitor.ask("GET", "/", Host=None)[0] == 400


def test_localhost_is_this_host_too(visitor):
    assert visitor.ask("GET", "/", Host=f"localhost:{visitor.port}")[0] == 200


ORIGINS = (None, "null", "http://evil.example", "http://127.0.0.1", "https://127.0.0.1:{port}", "http://localhost:{port}")


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_form_from_another_origin_is_refused(visitor, origin):
    given = origin.format(port=visitor.port) if origin else origin
    status, text, _ = visitor.ask("POST", "/lessons/07_reading_a_comparison/start", Origin=given)
    assert status == 403
    assert "own page" in text
    assert visitor.ask("POST", "/quiz/begin", Sec_Fetch_Site="cross-site")[0] == 403
    assert visitor.ask("POST", "/quiz/begin", Cookie=None)[0] == 403


FORMS = (
    ({"Content_Type": "application/json"}, 415),
    ({"Content_Type": "text/plain"}, 415),
    ({"Transfer_Encoding": "chunked"}, 415),
    ({"Content_Length": None}, 411),
    ({"Content_Length": "-1"}, 400),
    ({"Content_Length": "x"}, 400),
    ({"Content_Length": "9" * 12}, 411),
    ({"Content_Length": "99999"}, 413),
    ({"Content_Length": "9" * 40}, 400),
)
STRANGE_PATHS = """
/../progress.json /static/../learn.css /static/%2e%2e/x /static/learn.py /static/ /lessons/ /lessons/99_none
/pictures/01_continue_training/../lesson.md /pictures/01_continue_training/lesson.md /pictures/01_continue_training/check.py
/figures/01_continue_training/other.png /lessons/01_continue_training/check /progress.json /learn/progress.json
"""


@pytest.mark.parametrize(("headers", "status"), FORMS)
def test_forms_are_forms_and_small(visitor, headers, status):
    assert visitor.ask("POST", "/quiz/begin", **headers)[0] == status


@pytest.mark.parametrize("path", STRANGE_PATHS.split())
def test_only_known_names_are_answered(visitor, path):
    status, text, _ = visitor.ask("GET", path)
    assert status == 404
    assert "No such page" in text or "no such page" in text
    assert visitor.ask("POST", path)[0] in (404, 303)


@pytest.mark.parametrize("verb", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "HEAD", "BREW"])
def test_other_verbs_are_refused_with_the_same_headers(visitor, verb):
    status, _, headers = visitor.ask(verb, "/")
    assert status == 501
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_headers_of_every_kind_of_answer(server, visitor):
    for path in (
        "/",
        "/static/learn.js",
        "/nothing",
        "/figures/01_continue_training/light.png",
        "/pictures/02_methods/lora.svg",
    ):
        _, _, headers = visitor.ask("GET", path)
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy.replace("style-src 'unsafe-inline'; sandbox", "sandbox")  # a drawing's own styles
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert "Python" not in headers.get("Server", "")


def test_pages_hold_no_script_no_style_and_no_external_resource(server, visitor):
    pages = ["/", "/quiz", "/progress", *(f"/lessons/{lesson.name}" for lesson in Course().lessons)]
    for page in pages:
        status, text, _ = visitor.ask("GET", page)
        assert status == 200
        assert re.findall(r"<script(?! src=\"/static/learn\.js\" defer></script>)", text) == []
        assert "<style" not in text
        assert re.findall(r"\s(?:style|on\w+)=", text) == []
        assert re.findall(r"(?:src|srcset|href|action)=\"(?!/|#)", text) == []
        assert server.token not in text
        assert text.count("<h1>") == 1


def test_the_script_writes_no_html(visitor):
    script = visitor.ask("GET", "/static/learn.js")[1]
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval", "Function(", "fetch("):
        assert word not in script


def test_own_runs_are_shown_with_picture_and_words(visitor):
    text = visitor.ask("GET", "/lessons/03_transfer")[1]
    assert '<img src="/figures/03_transfer/light.png" width="1200" height="675" alt="Best validation accuracy' in text
    status, _, headers = visitor.ask("GET", "/figures/03_transfer/dark.png")
    assert (status, headers["Content-Type"]) == (200, "image/png")
    assert visitor.ask("GET", "/pictures/01_continue_training/classifier.svg")[2]["Content-Type"] == "image/svg+xml"


def test_an_exercise_from_start_to_solution(server, visitor):
    path = "/lessons/07_reading_a_comparison"
    assert "Start the exercise" in visitor.ask("GET", path)[1]
    status, _, headers = visitor.ask("POST", f"{path}/start")
    assert (status, headers["Location"]) == (303, f"{path}#result")
    assert "there already" in visitor.ask("POST", f"{path}/start")[1] + visitor.ask("GET", path)[1]
    assert "there already" not in visitor.ask("GET", path)[1], "said once"
    lesson = Course().lesson(7)
    file = server.workspace_root / "learn" / f"{lesson.name}.py"
    file.write_text(
        lesson.solution.read_text() + "\ndef holm(p_values):\n    print('<script>alert(1)</script>')\n    return p_values\n"
    )
    visitor.ask("POST", f"{path}/check")
    text = visitor.ask("GET", path)[1]
    assert "The p-values come back as they were." in text
    assert "&lt;script&gt;alert(1)" in text
    visitor.ask("POST", f"{path}/hint")
    assert "The smallest of n is multiplied by n." in visitor.ask("GET", path)[1]
    visitor.ask("POST", f"{path}/solution")
    assert "once your exercise has passed" in visitor.ask("GET", path)[1]
    visitor.ask("POST", f"{path}/solution", form={"give_up": "yes"})
    assert "One possible solution" in visitor.ask("GET", path)[1]
    file.write_text(lesson.solution.read_text())
    visitor.ask("POST", f"{path}/check")
    assert "✓ passed" in visitor.ask("GET", path)[1]


@pytest.mark.parametrize("path", ["/", "/progress", "/lessons/06_memory"])
def test_a_damaged_progress_file_is_reported_once_on_the_next_page(server, visitor, path):
    (server.workspace_root / "learn").mkdir(exist_ok=True)
    (server.workspace_root / "learn" / "progress.json").write_text("{")
    assert visitor.ask("GET", path)[1].count("progress.json was damaged") == 1
    assert "was damaged" not in visitor.ask("GET", path)[1]


def test_damage_found_by_a_form_is_reported_on_the_next_page(server, visitor):
    for path, form, after in (
        ("/lessons/06_memory/hint", {}, "/lessons/06_memory"),
        ("/lessons/06_memory/solution", {}, "/lessons/06_memory"),
        ("/quiz/begin", {"lesson": "6"}, "/quiz"),
        ("/quiz/answer", {"number": "1", "choice": "0"}, "/quiz"),
    ):
        (server.workspace_root / "learn").mkdir(exist_ok=True)
        (server.workspace_root / "learn" / "progress.json").write_text("{")
        visitor.ask("POST", path, form=form)
        assert visitor.ask("GET", after)[1].count("progress.json was damaged") == 1, path


def test_a_round_of_questions(server, visitor):
    assert visitor.ask("POST", "/quiz/begin", form={"lesson": "4"})[0] == 303
    asked = quiz.collect_questions(Course(), runs=server.workspace_root / "runs", number=4)
    assert len(asked) > 5, "some are about the learner's own runs"
    for number in range(1, len(asked) + 1):
        text = visitor.ask("GET", "/quiz")[1]
        assert f"Question {number} of {len(asked)}" in text
        question = next(one for one in asked if escape(one.question) in text)
        choices = dict(re.findall(r'value="(\d)" required> <span>([^<]+)<', text))
        choice = next(place for place, words in choices.items() if words == escape(question.right.text))
        visitor.ask("POST", "/quiz/answer", form={"number": str(number), "choice": choice})
        visitor.ask("POST", "/quiz/answer", form={"number": str(number), "choice": "1"})  # the back button
        answered = visitor.ask("GET", "/quiz")[1]
        assert answered == visitor.ask("GET", "/quiz")[1], "reading the page changes nothing"
        assert f"{number} of {number} right so far" in answered
        assert all(escape(option.why.removeprefix("Right. ")) in answered for option in question.options)
        visitor.ask("POST", "/quiz/next")
    assert f"{len(asked)} of {len(asked)} right at the first try" in visitor.ask("GET", "/quiz")[1]
    assert f"{len(asked)} of " in visitor.ask("GET", "/progress")[1]


@pytest.mark.parametrize(
    "form", [{}, {"number": "1"}, {"number": "1", "choice": "9"}, {"number": "x", "choice": "0"}, {"number": "1", "choice": "5"}]
)
def test_invalid_answers_change_nothing(visitor, form):
    visitor.ask("POST", "/quiz/begin", form={"lesson": "1"})
    assert visitor.ask("POST", "/quiz/answer", form=form)[0] == 303
    assert "Question 1 of " in visitor.ask("GET", "/quiz")[1]


def test_two_host_lines_and_broken_requests_do_not_stop_the_server(server, visitor):
    for raw in (
        f"GET / HTTP/1.1\r\nHost: {visitor.host}\r\nHost: evil\r\nCookie: {visitor.cookie}\r\n\r\n".encode(),
        b"\x00\xff\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET " + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /quiz/begin HTTP/1.1\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(100)
        assert b" 200 " not in answer
    assert visitor.ask("GET", "/")[0] == 200


def test_a_port_that_is_taken_is_one_message(server):
    with pytest.raises(UserError, match=f"port {server.port} cannot be used"):
        site.create_server(Workspace(), port=server.port)


def test_it_listens_on_the_loopback_interface_only(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"


def made_lesson(tmp_path, text):
    folder = tmp_path / "01_a"
    folder.mkdir()
    (folder / "lesson.md").write_text(text)
    (folder / "ok.png").write_bytes(b"")
    return Lesson(folder, course="c")


@pytest.mark.parametrize(
    ("text", "there", "absent"),
    [
        ("<script>x</script>", "&lt;script&gt;", "<script"),
        ("[a](javascript:alert(1))", "javascript", 'href="javascript'),
        ("![a](https://evil.example/x.png)", "a", "<img"),
        ("![a](../secret.png)", "a", "<img"),
        ("![a](ok.png)", 'aria-label="Picture"><img src="/pictures/01_a/ok.png" alt="a"', "evil"),
        ("![a](data:image/svg+xml,x)", "a", "<img"),
        ("| a |\n|---|\n| <b> |", '<div class="scroll" tabindex="0"', "<b>"),
        ("```\n</code><b>\n```", "&lt;/code&gt;", "<b>"),
    ],
)
def test_a_lessons_markdown_is_sanitised(tmp_path, text, there, absent):
    one = made_lesson(tmp_path, text)
    html = lesson_markdown.render_markdown(text, one)
    assert there in html
    assert absent not in html
