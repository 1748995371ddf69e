"""The real hub, where it can be reached."""

import os
import urllib.request

import pytest

from support.hub_client import ask

pytestmark = pytest.mark.network
HUB, NAME = "https://huggingface.co", "openai-community/gpt2"


@pytest.fixture(autouse=True)
def reachable():
    try:
        with urllib.request.urlopen(f"{HUB}/api/models/{NAME}", timeout=10):
            pass
    except OSError as error:
        pytest.skip(f"the hub cannot be reached: {error}")


def test_config_and_tokenizer_come_from_the_hub_and_then_from_the_cache(tmp_path):
    proxies = {key: value for key, value in os.environ.items() if "proxy" in key.lower()}
    first = ask(NAME, cache=tmp_path, address=HUB, weights=False, more=proxies)
    assert (first["name"], len(first["revision"]), first["torch"]) == (NAME, 40, False)
    names = {path.name for path in (tmp_path / first["path"]).iterdir()}
    assert {"config.json", "tokenizer.json"} <= names
    assert not any(name.endswith((".bin", ".safetensors", ".py")) for name in names)
    again = ask(NAME, cache=tmp_path, refuse=True, offline=True, weights=False)
    assert (again["path"], again["revision"]) == (first["path"], first["revision"])
