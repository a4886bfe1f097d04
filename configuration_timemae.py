# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Configuration of TimeMAE (Cheng et al., 2023, https://arxiv.org/abs/2303.00320)."""

import difflib
import math
import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal

from huggingface_hub.dataclasses import strict
from transformers.activations import ACT2FN
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.auto.configuration_auto import AutoConfig


try:
    from transformers.configuration_utils import SubConfigSpec
except ImportError:  # before transformers 5.20
    SubConfigSpec = None


# The library finds the code of a checkpoint by following lines of this form. From each of these files they lead to all
# of them, so that every save carries all, and code that differs anywhere is kept apart in one process.
if TYPE_CHECKING:
    from .feature_extraction_timemae import TimeMAEFeatureExtractor  # noqa: F401
    from .modeling_timemae import TimeMAEModel  # noqa: F401
    from .pipeline_timemae import TimeSeriesClassificationPipeline  # noqa: F401


# Where a checkpoint's own code has the class for each Auto class, and its pipeline.
AUTO_MAP = {
    "AutoConfig": "configuration_timemae.TimeMAEConfig",
    "AutoFeatureExtractor": "feature_extraction_timemae.TimeMAEFeatureExtractor",
    "AutoModel": "modeling_timemae.TimeMAEModel",
    "AutoModelForPreTraining": "modeling_timemae.TimeMAEForPreTraining",
    "AutoModelForSequenceClassification": "modeling_timemae.TimeMAEForTimeSeriesClassification",
}
CUSTOM_PIPELINES = {
    "time-series-classification": {
        "impl": "pipeline_timemae.TimeSeriesClassificationPipeline",
        "pt": ["AutoModelForSequenceClassification"],
    }
}

# Torch's initialisation of the patch convolution gives patches of standardised series a variance of 1/3; this factor
# makes it 1.
UNIT_VARIANCE_SCALE = 3**0.5

# What the recipe of the paper has in the place of ours; `TimeMAEConfig.paper` takes it.
PAPER_RECIPE = {
    "tokenizer_type": "learned",
    "position_initializer_range": None,
    "patch_statistics": False,
    "pooling": "mean",
    "num_pooled_layers": 1,
    "hidden_dropout_prob": 0.2,
    "attention_probs_dropout_prob": 0.2,
}

# What transformers itself passes to a configuration or keeps in config.json, beside the declared fields.
_LIBRARY_ARGUMENTS = {
    "attn_implementation",
    "auto_map",
    "custom_pipelines",
    "experts_implementation",
    "model_type",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "per_layer_config",
    "quantization_config",
    "tie_last_hidden_states",
    "torch_dtype",
    "use_cache",
}


def count_patches(num_steps: int, patch_length: int) -> int:
    """Returns the number of patches of a series of `num_steps` time steps, the last one padded: ⌈T / δ⌉."""
    return math.ceil(num_steps / patch_length)


