"""From the hub, with the real client against a stand-in on loopback."""

import json
import os
import subprocess
import sys

import pytest

import hub_server
import tiny
from finewright import hub
from finewright.errors import UserError

CHILD = """
import json, sys, socket
refuse = {refuse!r}
if refuse:
    def audit(event, arguments):
        if event in ("socket.connect", "socket.getaddrinfo"):
            raise RuntimeError("network " + str(arguments))
    sys.addaudithook(audit)
from finewright import hub
from finewright.errors import UserError
heard = []
try:
    source = hub.resolve({name!r}, progress=lambda *words: heard.append(words))
    print(json.dumps({{"path": str(source.path), "name": source.name, "revision": source.revision, "heard": heard[-1:]}}))
except UserError as error:
    print(json.dumps({{"error": str(error)}}))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tiny.folder(tmp_path_factory.mktemp("served"))
    (folder / "evil.py").write_text("raise SystemExit('code from the hub ran')")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.safetensors").write_bytes(b"x")
    return folder


def ask(name, *, cache, address="http://127.0.0.1:9", refuse=False, offline=False):
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    if offline:
        environment["HF_HUB_OFFLINE"] = "1"
    code = CHILD.format(name=name, refuse=refuse)
    outcome = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr == "", "the library is silent"
    return json.loads(outcome.stdout)


def test_downloads_once_then_works_without_network(model, tmp_path):
    with hub_server.serve(model) as (address, served):
        first = ask("gpt2", cache=tmp_path, address=address)
        fetched = {path.rsplit("/", 1)[1] for path in served.asked if "/resolve/" in path}
    assert first["revision"] == hub_server.COMMIT
    assert first["name"] == hub_server.IDENTITY
    assert first["heard"][0][1] == first["heard"][0][2] > 100_000
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= fetched
    assert not {name for name in fetched if name.endswith((".py", ".bin"))}
    assert "onnx" not in os.listdir(first["path"])
    assert ask("gpt2", cache=tmp_path)["path"] == first["path"], "the hub is gone, the cache is not"
    assert ask("gpt2", cache=tmp_path, refuse=True, offline=True)["path"] == first["path"], "not one connection is opened"


def test_no_network_and_no_cache_is_one_message(tmp_path):
    said = ask("gpt2", cache=tmp_path)["error"]
    assert said.startswith("openai-community/gpt2: not in the cache, and the hub cannot be reached")
    assert "--model mini" in said
    assert "path/to/a/folder" in said
    assert "switched off (HF_HUB_OFFLINE)" in ask("gpt2", cache=tmp_path, offline=True)["error"]


def test_a_damaged_download_is_found_deleted_and_can_be_fetched_again(model, tmp_path):
    with hub_server.serve(model) as (address, served):
        served.fault = "flip"
        assert "model.safetensors arrived damaged and was deleted" in ask("gpt2", cache=tmp_path, address=address)["error"]
        served.fault = ""
        assert ask("gpt2", cache=tmp_path, address=address)["revision"] == hub_server.COMMIT


@pytest.mark.parametrize(("fault", "message"), [("503", "answers with 503"), ("401", "no such model, or it is private")])
def test_a_hub_that_refuses_says_how(model, tmp_path, fault, message):
    with hub_server.serve(model) as (address, served):
        served.fault = fault
        assert message in ask("gpt2", cache=tmp_path, address=address)["error"]


def test_an_unknown_model(model, tmp_path):
    with hub_server.serve(model) as (address, _):
        assert "the hub knows no such model, or it is private" in ask("nobody/nothing", cache=tmp_path, address=address)["error"]


def test_a_folder_is_taken_as_it_is(model):
    source = hub.resolve(str(model))
    assert (source.path, source.name, source.revision) == (model, str(model), "")


def test_pickles_are_not_opened(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match=r"pytorch_model\.bin is a pickle, which can run code"):
        hub.resolve(str(tmp_path))


def test_folders_without_config_or_weights(tmp_path):
    with pytest.raises(UserError, match=r"the folder has no config\.json"):
        hub.resolve(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"the folder has no \*\.safetensors"):
        hub.resolve(str(tmp_path))


def test_a_mistyped_folder_offers_its_neighbour(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(UserError, match=r"no such model folder\n.*did you mean .*model\?"):
        hub.resolve(str(tmp_path / "modle"))


def test_the_embedded_model_says_when_it_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "_EMBEDDED_FOLDER", tmp_path)
    with pytest.raises(UserError, match="no embedded model 'mini' yet"):
        hub.resolve("mini")
