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


class Hub:
    """`fault`: what goes wrong. `asked`: every path that was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fault = ""
        self.asked: list[str] = []

    def files(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


def _entry(name: str, content: bytes) -> dict:
    entry = {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    if name.endswith((".safetensors", ".bin")):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
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
        if self.hub.fault.isdigit():
            return self._send(int(self.hub.fault), b"{}", {}, body=body)
        if f"/{IDENTITY}" not in path:
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body=body)
        if "/resolve/" in path:
            return self._file(path.split("/resolve/")[1].split("/", 1)[1], body=body)
        entries = [_entry(name, content) for name, content in self.hub.files().items()]
        info = {"id": IDENTITY, "sha": COMMIT, "private": False, "tags": [], "siblings": []}
        return self._send(200, json.dumps(entries if "/tree/" in path else info).encode(), {}, body=body)

    def _file(self, name: str, *, body: bool) -> None:
        content = self.hub.files().get(name)
        if content is None:
            return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"}, body=body)
        entry = _entry(name, content)
        oid = entry.get("lfs", entry)["oid"]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{oid}"', "Accept-Ranges": "bytes"}
        if "lfs" in entry:
            headers |= {"X-Linked-ETag": f'"{oid}"', "X-Linked-Size": str(len(content))}
        if self.hub.fault == "flip" and name.endswith(".safetensors"):
            content = content[:-1] + bytes([content[-1] ^ 1])
        self._send(200, content, headers, body=body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content)), "Content-Type": "application/json"}.items():
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
