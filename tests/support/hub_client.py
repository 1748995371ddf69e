"""Request a model from a hub in another process."""

import json
import os
import subprocess
import sys

CHILD = """
import json, sys, socket
refuse, served, revision, options = {refuse!r}, {served!r}, {revision!r}, {options!r}
if refuse:
    def audit(event, arguments):
        if event in ("socket.connect", "socket.getaddrinfo"):
            raise RuntimeError("network " + str(arguments))
    sys.addaudithook(audit)
if served:
    import huggingface_hub.file_download
    def xet_get(*, incomplete_path, displayed_filename, expected_size, tqdm_class, **rest):
        incomplete_path.write_bytes(open(served + "/" + displayed_filename, "rb").read())
        tqdm_class(total=expected_size).update(expected_size)
    huggingface_hub.file_download.xet_get = xet_get
from finewright.models import hub
from finewright.core.errors import UserError
heard = []
try:
    source = hub.resolve_model({name!r}, revision=revision, progress=lambda *words: heard.append(words), **options)
    found = {{"path": str(source.path), "name": source.name, "revision": source.revision, "kind": source.kind}}
    said = {{**found, "heard": heard[-1:]}}
except UserError as error:
    said = {{"error": str(error), "code": int(error.code)}}
print(json.dumps({{**said, "torch": "torch" in sys.modules}}))
"""


def ask(
    name, *, cache, address="http://127.0.0.1:9", refuse=False, offline=False, revision="", xet_from="", more=None, **options
):
    kept = {key: value for key, value in os.environ.items() if "proxy" not in key.lower() and not key.startswith("HF_")}
    environment = kept | {"HF_ENDPOINT": address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "0" if xet_from else "1"}
    environment |= {"HF_HUB_OFFLINE": "1"} if offline else {}
    code = CHILD.format(name=name, refuse=refuse, served=str(xet_from), revision=revision, options=options)
    outcome = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | (more or {}),
        cwd=cache,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr == "", "the library is silent"
    said = json.loads(outcome.stdout)
    assert not said["torch"]
    return said
