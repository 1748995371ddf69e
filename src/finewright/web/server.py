"""A server for this machine and this user only: uvicorn on the loopback interface, behind `guard.LocalGuard`."""

import contextlib
import secrets
import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from finewright.core.errors import UserError
from finewright.web.guard import HOST, LocalGuard

END_SECONDS = 1
"""How long the end of the server waits for requests that are being answered."""


class LocalServer:
    """Serves an application. `address` contains the token of this start, which grants full access.

    `name`, `title`: as in `LocalGuard`; `port`: 0 for any free one. Raise `UserError` if the port cannot be used.
    """

    def __init__(self, app: ASGIApp, *, name: str, title: str, port: int = 0) -> None:
        self.token = secrets.token_urlsafe(32)
        self.socket = _listen(port)
        self.port: int = self.socket.getsockname()[1]
        guard = LocalGuard(app, name=name, title=title, token=self.token, port=self.port)
        config = uvicorn.Config(
            guard,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            proxy_headers=False,  # they would name another client
            server_header=False,
            access_log=False,  # a log would contain the token
            log_config=None,
            log_level="critical",
            timeout_graceful_shutdown=END_SECONDS,
        )
        self._server = uvicorn.Server(config)
        # A daemon, so that the program can end while a request is still being answered.
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self.socket]}, daemon=True)

    @property
    def address(self) -> str:
        """Return the address that the user opens."""
        return f"http://{HOST}:{self.port}/?token={self.token}"

    def run(self) -> None:
        """Serve until the program is stopped. Signals are handled by the main thread, as in every other command."""
        self.start()
        try:
            self._thread.join()
        finally:
            self.stop()

    def start(self) -> None:
        """Serve in a thread until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and close the port."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout=2 * END_SECONDS)
        self.socket.close()


def _listen(port: int) -> socket.socket:
    """Return a socket that accepts connections from this machine only."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen()
        except OSError as error:
            raise UserError(f"port {port} cannot be used: {error.strerror}", fix="--port 0 takes any that is free") from None
        stack.pop_all()
        return listener
