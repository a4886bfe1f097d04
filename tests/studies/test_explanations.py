import importlib.util

import pytest
from conftest import flags, read_results


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("captum") is None, reason="captum is not installed")
def test_deletion_is_measured_for_all_methods_and_nothing_is_made_twice(run_study, tmp_path, capsys):
    command = [
        *("explanations.py", "--dataset", "JapaneseVowels", "--shares", 0, 0.3, "--random_orders", 3),
        *flags(patch_length=3, output_dir="explanations", pretraining_steps=4, fine_tuning_steps=4, num_series=5),
    ]
    run_study(*command, "--seeds", 0)
    capsys.readouterr()
    run_study(*command, "--seeds", 0, 1)
    printed = capsys.readouterr().out
    assert "seed-1/deletion.json" in printed and "seed-0" not in printed
    metrics = read_results(tmp_path / "explanations")["metrics"]
    curves = metrics["probability"]
    for methods in curves.values():
        assert set(methods) == {"integrated_gradients", "occlusion", "attention", "random"}
        for shares in methods.values():  # nothing is hidden
            assert shares["0"]["values"] == pytest.approx(methods["random"]["0"]["values"], abs=1e-5)
    for method, fill in (("occlusion", "missing"), ("integrated_gradients", "zero")):
        assert curves[fill][method]["0.3"]["mean"] < curves[fill]["random"]["0.3"]["mean"]
    pairs = [test["pair"] for test in metrics["planned_comparisons"]]
    assert len(pairs) == 6 and ["random, missing", "occlusion, missing"] in pairs
    for picture in ("deletion.png", "explanation.png"):
        assert (tmp_path / "explanations" / picture).stat().st_size > 10_000
