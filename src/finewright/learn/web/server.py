"""The course as a local page: a server for this machine and this learner only.

Security rules: it listens on the loopback interface only; every request needs the token of this start; requests must name
this host, and posts must come from its own pages; paths are looked up among known names and never joined to a folder.
"""

import hmac
import re
import secrets
import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from finewright.core.errors import UserError
from finewright.learn.web import pages
from finewright.learn.web.routes import Reply, Site
from finewright.learn.workspace import Workspace

HOST = "127.0.0.1"
LARGEST_FORM_BYTES = 4096
SOCKET_SECONDS = 15
_PATH = re.compile(r"/[A-Za-z0-9_./-]*")
_NOTHING = "base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
_HEADERS = {
    "Content-Security-Policy": f"default-src 'self'; form-action 'self'; {_NOTHING}",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send posts with the origin "null"
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class _Refused(Exception):
    status: HTTPStatus
    why: str


class Server:
    """The server of one learner. `address` contains the token, which grants full access."""

    def __init__(self, workspace: Workspace, *, port: int = 0) -> None:
        self.token = secrets.token_urlsafe(32)
        try:
            self._http = _Http((HOST, port), _Handler)
        except OSError as error:
            raise UserError(f"port {port} cannot be used: {error.strerror}", fix="--port 0 takes any that is free") from None
        self.port = self._http.server_address[1]
        self._http.guard = _Guard(self.token, self.port)
        self._http.site = Site(workspace)

    @property
    def address(self) -> str:
        """Return the address that the learner opens."""
        return f"http://{HOST}:{self.port}/?token={self.token}"

    def run(self) -> None:
        """Serve until the program is stopped."""
        try:
            self._http.serve_forever()
        finally:
            self._http.server_close()

    def start(self) -> None:
        """Serve in a thread until `stop`."""
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop the thread of `start`."""
        self._http.shutdown()
        self._http.server_close()


class _Guard:
    """Checks the host, token and origin of requests."""

    def __init__(self, token: str, port: int) -> None:
        self.token = token
        self.hosts = (f"{HOST}:{port}", f"localhost:{port}")
        self.cookie = f"finewright-learn-{port}"  # cookies know no port: two servers must not share a name

    def check_host(self, headers: Any) -> str:
        """Return the Host header. Refuse other hosts, which would be DNS rebinding."""
        hosts = headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0] not in self.hosts:
            raise _Refused(HTTPStatus.MISDIRECTED_REQUEST, "this server answers to its own address only")
        return hosts[0]

    def check_token(self, headers: Any) -> None:
        """Refuse requests without the cookie of this start."""
        for line in headers.get_all("Cookie") or []:
            for pair in line.split(";"):
                name, _, value = pair.strip().partition("=")
                if name == self.cookie and self.is_token(value):
                    return
        raise _Refused(HTTPStatus.FORBIDDEN, "open the address that the terminal shows: it holds the key")

    def is_token(self, value: str) -> bool:
        """Return whether `value` is the token, in constant time."""
        return hmac.compare_digest(value.encode("utf-8", "replace"), self.token.encode())

    def check_own_page(self, headers: Any, *, host: str) -> None:
        """Refuse forms from other pages."""
        origins = headers.get_all("Origin") or []
        site = headers.get("Sec-Fetch-Site", "same-origin")
        if origins != [f"http://{host}"] or site != "same-origin":
            raise _Refused(HTTPStatus.FORBIDDEN, "this form does not come from the course's own page")


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    guard: _Guard
    site: Site

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore broken connections."""


class _Handler(BaseHTTPRequestHandler):
    timeout = SOCKET_SECONDS
    server_version = "finewright"
    sys_version = ""

    @property
    def _ours(self) -> _Http:
        assert isinstance(self.server, _Http)
        return self.server

    def do_GET(self) -> None:
        """Answer pages, pictures and the first request with the token."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Answer forms."""
        self._answer(self._post)

    def _get(self) -> Reply:
        self._ours.guard.check_host(self.headers)
        path, _, query = self.path.partition("?")
        if path == "/" and query.startswith("token="):
            if not self._ours.guard.is_token(query.removeprefix("token=")):
                raise _Refused(HTTPStatus.FORBIDDEN, "this key is of another start: open the address that the terminal shows")
            cookie = f"{self._ours.guard.cookie}={self._ours.guard.token}; HttpOnly; SameSite=Strict; Path=/"
            return Reply.html(pages.render("enter.html"), cookie=cookie)
        self._ours.guard.check_token(self.headers)
        return self._ours.site.get(self._path())

    def _post(self) -> Reply:
        host = self._ours.guard.check_host(self.headers)
        self._ours.guard.check_own_page(self.headers, host=host)
        self._ours.guard.check_token(self.headers)
        return self._ours.site.post(self._path(), self._form())

    def _path(self) -> str:
        path = self.path.partition("?")[0]
        if not _PATH.fullmatch(path):
            raise _Refused(HTTPStatus.NOT_FOUND, "no such page")
        return path

    def _form(self) -> dict[str, str]:
        if self.headers.get("Transfer-Encoding") or self.headers.get_content_type() != "application/x-www-form-urlencoded":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "wanted a form")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 9):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "wanted a form with its length")
        if int(length) > LARGEST_FORM_BYTES:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the form is too large")
        text = self.rfile.read(int(length)).decode("utf-8", "replace")
        return {name: values[-1] for name, values in parse_qs(text, max_num_fields=20).items()}

    def _answer(self, make: Any) -> None:
        try:
            reply = make()
        except _Refused as refused:
            reply = Reply.html(
                pages.render("message.html", title=refused.status.phrase, sentence=refused.why), status=refused.status
            )
        except UserError as error:
            reply = Reply.html(
                pages.render("base.html", title="Not possible", place="", notes=[str(error)]), status=HTTPStatus.CONFLICT
            )
        except Exception:
            sentence = "Please report it; the terminal's commands may still work."
            text = pages.render("message.html", title="This should not happen", sentence=sentence)
            reply = Reply.html(text, status=HTTPStatus.INTERNAL_SERVER_ERROR)
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in {**_HEADERS, **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", reply.kind)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send errors of the standard library, such as an unknown verb, with the same headers."""
        self.close_connection = True
        status = HTTPStatus(code)
        text = pages.render("message.html", title=status.phrase, sentence="This server knows GET and POST.")
        self._send(Reply.html(text, status=status))

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a log would contain the token."""
