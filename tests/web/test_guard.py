"""The local server around an application of its own; `tests/learn/web` asks the course's pages over the same guard."""

import http.client
import importlib.util

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from finewright import web
from finewright.core.errors import UserError
from finewright.web.guard import LARGEST_FORM_BYTES
from finewright.web.server import LocalServer


def show_form(request: Request) -> JSONResponse:
    return JSONResponse(request.state.form, headers={"X-Frame-Options": "SAMEORIGIN"})


def fail(request: Request) -> JSONResponse:
    raise RuntimeError("a secret")


@pytest.fixture(scope="module")
def server():
    routes = [Route("/form", show_form, methods=["POST"]), Route("/fail", fail)]
    one = LocalServer(Starlette(routes=routes), name="test", title="test")
    one.start()
    yield one
    one.stop()


def ask(server, verb, path, *, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    given = {"Cookie": f"finewright-test-{server.port}={server.token}", "Origin": f"http://127.0.0.1:{server.port}"}
    given |= {"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}
    connection.request(verb, path, body=body, headers=given | headers)
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, text, reply.headers


def test_a_form_reaches_the_application_as_a_dict(server):
    status, text, headers = ask(server, "POST", "/form", body="a=1&a=2&b=%C3%A9")
    assert (status, text) == (200, '{"a":"2","b":"é"}')
    assert headers["X-Frame-Options"] == "SAMEORIGIN", "what the application sets stays"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("body", ["&".join(f"f{number}=1" for number in range(21)), "a=" + "x" * LARGEST_FORM_BYTES])
def test_a_form_with_too_much_is_refused(server, body):
    assert ask(server, "POST", "/form", body=body)[0] == 413


def test_an_error_of_the_application_says_nothing_and_has_the_headers(server, capfd):
    status, text, headers = ask(server, "GET", "/fail")
    assert status == 500
    assert "secret" not in text
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert capfd.readouterr() == ("", "")


def test_a_stopped_server_frees_its_port():
    one = LocalServer(Starlette(), name="test", title="test")
    one.start()
    assert ask(one, "GET", "/")[0] == 404
    one.stop()
    LocalServer(Starlette(), name="test", title="test", port=one.port).stop()


def test_a_missing_library_is_one_message(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else found(name))
    with pytest.raises(UserError, match="needs uvicorn, not installed here") as caught:
        web.check_installed(where="--web")
    assert caught.value.fix == "pip install 'finewright[web]'"
