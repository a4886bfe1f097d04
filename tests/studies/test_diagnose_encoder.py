import pytest
from conftest import flags, read_results


@pytest.mark.slow
def test_a_failing_encoder_is_diagnosed(run_study, tiny_bert, tmp_path):
    variants = [
        "failing setting",
        "gates from 0.05",
        "frozen for a third",
        "layer-wise rates",
        "TimeMAE's own encoder",
    ]
    command = [
        *("diagnose_encoder.py", "--encoder", tiny_bert, "--variants", *variants),
        *flags(dataset="JapaneseVowels", output_dir="diagnosis", every=2, patch_length=3),
        *flags(decoder_num_hidden_layers=1),
    ]
    run_study(*command, "--max_steps", 4)
    curves = read_results(tmp_path / "diagnosis")["metrics"]["curves"]
    assert list(curves) == variants
    for curve in curves.values():
        assert [entry["step"] for entry in curve] == [0, 2, 4]
        assert all(0 <= entry["probe_accuracy"] <= 1 and entry["spread"] > 0 for entry in curve)
        assert {"encoder layer 0", "encoder layer 1", "decoder"} <= set(curve[-1]["gradient_norms"])
    assert "encoder layer 0" not in curves["frozen for a third"][0]["gradient_norms"]
    assert (tmp_path / "diagnosis" / "diagnosis.png").is_file()
    with pytest.raises(ValueError, match="expected the settings of the diagnosis in diagnosis, got another max_steps"):
        run_study(*command, "--max_steps", 6)
