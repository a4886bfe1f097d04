import pytest
from conftest import flags, read_results
from sklearn.dummy import DummyClassifier

import patchtst
import published
import rockets
from timemae import TimeMAEConfig


@pytest.mark.slow
def test_the_main_table_is_made_once_and_stands_beside_the_published(run_study, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(rockets.ROCKETS, "MiniRocket", DummyClassifier)  # test_few_labels.py has the real one
    monkeypatch.setattr(patchtst, "steps_in", lambda *arguments: 2)
    command = [
        *("paper.py", "--sources", "AD=JapaneseVowels", "--sets", "AD", "PS", "--seeds", 0),
        *flags(output_dir="paper", epochs=0.1, paper_epochs=0.1, min_steps=2, fine_tuning_steps=2),
    ]
    rows = ["FineZero+", "TST", "TimeMAE, original recipe", "TimeMAE", "PatchTST", "MiniRocket"]
    run_study(*command, "--rows", *rows[:4])
    assert "PS is left out: expected phoneme_spectra.npz or PhonemeSpectra" in capsys.readouterr().out
    run_study(*command, "--rows", *rows)
    printed = capsys.readouterr().out
    assert "AD/PatchTST/seed-0/fine_all.json" in printed and "AD/MiniRocket/seed-0/rocket.json" in printed
    assert "AD/TimeMAE/" not in printed and "AD/FineZero+/" not in printed
    scores = read_results(tmp_path / "paper")["metrics"]["scores"]["AD"]
    assert list(scores) == rows and scores["TST"]["fine_last"]["accuracy"]["mean"] > 0.8
    assert scores["TimeMAE"]["fine_last"]["accuracy"]["published"] == 95.76
    assert scores["TimeMAE, original recipe"]["fine_last"]["macro_f1"]["published"] == 95.75
    methods = read_results(tmp_path / "paper")["metrics"]["methods"]["AD"]
    assert methods["TST"]["features"] == 64 and methods["TimeMAE"]["features"] == 576
    assert 0 < methods["FineZero+"]["parameters"] < methods["TimeMAE"]["parameters"]
    assert methods["FineZero+"]["pretraining"] == [{}] and methods["TimeMAE"]["pretraining"][0]["steps"] == 2
    assert list(methods["TST"]["learning_rates"]) == ["0.0003", "0.001", "0.003"]
    config = TimeMAEConfig.from_pretrained(tmp_path / "paper" / "AD" / "TimeMAE-original-recipe" / "seed-0")
    assert config.mask_scope == "batch" and config.tokenizer_type == "learned"
    assert "| MiniRocket | - | - | - | - |" in (tmp_path / "paper" / "report.md").read_text()
    assert (tmp_path / "paper" / "paper.png").stat().st_size > 10_000


def test_data_are_found_by_name_or_the_error_says_what_was_expected(tmp_path, capsys):
    (tmp_path / "PhonemeSpectra").mkdir()
    found = published.find_sources(tmp_path, ["HAR=uci_har"], ["HAR", "AD", "PS"])
    assert found == {"HAR": "uci_har", "PS": str(tmp_path / "PhonemeSpectra")}
    assert "AD is left out: expected spoken_arabic_digits.npz" in capsys.readouterr().out
    for data, given in ((tmp_path, ["HAR"]), (tmp_path, ["other=x"]), (tmp_path / "none", []), (None, [])):
        with pytest.raises(ValueError, match="expected"):
            published.find_sources(data, given, ["AD"])


def test_epilepsy_at_random_and_by_recording_stand_beside_the_same_figure():
    figures = [
        published.published_figure("TST", name, "fine_last", "accuracy")
        for name in ("Epilepsy by recording", "Epilepsy at random")
    ]
    assert figures == [96.19, 96.19]
    assert published.published_figure("TST", "HAR", "fine_all", "accuracy") is None
