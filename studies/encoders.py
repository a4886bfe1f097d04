"""The encoders that `compare_encoders.py` compares: from what the command line says to a model before its training."""

import copy
import hashlib
import re
from typing import Any

from torch import nn
from transformers import set_seed

from configuration_timemae import TimeMAEConfig
from modeling_timemae import TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification
from text_encoder_timemae import check_encoder_weights, load_text_encoder_config


OWN = re.compile(r"scratch(?:-(\d+)x(\d+))?")
INITS = ("random", "shuffled")


class Encoder:
    """
    One of the encoders to compare.

    All of them stand on the ground of the default recipe (`TimeMAEConfig`): codewords, statistics of the patches,
    pooling and no dropout, the transformers encoder included.

    Args:
        spec: `scratch`, TimeMAE's own; `scratch-LAYERSxWIDTH`, the same in another size; `NAME:MODEL`, a pretrained
            transformers encoder, MODEL a directory or a Hub id; `NAME-random:MODEL`, its architecture with new
            weights; or `NAME-shuffled:MODEL`, its weights in random order.

    Raises:
        ValueError: it is none of these.
    """

    def __init__(self, spec: str):
        self.name, _, self.path = spec.partition(":")
        own = OWN.fullmatch(self.name)
        if (own is None) == (not self.path) or not re.fullmatch(r"[\w.-]+", self.name):
            raise ValueError(
                "expected an encoder as `scratch`, `scratch-LAYERSxWIDTH`, `NAME:MODEL`, `NAME-random:MODEL` or "
                f"`NAME-shuffled:MODEL`, got {spec!r}"
            )
        self.init = next(
            (init for init in INITS if self.name.endswith(f"-{init}")), "pretrained" if self.path else "own"
        )
        self.size: dict[str, int] = {}
        if own is not None and own.group(1):
            layers, width = int(own.group(1)), int(own.group(2))
            heads = max(4, width // 64)  # 4 up to the width of 256, as TimeMAE has by default
            self.size = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads}

    def make(self, seed: int, num_hidden_layers: int | None, config: dict[str, Any]) -> TimeMAEForPreTraining:
        """
        Returns the model before any training.

        Args:
            seed: of what is drawn.
            num_hidden_layers: keep so many of the first layers of a transformers encoder; all if None.
            config: arguments of `TimeMAEConfig`.

        Raises:
            ValueError: there is no such encoder, it does not fit the series, or it has not the weights of its
                checkpoint.
        """
        set_seed(seed)
        if not self.path:
            return TimeMAEForPreTraining(TimeMAEConfig(**{**config, **self.size}))
        encoder_config = load_text_encoder_config(self.path, num_hidden_layers)
        for name, value in vars(encoder_config).items():
            if "dropout" in name and isinstance(value, float):
                setattr(encoder_config, name, 0.0)
        model = TimeMAEForPreTraining(TimeMAEConfig(encoder_config=encoder_config, **config))
        weights = model.load_encoder(self.path, self.init == "shuffled", config.get("encoder_input_scale"))
        check_encoder_weights(model, weights, self.path)
        if self.init != "random":
            return model
        # Windows as large beside the positions as with the pretrained weights: beside those of a new BERT they would
        # be no larger than these.
        scale = model.config.encoder_input_scale
        set_seed(seed)
        return TimeMAEForPreTraining(
            TimeMAEConfig(encoder_config=encoder_config, **config | {"encoder_input_scale": scale})
        )

    def identify(self, model: TimeMAEForPreTraining) -> dict[str, Any]:
        """Returns what tells this encoder from others that might have its name; `model` is one of [`Encoder.make`]."""
        config = model.config
        has_weights = self.init in ("pretrained", "shuffled")
        kind = "timemae" if config.encoder_config is None else config.encoder_config.model_type
        return {
            "start": self.init,
            "kind": kind,
            "layers": config.num_hidden_layers,
            "width": config.hidden_size,
            "heads": config.num_attention_heads,
            "input_scale": config.encoder_input_scale,
            "weights": digest(model.timemae.encoder) if has_weights else None,
        }


def digest(module: nn.Module) -> str:
    """Returns what tells the weights of a module from others."""
    weights = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        weights.update(name.encode() + value.numpy().tobytes())
    return weights.hexdigest()[:16]


def make_encoders(specs: list[str], num_hidden_layers: int | None) -> list[Encoder]:
    """
    Returns the encoders of a command line. `scratch` gets the size of the first transformers encoder, where there is
    one.

    Raises:
        ValueError: one is none, two have one name, a name stands for two models, or there is no such model.
    """
    encoders = [Encoder(spec) for spec in specs]
    names = [encoder.name for encoder in encoders]
    if len({*names}) < len(names):
        raise ValueError(f"expected encoders of different names, got {' '.join(names)}")
    paths: dict[str, str] = {}
    for encoder in encoders:
        base = encoder.name.removesuffix(f"-{encoder.init}")
        if paths.setdefault(base, encoder.path) != encoder.path:
            raise ValueError(f"expected one model for {base} and its controls, got {paths[base]} and {encoder.path}")
    path = next((encoder.path for encoder in encoders if encoder.path), None)
    if path is not None:
        like = load_text_encoder_config(path, num_hidden_layers)
        for encoder in encoders:
            if encoder.name == "scratch":
                sizes = ("num_hidden_layers", "hidden_size", "num_attention_heads")
                encoder.size = {name: getattr(like, name) for name in sizes}
    return encoders


def make_classifier(model: TimeMAEForPreTraining, num_labels: int) -> TimeMAEForTimeSeriesClassification:
    """Returns a classifier with the weights of a model as they are."""
    config = copy.deepcopy(model.config)
    config.num_labels = num_labels
    classifier = TimeMAEForTimeSeriesClassification(config)
    classifier.timemae.load_state_dict(model.timemae.state_dict())
    return classifier


def plan_pairs(encoders: list[Encoder]) -> list[tuple[str, str]]:
    """
    Returns the pairs of encoders whose comparison is planned: each pretrained one with its architecture with new
    weights, with its own weights in random order, and with each of TimeMAE's own. Where there is no such pair
    the first encoder is compared with each of the others.
    """
    names = [encoder.name for encoder in encoders]
    own = [encoder.name for encoder in encoders if encoder.init == "own"]
    pairs = []
    for encoder in encoders:
        if encoder.init == "pretrained":
            controls = [f"{encoder.name}-random", f"{encoder.name}-shuffled"]
            pairs += [(encoder.name, other) for other in [*controls, *own]]
    return [pair for pair in pairs if {*pair} <= {*names}] or [(names[0], other) for other in names[1:]]
