# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""
A transformers encoder (BERT, RoBERTa, DistilBERT, ELECTRA, ModernBERT, ...) as the visible encoder of TimeMAE: the
encoder, the checks of what can be one, and its pretrained weights.
"""

import inspect
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES, MODEL_MAPPING
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, logging


try:
    from .configuration_timemae import UNIT_VARIANCE_SCALE, TimeMAEConfig, count_patches
except ImportError:
    if __package__:
        raise
    from configuration_timemae import UNIT_VARIANCE_SCALE, TimeMAEConfig, count_patches

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TextEncoderMixin:
    """What a TimeMAE model with a transformers encoder can do more: take that encoder's pretrained weights."""

    if TYPE_CHECKING:  # a part of every PreTrainedModel
        config: TimeMAEConfig
        base_model: "PreTrainedModel"

        def __init__(self, config: TimeMAEConfig): ...

    @classmethod
    def from_encoder_pretrained(
        cls,
        name_or_path: str,
        *,
        num_hidden_layers: int | None = None,
        init: Literal["pretrained", "random", "shuffled"] = "pretrained",
        freeze: bool = False,
        encoder_kwargs: dict[str, Any] | None = None,
        **config,
    ) -> "PreTrainedModel":
        r"""
        A model whose visible encoder is a pretrained transformers encoder: BERT, RoBERTa, DistilBERT, ELECTRA,
        ModernBERT or another that takes `inputs_embeds`.

        Args:
            name_or_path (`str`):
                Hub id, such as `"google/bert_uncased_L-4_H-256_A-4"` or `"bert-base-uncased"`, or directory.
            num_hidden_layers (`int`, *optional*):
                Keep so many of the first layers; all if not given.
            init (`"pretrained"`, `"random"` or `"shuffled"`, defaults to `"pretrained"`):
                Where the weights come from: the checkpoint; the architecture's own random initialisation; or the
                checkpoint, with the values of each tensor in random order (same statistics, no knowledge). The last
                two are the controls of a comparison. Their randomness is torch's: seed it.
            freeze (`bool`, defaults to False):
                Whether the encoder keeps its weights; patch embeddings, decoder and head learn.
            encoder_kwargs (`dict`, *optional*):
                Passed to `AutoConfig.from_pretrained` and `AutoModel.from_pretrained`: `revision`, `token`, ...
            config:
                Arguments of [`TimeMAEConfig`]. `hidden_size` and `num_attention_heads` follow the encoder,
                `encoder_input_scale` brings patch embeddings of standardised series to the standard deviation of the
                encoder's word embeddings.

        Returns:
            the model; where it has a target encoder, that starts as a copy of the visible encoder.

        Raises:
            ValueError: no model there, no encoder, fewer layers than asked for, fewer positions than patches, weights
                missing in the checkpoint or of another shape, weights that something has overwritten since they were
                loaded, or arguments that [`TimeMAEConfig`] refuses.

        Example:

        ```python
        >>> model = TimeMAEForPreTraining.from_encoder_pretrained(
        ...     "google/bert_uncased_L-4_H-256_A-4", num_channels=9, sequence_length=128, patch_length=8
        ... )
        ```"""
        if init not in ("pretrained", "random", "shuffled"):
            raise ValueError(f"expected `init` to be 'pretrained', 'random' or 'shuffled', got {init!r}")
        encoder_kwargs = encoder_kwargs or {}
        encoder_config = load_text_encoder_config(name_or_path, num_hidden_layers, **encoder_kwargs)
        model = cls(TimeMAEConfig(encoder_config=encoder_config, **config))
        if init != "random":
            input_scale = config.get("encoder_input_scale")
            weights = model.load_encoder(name_or_path, init == "shuffled", input_scale, **encoder_kwargs)
            check_encoder_weights(model, weights, name_or_path)
        if freeze:
            model.base_model.encoder.model.requires_grad_(False)
        return model

    @torch.no_grad()
    def load_encoder(
        self, name_or_path: str, shuffled: bool = False, input_scale: float | None = None, **kwargs
    ) -> dict[str, torch.Tensor]:
        """
        Gives the encoder, and the target encoder, the weights of a pretrained transformers encoder, or the values of
        each of its tensors in random order. They count as initialised: `model.apply(model._init_weights)` leaves them.

        Args:
            name_or_path (`str`):
                Hub id or directory.
            shuffled (`bool`, defaults to False):
                Whether the values of each tensor change places at random.
            input_scale (`float`, *optional*):
                What `config.encoder_input_scale` becomes. If not given, what brings patch embeddings of standardised
                series to the standard deviation of the encoder's word embeddings.
            kwargs:
                Passed to `AutoModel.from_pretrained`.

        Returns:
            the weights by name, for [`check_encoder_weights`].

        Raises:
            ValueError: the model has an encoder of its own, there are no weights, or some are missing or of another
                shape.
        """
        encoder_config = self.config.encoder_config
        if encoder_config is None:
            raise ValueError("expected a model with an `encoder_config`, got one with TimeMAE's own encoder")
        verbosity = logging.get_verbosity()
        logging.set_verbosity_error()  # the library would report what is left out: layers, heads, the pooler
        try:
            source, loading = AutoModel.from_pretrained(
                name_or_path,
                config=encoder_config,
                output_loading_info=True,
                dtype=torch.float32,
                **without_pooler(encoder_config),
                **kwargs,
            )
        except OSError as error:
            raise ValueError(
                f"expected the weights of an encoder in {str(name_or_path)!r}, got none: {error}"
            ) from error
        finally:
            logging.set_verbosity(verbosity)
        if loading["missing_keys"]:
            raise ValueError(
                f"expected all weights of a {encoder_config.model_type!r} encoder in {str(name_or_path)!r}, "
                f"got none for {', '.join(sorted(loading['missing_keys']))}"
            )
        if loading["mismatched_keys"]:  # which `ignore_mismatched_sizes` would give new weights
            name, found, expected = sorted(loading["mismatched_keys"])[0]
            raise ValueError(
                f"expected {name} of shape {tuple(expected)} in {str(name_or_path)!r}, got {tuple(found)}"
            )
        std = source.get_input_embeddings().weight.std().item()
        self.config.encoder_input_scale = std * UNIT_VARIANCE_SCALE if input_scale is None else input_scale
        source.set_input_embeddings(None)
        weights = source.state_dict()
        if shuffled:
            weights = {
                name: value.flatten()[torch.randperm(value.numel())].view_as(value) for name, value in weights.items()
            }
        for encoder in filter(None, (self.base_model.encoder, getattr(self, "target_encoder", None))):
            encoder.model.load_state_dict(weights)
            for parameter in encoder.model.parameters():
                parameter._is_hf_initialized = True  # type: ignore[attr-defined]  # the library's mark
        return weights


