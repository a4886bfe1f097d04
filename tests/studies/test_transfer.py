import pytest
from conftest import flags, read_results


@pytest.mark.slow
def test_encoders_go_from_each_set_to_each_other_once(run_study, tmp_path, capsys):
    settings = {"epochs": 0.1, "min_steps": 2, "fine_tuning_steps": 2, "seeds": 0, "fractions": 0.1}
    sources = ("--sources", "AD=JapaneseVowels", "UWave=BasicMotions")
    command = ["transfer.py", *sources, *flags(output_dir="transfer", **settings)]
    run_study(*command, "--sets", "AD")
    capsys.readouterr()
    run_study(*command, "--sets", "AD", "UWave")
    printed = capsys.readouterr().out
    assert "UWave/seed-0/AD/transfer.json" in printed and "AD/seed-0/UWave/transfer.json" in printed
    assert "AD/seed-0/pretraining.json" not in printed and "AD/seed-0/from-scratch" not in printed
    accuracy = read_results(tmp_path / "transfer")["metrics"]["accuracy"]["0.1"]
    assert list(accuracy) == ["from scratch", "AD", "UWave"] and list(accuracy["AD"]) == ["AD", "UWave"]
    metrics = read_results(tmp_path / "transfer")["metrics"]
    assert [(test["pair"][0], test["target"]) for test in metrics["planned_comparisons"]] == [
        (source, target) for target in ("AD", "UWave") for source in ("AD", "UWave")
    ]
    rates = metrics["learning_rates"]["AD"]
    assert {*rates} == {"scratch", "pre-trained"} and {"0.0003", "0.001", "0.003"} <= {*rates["scratch"]["0.1"]}
    assert (tmp_path / "transfer" / "transfer.png").stat().st_size > 10_000
