import pytest
from conftest import flags, read_results


@pytest.mark.slow
def test_encoders_are_compared_and_no_finished_run_is_lost(run_study, tiny_bert, tmp_path, capsys):
    command = [
        *("compare_encoders.py", "--encoders", "scratch", f"bert:{tiny_bert}"),
        *("--seeds", 0, 1, "--fractions", 1.0, "--encoder_learning_rates", 1e-4, 1e-3),
        *flags(dataset="JapaneseVowels", output_dir="encoders", max_steps=2, fine_tuning_steps=2, patch_length=3),
        *flags(decoder_num_hidden_layers=1, config='{"codebook_size": 8}'),
    ]
    run_study(*command)
    results = read_results(tmp_path / "encoders")["metrics"]
    assert list(results["encoders"]) == ["scratch", "bert"]
    for result in results["encoders"].values():
        assert result["encoder_learning_rate"] in (1e-4, 1e-3)
        for modes in result["test_accuracy"].values():
            assert all(len(scores) == 2 and 0 <= min(scores) <= max(scores) <= 1 for scores in modes.values())
    assert len(results["paired_tests"]) == 3
    assert {"report.md", "curves.png", "labels.png"} <= {path.name for path in (tmp_path / "encoders").iterdir()}

    # A run that was lost is made again and gives the same; the others are not.
    (tmp_path / "encoders" / "bert" / "seed-1" / "untouched.json").unlink()
    capsys.readouterr()
    run_study(*command)
    printed = capsys.readouterr().out
    assert "bert/seed-1/untouched.json" in printed and "pretraining.json" not in printed
    assert read_results(tmp_path / "encoders")["metrics"] == results
    with pytest.raises(ValueError, match="expected the settings of the comparison in encoders, got another max_steps"):
        run_study(*command[:-4], *flags(decoder_num_hidden_layers=1, config='{"codebook_size": 8}', max_steps=3))


@pytest.mark.slow
def test_encoders_in_the_same_time(run_study, tiny_bert, tmp_path, monkeypatch):
    durations = []
    monkeypatch.setattr("statistics.median", lambda values: durations.extend(values) or 0.4)  # seconds a step
    run_study(
        *("compare_encoders.py", "--encoders", f"bert:{tiny_bert}", "--seeds", 0, "--fractions", 1.0),
        *("--encoder_learning_rates", 1e-3),
        *flags(dataset="JapaneseVowels", output_dir="encoders", max_minutes=0.02, fine_tuning_steps=1, patch_length=3),
        *flags(decoder_num_hidden_layers=1),
    )
    bert = read_results(tmp_path / "encoders")["metrics"]["encoders"]["bert"]
    assert bert["steps"] == [3]
    assert len(durations) == 20 and min(durations) > 0


@pytest.mark.parametrize(
    ("encoders", "message"),
    [
        (["scratch"], "expected at least one pretrained encoder"),
        (["bert"], "expected an encoder as `scratch`, `NAME:PATH`.* got 'bert'"),
        (["scratch", "bert:{bert}/nowhere"], "expected a transformers encoder in '.*nowhere'"),
        (["bert:{bert}", "bert:{bert}"], "expected encoders of different names"),
    ],
)
def test_a_comparison_refuses_what_it_cannot_compare(run_study, tiny_bert, tmp_path, encoders, message):
    specs = [spec.format(bert=tiny_bert) for spec in encoders]
    with pytest.raises(ValueError, match=message):
        run_study(
            "compare_encoders.py",
            *("--encoders", *specs),
            *flags(dataset="JapaneseVowels", output_dir="encoders", max_steps=1),
        )
    assert not (tmp_path / "encoders").exists()