@strict
class TimeMAEConfig(PreTrainedConfig):
    r"""
    Configuration of a TimeMAE model. The defaults are a recipe of our own in the sizes of the code published with the
    paper; [`TimeMAEConfig.paper`] has the recipe of the paper. Where the paper (Section 4.1.4) says otherwise, the
    argument says so; docs/training.md ("Choose a recipe") and docs/fidelity.md have the differences.

    Args:
        num_channels (`int`, defaults to 1):
            Number of variables observed at each time step (*m* in the paper).
        sequence_length (`int`, defaults to 128):
            Longest series the position table covers, in time steps. Shorter series are accepted.
        patch_length (`int`, defaults to 8):
            Length of the slicing window in time steps (*δ*, Section 3.3.1). Windows do not overlap.
        hidden_size (`int`, *optional*):
            Width of the embeddings and of all layers (*d*); 64 if not given, or the width of `encoder_config`.
        num_hidden_layers (`int`, *optional*):
            Layers of the visible encoder (*L_v*, Section 3.4.1), and of its momentum copy; 8 if not given, or those of
            `encoder_config`.
        num_attention_heads (`int`, *optional*):
            Attention heads of each layer; must divide `hidden_size`. 4 if not given, or those of `encoder_config`.
        intermediate_size (`int`, *optional*):
            Width of the feed-forward layers; 4 · `hidden_size` if not given.
        hidden_act (`str`, defaults to `"gelu"`):
            Activation of the feed-forward layers, a name that `transformers.activations` knows.
        hidden_dropout_prob (`float`, defaults to 0.0):
            Dropout on the output of each sub-layer; 0.2 in the paper's code.
        attention_probs_dropout_prob (`float`, defaults to 0.0):
            Dropout on the attention weights; 0.2 in the paper's code.
        classifier_dropout (`float`, defaults to 0.0):
            Dropout on the pooled representation before the classification head.
        decoder_num_hidden_layers (`int`, defaults to 4):
            Cross-attention layers of the decoupled encoder (*L_m*, Section 3.4.2); the paper says six, its code four.
        mask_ratio (`float`, defaults to 0.6):
            Share of the patches of a series that pre-training hides: ⌊ratio · patches⌋ of them (Section 3.3.2).
        mask_scope (`"sample"` or `"batch"`, defaults to `"sample"`):
            Whether every series draws its own mask, or one mask serves the batch, as in the original code.
        codebook_size (`int`, defaults to 192):
            Number of codewords of the tokenizer (Section 3.5.1).
        tokenizer_type (`"learned"` or `"random_projection"`, defaults to `"random_projection"`):
            How patches get their codewords: from a tokenizer that learns along, as in the paper (Section 3.5.1), or by
            a random projection of what the patch embedding reads and a random codebook, both frozen, as in BEST-RQ
            (Chiu et al., 2022).
        tokenizer_projection_size (`int`, defaults to 16):
            Dimensions of that projection; a learned tokenizer has none.
        gumbel_temperature (`float`, defaults to 1.0):
            Temperature of the Gumbel-softmax of equation (3), of the learned tokenizer. It shapes the gradient of
            equation (4); the codeword that is drawn does not depend on it.
        gumbel_noise_scale (`float`, defaults to 1.0):
            Factor on the Gumbel noise that is added to the learned tokenizer's codeword scores in training. 0 takes
            the best-scoring codeword, which is also what evaluation does. With noise the codeword perplexity of
            training says little: the noise keeps it high.
        codeword_gradient (`"straight_through"` or `"detached"`, defaults to `"detached"`):
            Whether the codeword labels carry a gradient to the tokenizer, equation (4), or none, as in the original
            code and where the tokenizer does not learn. With the gradient the tokenizer learns to give the codewords
            that are easy to predict: on HAR the codebook collapses to about two codewords within ten epochs.
        label_smoothing (`float`, defaults to 0.2):
            Label smoothing of the codeword cross-entropy.
        mcc_loss_weight (`float`, defaults to 1.0):
            Weight of masked codeword classification in the loss (Section 3.5.3).
        mrr_loss_weight (`float`, defaults to 5.0):
            Weight of masked representation regression in the loss (Section 3.5.3).
        momentum (`float`, defaults to 0.99):
            Share of itself that the target encoder keeps in each update (*τ*, Section 3.5.2).
        residual_gate_init (`float`, *optional*, defaults to 0.1):
            Start of the learned scalar on each sub-layer's output, which the residual sum adds; 1e-8 in the original
            code. `None`: no gates.
        initializer_range (`float`, *optional*):
            Standard deviation of the normal initialisation of all weight matrices but those of `patch_statistics`, and
            of the mask token. If not given, as in the original code: Xavier-normal linear layers, a standard normal
            mask token, and torch's default (Kaiming-uniform) for the patch convolution.
        position_initializer_range (`float`, *optional*, defaults to 0.1):
            Standard deviation of the initial position table, beside patch embeddings with one of about 0.6; BERT
            (Devlin et al., 2019) has both alike and small. If None, `initializer_range`, or 1 as in the original code.
        patch_statistics (`bool`, defaults to True):
            Whether the patch embedding reads, beside the values of a patch, these normalised by themselves, their mean
            and the logarithm of their amplitude spectrum, by channel; similar to NuTime (Lin et al., 2024).
        pooling (`"mean"`, `"mean_max_std"` or `"attention"`, defaults to `"mean_max_std"`):
            How the patches of a series become its features and what the classification head reads: their mean, as in
            the paper; mean, maximum and standard deviation side by side, as speaker recognition has mean and deviation
            (Snyder et al., 2018); or attention with one query (Okabe et al., 2018), which starts as the mean, learns
            along with the classification head, and for a linear probe of a pre-trained model is the mean.
        num_pooled_layers (`int`, *optional*):
            How many layers are pooled side by side, evenly spaced from the embeddings to the last one; 1 is the last.
            Features of BERT are of several layers, too (Devlin et al., 2019, Section 5.3). Defaults to 3, or to all
            where there are fewer; with `encoder_projection` to 1.
        layer_norm_eps (`float`, defaults to 1e-5):
            Epsilon of the layer normalisations.
        encoder_config (`PreTrainedConfig` or `dict`, *optional*):
            Configuration of a transformers encoder that takes `inputs_embeds` (BERT, RoBERTa, DistilBERT, ELECTRA,
            ModernBERT, ...), which then is the visible encoder, with its own position embeddings, activation and
            dropout; what the arguments above say of layers holds for the decoupled encoder alone. `None`: TimeMAE's
            own encoder. See [`~TimeMAEPreTrainedModel.from_encoder_pretrained`] for its weights.
        encoder_input_scale (`float`, *optional*):
            Factor on the patch embeddings where they enter `encoder_config`'s model. If not given, the one that brings
            those of standardised series to the standard deviation of its word embeddings, freshly initialised;
            [`~TimeMAEPreTrainedModel.load_encoder`] sets it for those that were trained.
        encoder_projection (`bool`, defaults to False):
            Whether linear layers before and after `encoder_config`'s model may bridge between its width and another
            `hidden_size`.

    Raises:
        ValueError: a value out of its range, two values that contradict each other, or an unknown argument. The
            message names the argument, what was expected and what came.

    Example:

    ```python
    >>> from timemae import TimeMAEConfig, TimeMAEForPreTraining

    >>> config = TimeMAEConfig(num_channels=9, sequence_length=128)
    >>> config.num_patches
    16
    >>> model = TimeMAEForPreTraining(config)
    ```"""

    model_type = "timemae"
    if SubConfigSpec is None:
        sub_configs = {"encoder_config": AutoConfig}
    else:
        sub_configs_defaults = {
            "encoder_config": SubConfigSpec(config_class=AutoConfig, model_type="bert", optional=True)
        }

    num_channels: int = 1
    sequence_length: int = 128
    patch_length: int = 8
    hidden_size: int | None = None
    num_hidden_layers: int | None = None
    num_attention_heads: int | None = None
    intermediate_size: int | None = None
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    classifier_dropout: float | int = 0.0
    decoder_num_hidden_layers: int = 4
    mask_ratio: float = 0.6
    mask_scope: Literal["sample", "batch"] = "sample"
    codebook_size: int = 192
    tokenizer_type: Literal["learned", "random_projection"] = "random_projection"
    tokenizer_projection_size: int = 16
    gumbel_temperature: float | int = 1.0
    gumbel_noise_scale: float | int = 1.0
    codeword_gradient: Literal["straight_through", "detached"] = "detached"
    label_smoothing: float | int = 0.2
    mcc_loss_weight: float | int = 1.0
    mrr_loss_weight: float | int = 5.0
    momentum: float | int = 0.99
    residual_gate_init: float | int | None = 0.1
    initializer_range: float | None = None
    position_initializer_range: float | int | None = 0.1
    patch_statistics: bool = True
    pooling: Literal["mean", "mean_max_std", "attention"] = "mean_max_std"
    num_pooled_layers: int | None = None
    layer_norm_eps: float = 1e-5
    encoder_config: PreTrainedConfig | dict | None = None
    encoder_input_scale: float | int | None = None
    encoder_projection: bool = False

    def __post_init__(self, **kwargs):
        declared = {field.name for field in fields(self)}
        unknown = sorted(
            name for name in kwargs if name not in _LIBRARY_ARGUMENTS | declared and not name.startswith("_")
        )
        # A saved configuration, which carries a version, may also hold attributes that somebody set on it.
        if unknown and self.transformers_version is None:
            close = [difflib.get_close_matches(name, declared, n=1) for name in unknown]
            hints = [f" (did you mean `{match[0]}`?)" if match else "" for match in close]
            named = ", ".join(f"`{name}`{hint}" for name, hint in zip(unknown, hints, strict=True))
            raise ValueError(f"TimeMAEConfig does not know the argument {named}.")
        if not __package__:
            # Installed code stands for that of a checkpoint, which would ask for `trust_remote_code`.
            for name in ("auto_map", "custom_pipelines"):
                kwargs.pop(name, None)
        if SubConfigSpec is None and isinstance(self.encoder_config, dict):
            self.encoder_config = AutoConfig.for_model(**{"model_type": "bert", **self.encoder_config})
        super().__post_init__(**kwargs)
        for name, default in (("hidden_size", 64), ("num_hidden_layers", 8), ("num_attention_heads", 4)):
            if getattr(self, name) is None:
                setattr(self, name, getattr(self.encoder_config, name, default))
        if self.num_pooled_layers is None and self.num_hidden_layers is not None:
            self.num_pooled_layers = 1 if self.encoder_projection else min(3, self.num_hidden_layers + 1)
        if self.intermediate_size is None and self.hidden_size is not None:
            self.intermediate_size = 4 * self.hidden_size
        if self.encoder_input_scale is None and self.encoder_config is not None:
            std = getattr(self.encoder_config, "initializer_range", 0.02)
            self.encoder_input_scale = std * UNIT_VARIANCE_SCALE

    @classmethod
    def paper(cls, **kwargs) -> "TimeMAEConfig":
        """
        Makes a configuration with the recipe of the paper, as its code has it, where the defaults are ours.

        Args:
            **kwargs: as for the class; they go before the recipe.

        Returns:
            the configuration.
        """
        return cls(**PAPER_RECIPE | kwargs)

    def to_dict(self) -> dict[str, Any]:
        """Returns what is saved, without the path that the configuration of the encoder came from."""
        content = super().to_dict()
        if isinstance(content.get("encoder_config"), dict):
            content["encoder_config"].pop("_name_or_path", None)
        return content

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        """
        Makes a configuration as in the library, but labels that are passed replace those of a checkpoint altogether,
        and a saved configuration from before there was a recipe of our own has that of the paper.
        """
        if "transformers_version" in config_dict:
            config_dict = PAPER_RECIPE | config_dict
        if "num_labels" in kwargs or "id2label" in kwargs:
            config_dict = {
                name: value
                for name, value in config_dict.items()
                if name not in ("num_labels", "id2label", "label2id")
            }
        if "problem_type" in kwargs:  # before the library looks whether it fits the labels
            config_dict = {**config_dict, "problem_type": kwargs["problem_type"]}
        if "id2label" in kwargs:
            kwargs["id2label"] = {int(index): label for index, label in kwargs["id2label"].items()}  # JSON has strings
            kwargs.setdefault("label2id", {label: index for index, label in kwargs["id2label"].items()})
        made = super().from_dict(config_dict, **kwargs)
        (made[0] if isinstance(made, tuple) else made).validate()  # with what was given anew
        return made

    @classmethod
    def from_json_file(cls, json_file: str | os.PathLike) -> "TimeMAEConfig":
        """Makes a configuration from a config.json, as `from_pretrained` does from the directory that it is in."""
        return cls.from_dict(cls._dict_from_json_file(json_file))

    def to_diff_dict(self) -> dict[str, Any]:
        """Returns what config.json holds: all that is not a default, and the recipe in any case."""
        return {**super().to_diff_dict(), **{name: getattr(self, name) for name in PAPER_RECIPE}}

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs):
        """Saves as in the library, with the code of the model and, in config.json, what finds each class in it."""
        own = {name: reference for name, reference in getattr(self, "auto_map", {}).items() if "--" not in reference}
        self.auto_map, self.custom_pipelines = {**AUTO_MAP, **own}, CUSTOM_PIPELINES
        super().save_pretrained(save_directory, **kwargs)
        if not __package__:
            del self.auto_map, self.custom_pipelines

    @property
    def num_patches(self) -> int:
        """Number of patches of a series of `sequence_length` time steps."""
        return count_patches(self.sequence_length, self.patch_length)

    @property
    def pooled_size(self) -> int:
        """Number of features of a series: of `pooler_output`, and what the classification head reads."""
        parts = 3 if self.pooling == "mean_max_std" else 1
        return parts * self.num_pooled_layers * self.hidden_size  # type: ignore[operator]  # __post_init__ has set both

    def num_masked_patches(self, num_patches: int) -> int:
        """Number of patches that pre-training hides out of `num_patches`: ⌊`mask_ratio` · `num_patches`⌋."""
        return int(self.mask_ratio * num_patches)

    def validate_architecture(self):
        """Checks ranges and contradictions; called by `@strict` whenever a configuration is made or loaded."""
        sizes = (
            "num_channels",
            "sequence_length",
            "patch_length",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "decoder_num_hidden_layers",
            "tokenizer_projection_size",
            "num_pooled_layers",
        )
        for name in sizes:
            if getattr(self, name) < 1:
                raise ValueError(f"expected `{name}` of at least 1, got {getattr(self, name)}")
        if self.codebook_size < 2:
            raise ValueError(f"expected `codebook_size` of at least 2, got {self.codebook_size}")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"expected `{name}` in [0, 1), got {getattr(self, name)}")
        for name in ("mcc_loss_weight", "mrr_loss_weight", "gumbel_noise_scale"):
            if not (0 <= getattr(self, name) < math.inf):
                raise ValueError(f"expected a finite `{name}` of at least 0, got {getattr(self, name)}")
        for name in ("gumbel_temperature", "layer_norm_eps"):
            if not (0 < getattr(self, name) < math.inf):
                raise ValueError(f"expected a finite `{name}` above 0, got {getattr(self, name)}")
        for name in ("initializer_range", "position_initializer_range"):
            value = getattr(self, name)
            if value is not None and not (0 < value < math.inf):
                raise ValueError(f"expected a finite `{name}` above 0, or None, got {value}")
        if self.residual_gate_init is not None and not math.isfinite(self.residual_gate_init):
            raise ValueError(f"expected a finite `residual_gate_init`, or None, got {self.residual_gate_init}")
        if self.codeword_gradient == "straight_through" and self.tokenizer_type != "learned":
            raise ValueError(
                'expected `tokenizer_type="learned"` with `codeword_gradient="straight_through"`, as no other learns '
                f"by a gradient, got {self.tokenizer_type!r}"
            )
        if self.mcc_loss_weight == self.mrr_loss_weight == 0:
            raise ValueError("expected `mcc_loss_weight` or `mrr_loss_weight` above 0, got 0 for both")
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"expected `momentum` in [0, 1], got {self.momentum}")
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"expected `hidden_act` to be one of {sorted(ACT2FN)}, got {self.hidden_act!r}")
        if self.encoder_config is not None:
            self._validate_encoder(self.encoder_config)
        if self.hidden_size % self.num_attention_heads:  # type: ignore[operator]  # __post_init__ has set both
            raise ValueError(
                "expected `hidden_size` to be divisible by `num_attention_heads`, "
                f"got {self.hidden_size} and {self.num_attention_heads}"
            )
        if self.num_pooled_layers > self.num_hidden_layers + 1:  # type: ignore[operator]
            raise ValueError(
                f"expected `num_pooled_layers` of at most {self.num_hidden_layers + 1}, the embeddings and "  # type: ignore[operator]
                f"`num_hidden_layers`, got {self.num_pooled_layers}"
            )
        if self.num_pooled_layers > 1 and self.encoder_projection:  # type: ignore[operator]
            raise ValueError(
                "expected `num_pooled_layers` of 1 with `encoder_projection`, as layers within have another width, "
                f"got {self.num_pooled_layers}"
            )
        if self.patch_length > self.sequence_length:
            raise ValueError(
                "expected `patch_length` of at most `sequence_length`, "
                f"got {self.patch_length} and {self.sequence_length}"
            )
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"expected `mask_ratio` in (0, 1), got {self.mask_ratio}")
        if self.encoder_input_scale is not None and not (0 < self.encoder_input_scale < math.inf):
            raise ValueError(f"expected a finite `encoder_input_scale` above 0, got {self.encoder_input_scale}")
        super().validate_architecture()

    def _validate_encoder(self, encoder: PreTrainedConfig) -> None:
        kind = f"{encoder.model_type!r} encoder"
        sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
        missing = [name for name in sizes if getattr(encoder, name, None) is None]
        if missing or encoder.is_encoder_decoder:
            raise ValueError(f"expected `encoder_config` of an encoder such as BERT, got {encoder.model_type!r}")
        if encoder.hidden_size % encoder.num_attention_heads:
            raise ValueError(
                f"expected the width of the {kind} to be divisible by its heads, "
                f"got {encoder.hidden_size} and {encoder.num_attention_heads}"
            )
        if self.num_hidden_layers != encoder.num_hidden_layers:
            raise ValueError(
                f"expected `num_hidden_layers` as in `encoder_config`, {encoder.num_hidden_layers}, "
                f"got {self.num_hidden_layers}"
            )
        widths = {encoder.hidden_size, getattr(encoder, "embedding_size", encoder.hidden_size)}
        if widths != {self.hidden_size} and not self.encoder_projection:
            raise ValueError(
                f"expected `hidden_size` to be the width of the {kind} and of its embeddings, "
                f"{' and '.join(map(str, sorted(widths)))}, got {self.hidden_size}; "
                "`encoder_projection=True` bridges between different widths"
            )


TimeMAEConfig.register_for_auto_class()


__all__ = ["TimeMAEConfig", "count_patches"]
