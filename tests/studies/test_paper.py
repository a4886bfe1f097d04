from argparse import Namespace

import numpy as np
import pytest
from conftest import flags, read_results
from datasets import Dataset
from sklearn.dummy import DummyClassifier

import paper
import patchtst
import peers
import published
import rockets
from base import Study
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
    assert methods["TST"]["features"] == 29 * 64 and methods["TimeMAE"]["features"] == 576
    assert 0 < methods["FineZero+"]["parameters"] < methods["TimeMAE"]["parameters"]
    assert methods["FineZero+"]["pretraining"] == [{}] and methods["TimeMAE"]["pretraining"][0]["steps"] == 2
    assert {"0.0003", "0.001", "0.003"} <= {*methods["TST"]["learning_rates"]}
    config = TimeMAEConfig.from_pretrained(tmp_path / "paper" / "AD" / "TimeMAE-original-recipe" / "seed-0")
    assert config.mask_scope == "batch" and config.tokenizer_type == "learned"
    assert "| MiniRocket | - | - | - | - |" in (tmp_path / "paper" / "report.md").read_text()
    assert (tmp_path / "paper" / "paper.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_other_rows_are_made_too(run_study, tmp_path, monkeypatch):
    monkeypatch.setitem(rockets.ROCKETS, "MultiRocket-Hydra", DummyClassifier)
    for name in ("TNC", "TS-TCC", "TS2Vec"):  # which train for as long as their papers say
        monkeypatch.setattr(peers.PEERS[name], "budget", staticmethod(lambda count: (0, 2)))
    rows = ["FineZero", "TNC", "TS-TCC", "TS2Vec", "TimeMAE, untrained", "MultiRocket-Hydra"]
    run_study(
        *("paper.py", "--sources", "AD=JapaneseVowels", "--sets", "AD", "--seeds", 0, "--rows", *rows),
        *flags(output_dir="paper", epochs=0.1, paper_epochs=0.1, min_steps=2, fine_tuning_steps=2),
    )
    metrics = read_results(tmp_path / "paper")["metrics"]
    scores, methods = metrics["scores"]["AD"], metrics["methods"]["AD"]
    assert list(scores) == rows
    assert all(0 < scores[row]["fine_last"]["accuracy"]["mean"] <= 1 for row in rows[:-1])
    assert all(0 <= scores[row]["fine_all"]["macro_f1"]["mean"] <= 1 for row in rows)
    assert [methods[row]["pretraining"][0].get("steps") for row in rows[:-1]] == [None, 2, 2, 2, None]
    assert scores["TNC"]["fine_last"]["accuracy"]["published"] == 92.38


def test_the_rate_of_fine_tuning_may_lie_beyond_the_edge_of_those_given(tmp_path, monkeypatch):
    arguments = Namespace(output_dir=tmp_path / "paper", learning_rates=[3e-4, 1e-3])
    table = paper.Table(arguments, Study("paper", arguments), "AD", "JapaneseVowels")
    labels = np.repeat([0, 1], 50)
    series = Dataset.from_dict({"past_values": [[[0.0]]] * 100, "labels": labels})
    table.task.parts_of_train = (series, series)
    num_wrong = {3e-4: 75, 1e-3: 50, 3e-3: 25}

    def fine_tune(row: str, seed: int, labelled: Dataset, rate: float):
        if rate not in num_wrong:
            raise FloatingPointError("expected a finite loss, got nan")
        return lambda _: np.where(np.arange(100) < num_wrong[rate], 1 - labels, labels)

    monkeypatch.setattr(table, "pretrain", lambda row, seed: {})
    monkeypatch.setattr(table, "fine_tune", fine_tune)
    assert table.choose_rate("TST") == 3e-3
    assert table.search_rate("TST") == {"0.0003": 0.25, "0.001": 0.5, "0.003": 0.75, "0.009": 0.0}


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
