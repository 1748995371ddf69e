"""A stand-in hub on loopback: what the real client asks for, served from a folder, with faults that can be switched on."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
IDENTITY = "openai-community/gpt2"
OLD_NAME = "an-old-name"
XET_HASH = "ab" * 32


class Hub:
    """`asked`: every path that was asked for. `xet`: large files are listed as the hub's newer storage does.

    `fault`: what goes wrong, `num_faults` times. A status: every answer. `gated`: files are refused. `revision`: no revision
    is known. `nameless`: small
    files come without their commit, as from a server that is no hub. In large files `flip`: the last bit; `drop`: the
    connection ends halfway; `short`: half of the body is declared to be all of it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fault = ""
        self.num_faults = 1 << 30
        self.xet = False
        self.asked: list[str] = []

    def files(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}

    def strikes(self, fault: str) -> bool:
        """Whether this fault is on; counts it."""
        if self.fault != fault or self.num_faults == 0:
            return False
        self.num_faults -= 1
        return True

    def entry(self, name: str, content: bytes) -> dict:
        """A file as the listing of a repository shows it."""
        blob = b"blob %d\0" % len(content) + content
        entry = {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(blob).hexdigest()}
        if name.endswith((".safetensors", ".bin")):
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            if self.xet:
                entry["xetHash"] = XET_HASH
        return entry


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *values: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(path)
        if self.hub.fault.isdigit() and self.hub.strikes(self.hub.fault):
            return self._send(int(self.hub.fault), b"{}", {}, body=body)
        if f"/{OLD_NAME}" in path:
            return self._send(307, b"", {"Location": path.replace(OLD_NAME, IDENTITY)}, body=body)
        if path.startswith("/cdn/"):
            return self._large_file(path.removeprefix("/cdn/"), body=body)
        if f"/{IDENTITY}" not in path:
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body=body)
        if "/revision/" in path and self.hub.strikes("revision"):
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body=body)
        if "/resolve/" in path:
            return self._file(path.split("/resolve/")[1].split("/", 1)[1], body=body)
        entries = [self.hub.entry(name, content) for name, content in self.hub.files().items()]
        info = {"id": IDENTITY, "sha": COMMIT, "private": False, "tags": [], "siblings": []}
        return self._send(200, json.dumps(entries if "/tree/" in path else info).encode(), {}, body=body)

    def _file(self, name: str, *, body: bool) -> None:
        """Small files come from the hub itself, large ones from another host, as on the real hub."""
        content = self.hub.files().get(name)
        if content is None:
            return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"}, body=body)
        if self.hub.strikes("gated"):
            return self._send(403, b"{}", {"X-Error-Code": "GatedRepo"}, body=body)
        entry = self.hub.entry(name, content)
        if "lfs" not in entry:
            named = {} if self.hub.strikes("nameless") else {"X-Repo-Commit": COMMIT}
            return self._send(200, content, {**named, "ETag": f'"{entry["oid"]}"'}, body=body)
        headers = {
            "X-Repo-Commit": COMMIT,
            "X-Linked-ETag": f'"{entry["lfs"]["oid"]}"',
            "X-Linked-Size": str(len(content)),
            "Location": f"http://localhost:{self.server.server_address[1]}/cdn/{name}",
        }
        return self._send(302, b"", headers, body=body)

    def _large_file(self, name: str, *, body: bool) -> None:
        content = self.hub.files()[name]
        if self.hub.strikes("flip"):
            content = content[:-1] + bytes([content[-1] ^ 1])
        if self.hub.strikes("short"):
            content = content[: len(content) // 2]
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        status, content = 206 if start else 200, content[start:]
        if self.hub.strikes("drop"):
            self._send(status, content[: len(content) // 2], {**headers, "Content-Length": str(len(content))}, body=body)
            self.close_connection = True
            return
        self._send(status, content, headers, body=body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), "Content-Type": "application/json", **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, Hub]]:
    """(address, hub) while the block runs."""
    hub = Hub(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
