#!/usr/bin/env python
"""
Turns a state dict of the original TimeMAE code into a saved model directory.

    python scripts/convert_original_checkpoint.py pretrain_model.pkl outputs/converted
    python scripts/convert_original_checkpoint.py model.pkl outputs/classifier --task classification

Sizes are read off the weights. Two settings leave no trace there: the number of attention heads
(--num_attention_heads) and the mask ratio (--mask_ratio).
"""

import argparse
import re
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file

from timemae import TimeMAEConfig, TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification


RENAMED = [
    (r"^input_projection\.", "timemae.embeddings.patch_embeddings."),
    (r"^position\.pe\.weight$", "timemae.embeddings.position_embeddings"),
    (r"^encoder\.TRMs\.", "timemae.encoder.layers."),
    (r"^momentum_encoder\.TRMs\.", "target_encoder.layers."),
    (r"^reg\.layers\.", "decoder.layers."),
    (r"^tokenizer\.center\.", "tokenizer."),
    (r"^predict_head\.", "classifier."),
    (r"\.attn\.linear_layers\.0\.", ".attention.q_proj."),
    (r"\.attn\.linear_layers\.1\.", ".attention.k_proj."),
    (r"\.attn\.linear_layers\.2\.", ".attention.v_proj."),
    (r"\.attn\.output_linear\.", ".attention.o_proj."),
    (r"\.ffn\.linear(\d)\.", r".mlp.fc\1."),
    (r"\.skipconnect1\.", ".attention_residual."),
    (r"\.skipconnect2\.", ".mlp_residual."),
    (r"\.a$", ".gate"),
    (r"\.norm\.", ".layer_norm."),
]
MODELS = {"pretraining": TimeMAEForPreTraining, "classification": TimeMAEForTimeSeriesClassification}


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"expected a .pkl or .safetensors state dict, found no file at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state_dict = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ValueError(f"expected a readable state dict, could not read {path}: {error}") from error
    except Exception as error:  # pickle.UnpicklingError and what its opcodes raise on garbage
        raise ValueError(f"expected a state dict that loads with weights_only=True, got {path}: {error}") from error
    if not isinstance(state_dict, dict) or not all(isinstance(value, torch.Tensor) for value in state_dict.values()):
        raise ValueError(f"expected a dictionary of tensors in {path}, got {type(state_dict).__name__}")
    return state_dict


def rename(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Gives the weights our names, without the key biases, which have no effect on any output."""
    renamed = {}
    for name, tensor in state_dict.items():
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        if not name.endswith(".k_proj.bias"):
            renamed[name] = tensor.reshape(1) if name.endswith(".gate") else tensor
    return renamed


def infer_config(state_dict: dict[str, torch.Tensor], **settings) -> TimeMAEConfig:
    """Reads the sizes off a renamed state dict; `codeword_gradient` and `mask_scope` are those of the original."""

    def num_layers(prefix: str) -> int:
        found = (re.match(prefix + r"(\d+)", name) for name in state_dict)
        return len({match[1] for match in found if match})

    hidden_size, num_channels, patch_length = state_dict["timemae.embeddings.patch_embeddings.weight"].shape
    return TimeMAEConfig.paper(
        num_channels=num_channels,
        sequence_length=len(state_dict["timemae.embeddings.position_embeddings"]) * patch_length,
        patch_length=patch_length,
        hidden_size=hidden_size,
        num_hidden_layers=num_layers(r"timemae\.encoder\.layers\."),
        decoder_num_hidden_layers=num_layers(r"decoder\.layers\."),
        intermediate_size=len(state_dict["timemae.encoder.layers.0.mlp.fc1.weight"]),
        codebook_size=len(state_dict["tokenizer.weight"]),
        num_labels=len(state_dict["classifier.weight"]),
        mask_scope="batch",
        codeword_gradient="detached",
        **settings,
    )


def convert(checkpoint: Path, output: Path, task: str = "pretraining", **settings) -> None:
    """
    Writes a model directory from an original checkpoint.

    Raises:
        FileNotFoundError, ValueError: a file that is missing, unreadable or no TimeMAE; heads that do not divide the
            width; an output directory that is not empty.
    """
    state_dict = rename(read_state_dict(checkpoint))
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"expected an empty or new output directory, got {output}")
    try:
        config = infer_config(state_dict, **settings)
    except KeyError as error:
        raise ValueError(f"expected the weights of an original TimeMAE in {checkpoint}, found no {error}") from None
    except StrictDataclassError as error:
        raise ValueError(str(error)) from None
    model = MODELS[task](config)
    wanted = {name: tensor for name, tensor in state_dict.items() if name in model.state_dict()}
    model.load_state_dict(wanted)
    model.save_pretrained(output)
    print(f"{checkpoint} -> {output}: {type(model).__name__} with {model.num_parameters():,} parameters")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help=".pkl or .safetensors state dict of the original code")
    parser.add_argument("output", type=Path, help="new directory for config.json and model.safetensors")
    parser.add_argument("--task", choices=MODELS, default="pretraining", help="which heads to keep")
    parser.add_argument("--num_attention_heads", type=int, default=4)
    parser.add_argument("--mask_ratio", type=float, default=0.6)
    arguments = parser.parse_args()
    try:
        convert(**vars(arguments))
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