class TimeMAETextEncoder(nn.Module):
    """
    A transformers encoder, that of `config.encoder_config`, in the place of TimeMAE's own: it takes patch embeddings
    as `inputs_embeds`. Without word embeddings and pooler, which it does not need.

    Raises:
        ValueError: the model is no encoder that takes `inputs_embeds` and `position_ids`, or has fewer positions than
            there are patches.
    """

    def __init__(self, config: TimeMAEConfig):
        super().__init__()
        self.config = config
        encoder_config = config.encoder_config
        check_text_encoder(encoder_config)
        # In the type of the model around it, whatever the checkpoint was saved in.
        dtype = torch.get_default_dtype()
        self.model = AutoModel.from_config(encoder_config, dtype=dtype, **without_pooler(encoder_config))
        self.model.set_input_embeddings(None)
        # The states of all layers, while a forward pass collects them. `output_hidden_states` of the encoder would do
        # so too, but not in compiled code, and it would keep the models around this one from recording theirs.
        self._layer_states: list[torch.Tensor] | None = None
        if config.num_pooled_layers > 1:
            for layer in find_layers(self.model, encoder_config):
                layer.register_forward_hook(self._keep_state)

        # RoBERTa and its kin number positions from behind the padding index.
        positions = getattr(getattr(self.model, "embeddings", None), "position_embeddings", None)
        padding_index = getattr(positions, "padding_idx", None)
        self.first_position = 0 if padding_index is None else padding_index + 1
        self.check_length(config.sequence_length)
        self.projection_in = self.projection_out = None
        if config.encoder_projection:
            input_size = getattr(encoder_config, "embedding_size", encoder_config.hidden_size)
            self.projection_in = nn.Linear(config.hidden_size, input_size)
            self.projection_out = nn.Linear(encoder_config.hidden_size, config.hidden_size)

    def check_length(self, sequence_length: int) -> None:
        """Raises ValueError if series of so many time steps have more patches than the encoder has positions."""
        encoder_config, patch_length = self.config.encoder_config, self.config.patch_length
        num_patches = count_patches(sequence_length, patch_length)
        num_positions = encoder_config.max_position_embeddings - self.first_position
        if num_patches > num_positions:
            raise ValueError(
                f"expected at most {num_positions} patches, as many as the {encoder_config.model_type!r} encoder has "
                f"positions, got {num_patches}: `sequence_length` {sequence_length}, `patch_length` {patch_length}"
            )

    def forward(
        self,
        hidden_states: torch.Tensor,
        patch_ids: torch.Tensor,
        patch_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutput:
        """
        Args:
            hidden_states (`torch.Tensor` of shape `(batch_size, n, hidden_size)`):
                patch embeddings without positions; all patches of a series or a subset.
            patch_ids (`torch.LongTensor` of shape `(batch_size, n)`): which patches these are, their positions.
            patch_mask (`torch.BoolTensor` of shape `(batch_size, n)`, *optional*): False at padding.

        Returns:
            [`~transformers.modeling_outputs.BaseModelOutput`]: `last_hidden_state` of the shape of `hidden_states`,
            zero at padding; `hidden_states`, if requested or with `config.num_pooled_layers` above 1, and `attentions`
            of the encoder, if requested.

        Raises:
            ValueError: attentions are requested of an encoder whose attention returns none.
        """
        for name in ("output_hidden_states", "output_attentions"):
            kwargs.setdefault(name, getattr(self.config, name))
        implementation = self.model.config._attn_implementation
        if kwargs["output_attentions"] and implementation != "eager":
            raise ValueError(
                "expected attention by 'eager' for `output_attentions` of a transformers encoder, "
                f"got {implementation!r}; call `model.set_attn_implementation('eager')`"
            )
        self._layer_states = [] if self.config.num_pooled_layers > 1 else None
        hidden_states = hidden_states * self.config.encoder_input_scale
        if self.projection_in is not None:
            hidden_states = self.projection_in(hidden_states)
        outputs = self.model(
            inputs_embeds=hidden_states,
            attention_mask=patch_mask,
            position_ids=patch_ids + self.first_position,
            **kwargs,
        )
        layer_states, self._layer_states = self._layer_states, None
        last_hidden_state = outputs.last_hidden_state
        if self.projection_out is not None:
            last_hidden_state = self.projection_out(last_hidden_state)
        if patch_mask is not None:
            last_hidden_state = last_hidden_state.masked_fill(~patch_mask[..., None], 0.0)
        return BaseModelOutput(
            last_hidden_state=last_hidden_state,
            hidden_states=outputs.hidden_states if layer_states is None else tuple(layer_states),
            attentions=outputs.attentions,
        )

    def _keep_state(self, layer: nn.Module, inputs: tuple, output: torch.Tensor | tuple) -> None:
        """Keeps what a layer returns, and of the first one also what it got."""
        if self._layer_states is None:
            return
        if not self._layer_states:
            self._layer_states.append(inputs[0])
        self._layer_states.append(output[0] if isinstance(output, tuple) else output)


@torch.no_grad()
def check_encoder_weights(model: "PreTrainedModel", weights: dict[str, torch.Tensor], name_or_path: str) -> None:
    """
    Checks that an encoder still has the weights that were loaded. The first tries with BERT overwrote them all: an
    initialisation of the whole model came after the loading.

    Args:
        model: a TimeMAE model with a transformers encoder.
        weights: what [`~TextEncoderMixin.load_encoder`] returned.
        name_or_path: where they come from, for the error.

    Raises:
        ValueError: a tensor of the encoder, or of the target encoder, has other values.
    """
    for name in ("encoder", "target_encoder"):
        encoder = model.base_model.encoder if name == "encoder" else getattr(model, name, None)
        if encoder is None:
            continue
        state = encoder.model.state_dict()
        different = sorted(key for key in weights if not state[key].equal(weights[key].to(state[key])))
        if different:
            raise ValueError(
                f"expected the weights of {str(name_or_path)!r} in the {name}, got others in {len(different)} of its "
                f"{len(weights)} tensors, {different[0]} among them: something has initialised the model after they "
                "were loaded. Call `load_encoder` last."
            )


def find_layers(model: nn.Module, encoder_config: PreTrainedConfig) -> nn.ModuleList:
    """
    Finds the layers of a transformers encoder; those of ALBERT are groups, each of which is run several times.

    Raises:
        ValueError: it has no list of as many layers as its configuration says.
    """
    number = getattr(encoder_config, "num_hidden_groups", encoder_config.num_hidden_layers)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == number:
            return module
    raise ValueError(
        f"expected a list of {encoder_config.num_hidden_layers} layers in the {encoder_config.model_type!r} encoder "
        "to pool several of them, got none; num_pooled_layers=1 pools the last one"
    )


def check_text_encoder(encoder_config: PreTrainedConfig) -> None:
    """
    Refuses what cannot be the visible encoder.

    Raises:
        ValueError: the model is no encoder, or none that takes patch embeddings and their positions.
    """
    model_type = encoder_config.model_type
    decodes = encoder_config.is_encoder_decoder or getattr(encoder_config, "is_decoder", False)
    # What tells an encoder from a decoder is that the library has it fill in masks.
    if model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES or decodes:
        raise ValueError(f"expected an encoder such as BERT, one trained on masked tokens, got {model_type!r}")
    if any(getattr(encoder_config, name, None) for name in ("relative_attention", "relative_attention_num_buckets")):
        raise ValueError(
            "expected an encoder that takes the positions of what it sees, as some patches are hidden, "
            f"got {model_type!r}, which counts them itself"
        )
    arguments = inspect.signature(MODEL_MAPPING[type(encoder_config)].forward).parameters
    missing = [name for name in ("inputs_embeds", "attention_mask", "position_ids") if name not in arguments]
    if missing:
        raise ValueError(f"expected an encoder that takes {', '.join(missing)}, got {model_type!r}, which does not")


def load_text_encoder_config(name_or_path: str, num_hidden_layers: int | None = None, **kwargs) -> PreTrainedConfig:
    """
    Returns the configuration of a pretrained transformers encoder, cut to its first `num_hidden_layers` if given.

    Raises:
        ValueError: there is none, it is of no encoder, or it has fewer layers.
    """
    try:
        encoder_config = AutoConfig.from_pretrained(name_or_path, **kwargs)
    except (OSError, ValueError) as error:
        raise ValueError(f"expected a transformers encoder in {str(name_or_path)!r}, got none: {error}") from error
    check_text_encoder(encoder_config)
    if num_hidden_layers is not None:
        available = encoder_config.num_hidden_layers
        if not 1 <= num_hidden_layers <= available:
            raise ValueError(f"expected `num_hidden_layers` from 1 to {available}, got {num_hidden_layers}")
        encoder_config.num_hidden_layers = num_hidden_layers
        if getattr(encoder_config, "layer_types", None) is not None:
            encoder_config.layer_types = encoder_config.layer_types[:num_hidden_layers]
    return encoder_config


def without_pooler(encoder_config: PreTrainedConfig) -> dict[str, bool]:
    """Returns the argument that leaves out the pooler, for models that take one."""
    arguments = inspect.signature(MODEL_MAPPING[type(encoder_config)]).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in arguments else {}


__all__ = [
    "TextEncoderMixin",
    "TimeMAETextEncoder",
    "check_encoder_weights",
    "check_text_encoder",
    "load_text_encoder_config",
]
