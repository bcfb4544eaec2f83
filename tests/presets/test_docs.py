"""The examples of the page on sharing presets run, in order, against a local server."""

import re

from keras_sae.presets import load, read_metadata


def test_the_examples_run(root, serve, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server = serve(tmp_path)
    page = (root / "docs" / "presets.md").read_text(encoding="utf-8")
    save, share = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    given = {}
    exec(save, given)
    assert (tmp_path / "my_encoder" / "README.md").read_text(encoding="utf-8") == given["card"]
    assert read_metadata("my_encoder")["files"].keys() == {"config.json", "model.weights.h5", "reference.npz", "README.md"}
    exec(share.replace("https://example.org", server.url), given)
    assert len(given["reference"]["codes"]) == 8
    assert "/my_encoder/README.md" in server.log
    digest = read_metadata("my_encoder")["metadata_sha256"]
    assert load(f"{server.url}/my_encoder#sha256={digest}").encoder.output_shape == (None, 100)
