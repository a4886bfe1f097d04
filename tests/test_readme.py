import re

from conftest import ROOT


def test_python_snippets_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert len(snippets) >= 4
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), names)
    assert [len(scores) for scores in names["scores"]] == [2] * 4
    assert names["model"].config.num_labels == 9 and "pooler_output" in names["features"].column_names
    assert names["output"].pooler_output.shape == (4, 64)
    assert (tmp_path / "outputs" / "classifier" / "model.safetensors").is_file()
    assert "eval_codebook_perplexity" in capsys.readouterr().out
