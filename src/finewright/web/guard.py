"""The security checks of a local server, as ASGI middleware around any application.

- A request must name this host: otherwise a foreign page could reach the server through DNS rebinding.
- It must carry the token of this start, in a cookie that the printed address sets.
- A form must come from the server's own page, and be small.
- Every response forbids foreign scripts, styles and frames.
"""

import asyncio
import hmac
import re
from http import HTTPStatus
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finewright.web import pages

HOST = "127.0.0.1"
LARGEST_FORM_BYTES = 4096
MOST_FORM_FIELDS = 20
FORM_SECONDS = 15
"""How long a form may take to arrive."""
_FORM = "application/x-www-form-urlencoded"
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


class LocalGuard:
    """Lets only this user's browser through to `app`.

    `name`: part of the cookie's name; `title`: what messages call the pages. A form's fields are in `request.state.form`,
    a dict of texts: the guard has read the body.
    """

    def __init__(self, app: ASGIApp, *, name: str, title: str, token: str, port: int) -> None:
        self._app = app
        self._title = title
        self._token = token
        self._hosts = (f"{HOST}:{port}", f"localhost:{port}")
        self._cookie = f"finewright-{name}-{port}"  # cookies know no port: two servers must not share a name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            answer = await self._admit(Request(scope, receive))
        except HTTPException as refused:
            answer = show_message(HTTPStatus(refused.status_code).phrase, refused.detail, status=refused.status_code)
        except ClientDisconnect:
            return
        await answer(scope, receive, send_with_headers)

    async def _admit(self, request: Request) -> ASGIApp:
        """Return what answers the request: the application or the page that sets the cookie. Raise `HTTPException` if refused."""
        if request.method not in ("GET", "POST"):
            raise HTTPException(HTTPStatus.NOT_IMPLEMENTED, "This server knows GET and POST.")
        path = request.scope["raw_path"].decode("latin-1")  # before decoding of %2e and the like
        query = request.scope["query_string"].decode("latin-1")
        host = self._check_host(request.headers)
        if request.method == "GET" and path == "/" and query.startswith("token="):
            return self._enter(query.removeprefix("token="))
        if request.method == "POST":
            self._check_origin(request.headers, host=host)
        self._check_cookie(request.headers)
        if not _PATH.fullmatch(path):
            raise HTTPException(HTTPStatus.NOT_FOUND, "no such page")
        if request.method == "POST":
            request.state.form = await self._read_form(request)
        return self._app

    def _check_host(self, headers: Headers) -> str:
        hosts = headers.getlist("Host")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            raise HTTPException(HTTPStatus.MISDIRECTED_REQUEST, "this server answers to its own address only")
        return hosts[0]

    def _enter(self, token: str) -> HTMLResponse:
        if not self._is_token(token):
            sentence = "this key is of another start: open the address that the terminal shows"
            raise HTTPException(HTTPStatus.FORBIDDEN, sentence)
        cookie = f"{self._cookie}={self._token}; HttpOnly; SameSite=Strict; Path=/"
        return HTMLResponse(pages.render("enter.html", title=self._title), headers={"Set-Cookie": cookie})

    def _check_cookie(self, headers: Headers) -> None:
        for line in headers.getlist("Cookie"):
            for pair in line.split(";"):
                name, _, value = pair.strip().partition("=")
                if name == self._cookie and self._is_token(value):
                    return
        raise HTTPException(HTTPStatus.FORBIDDEN, "open the address that the terminal shows: it holds the key")

    def _is_token(self, value: str) -> bool:
        """Return whether `value` is the token, in constant time."""
        return hmac.compare_digest(value.encode("utf-8", "replace"), self._token.encode())

    def _check_origin(self, headers: Headers, *, host: str) -> None:
        site = headers.get("Sec-Fetch-Site", "same-origin")
        if headers.getlist("Origin") != [f"http://{host}"] or site != "same-origin":
            raise HTTPException(HTTPStatus.FORBIDDEN, f"this form does not come from the {self._title}'s own page")

    async def _read_form(self, request: Request) -> dict[str, str]:
        """Return the fields of a form, the last value of each. The length is checked before anything is read."""
        headers = request.headers
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if "Transfer-Encoding" in headers or kind != _FORM:
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "wanted a form")
        length = headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 9):
            raise HTTPException(HTTPStatus.LENGTH_REQUIRED, "wanted a form with its length")
        if int(length) > LARGEST_FORM_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the form is too large")
        try:
            async with asyncio.timeout(FORM_SECONDS):
                text = (await request.body()).decode("utf-8", "replace")
            values = parse_qs(text, max_num_fields=MOST_FORM_FIELDS)
        except TimeoutError:
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "the form did not arrive") from None
        except ValueError:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the form has too many fields") from None
        return {name: found[-1] for name, found in values.items()}


def show_message(title: str, sentence: str, *, status: int) -> HTMLResponse:
    """Return a page with one sentence, without navigation, style or script."""
    return HTMLResponse(pages.render("message.html", title=title, sentence=sentence), status_code=status)
