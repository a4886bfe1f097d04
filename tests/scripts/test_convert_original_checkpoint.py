import pytest
import torch
from conftest import FIXTURES
from safetensors.torch import load_file

from timemae import TimeMAEForPreTraining


def test_convert_refuses_bad_checkpoints(run_script, tmp_path, capsys):
    def refused(checkpoint, message, *arguments):
        with pytest.raises(SystemExit):
            run_script("convert_original_checkpoint.py", checkpoint, "converted", *arguments)
        assert message in capsys.readouterr().err
        assert not (tmp_path / "converted").exists()

    original = FIXTURES / "original_state_dict.safetensors"
    refused("missing.pkl", "found no file at missing.pkl")
    (tmp_path / "garbage.pkl").write_bytes(b"garbage")
    refused("garbage.pkl", "garbage.pkl")
    (tmp_path / "garbage.safetensors").write_bytes(b"garbage")
    refused("garbage.safetensors", "could not read garbage.safetensors")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pkl")
    refused("other.pkl", "expected the weights of an original TimeMAE in other.pkl")
    torch.save({"run": print}, tmp_path / "code.pkl")
    refused("code.pkl", "weights_only=True")
    refused(original, "divisible", "--num_attention_heads", "3")


def test_convert_reads_pickles(run_script, tmp_path):
    state_dict = load_file(FIXTURES / "original_state_dict.safetensors")
    torch.save(state_dict, tmp_path / "original.pkl")
    run_script("convert_original_checkpoint.py", "original.pkl", "converted")
    model = TimeMAEForPreTraining.from_pretrained(tmp_path / "converted")
    assert model.tokenizer.weight.equal(state_dict["tokenizer.center.weight"])
