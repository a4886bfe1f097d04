# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""
TimeMAE: masked autoencoder for time series with decoupled encoders (Cheng et al., 2023,
https://arxiv.org/abs/2303.00320).

Shapes: `batch_size` series of `time` steps and `num_channels` variables become `num_patches` windows of `patch_length`
steps, each embedded in `hidden_size` dimensions. Pre-training hides `num_masked` of them and sees `num_visible`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs, logging
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs


try:
    from .configuration_timemae import TimeMAEConfig
    from .cpu_timemae import fast_dropout, fast_softmax, sample_codewords
    from .embeddings_timemae import TimeMAEEmbeddings, TimeMAEStatisticsEmbedding, check_all, check_tensors
    from .pooling_timemae import TimeMAEPooling
    from .target_encoder_timemae import TargetEncoderMixin
    from .text_encoder_timemae import TextEncoderMixin, TimeMAETextEncoder
    from .tokenizer_timemae import RandomProjectionTokenizer
except ImportError:
    if __package__:
        raise
    from configuration_timemae import TimeMAEConfig
    from cpu_timemae import fast_dropout, fast_softmax, sample_codewords
    from embeddings_timemae import TimeMAEEmbeddings, TimeMAEStatisticsEmbedding, check_all, check_tensors
    from pooling_timemae import TimeMAEPooling
    from target_encoder_timemae import TargetEncoderMixin
    from text_encoder_timemae import TextEncoderMixin, TimeMAETextEncoder
    from tokenizer_timemae import RandomProjectionTokenizer


logger = logging.get_logger(__name__)


@dataclass
class TimeMAEForPreTrainingOutput(ModelOutput):
    """
    Output of [`TimeMAEForPreTraining`]. The masked patches of a series stand in the order of time; a series that has
    fewer of them than the longest of the batch is filled up with zeros, and with -100 in `codewords`.

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, if `return_loss`):
            `mcc_loss_weight` · `mcc_loss` + `mrr_loss_weight` · `mrr_loss` (Section 3.5.3).
        mcc_loss (`torch.FloatTensor` of shape `(1,)`, if `return_loss`):
            Masked codeword classification: cross-entropy in nats, a mean over masked patches.
        mrr_loss (`torch.FloatTensor` of shape `(1,)`, if `return_loss`):
            Masked representation regression: squared error, a mean over masked patches and dimensions.
        codeword_logits (`torch.FloatTensor` of shape `(batch_size, num_masked, codebook_size)`):
            Scores of the codewords for the predicted representations.
        codewords (`torch.LongTensor` of shape `(batch_size, num_masked)`):
            The codeword that the tokenizer assigns to each masked patch; -100 where there is none.
        mask (`torch.BoolTensor` of shape `(batch_size, num_patches)`):
            True at the masked patches; padding is never masked.
        predicted_hidden (`torch.FloatTensor` of shape `(batch_size, num_masked, hidden_size)`):
            What the decoupled encoder makes of the masked positions.
        target_hidden (`torch.FloatTensor` of shape `(batch_size, num_masked, hidden_size)`):
            What the target encoder makes of the masked patches; carries no gradient.
        codebook_perplexity (`torch.FloatTensor` of shape `(1,)`):
            Exponential of the entropy of the codeword frequencies in this batch: 1 if all masked patches got one
            codeword (collapse), `codebook_size` if all are equally frequent.
        hidden_states (`tuple(torch.FloatTensor)`, if `output_hidden_states`):
            `num_hidden_layers + 1` tensors of shape `(batch_size, num_visible, hidden_size)` of the visible encoder.
        attentions (`tuple(torch.FloatTensor)`, if `output_attentions`):
            `num_hidden_layers` tensors of shape `(batch_size, num_heads, num_visible, num_visible)`.
        cross_attentions (`tuple(torch.FloatTensor)`, if `output_attentions`):
            `decoder_num_hidden_layers` tensors of shape `(batch_size, num_heads, num_masked, num_visible)`.
    """

    loss: torch.FloatTensor | None = None
    mcc_loss: torch.FloatTensor | None = None
    mrr_loss: torch.FloatTensor | None = None
    codeword_logits: torch.FloatTensor | None = None
    codewords: torch.LongTensor | None = None
    mask: torch.BoolTensor | None = None
    predicted_hidden: torch.FloatTensor | None = None
    target_hidden: torch.FloatTensor | None = None
    codebook_perplexity: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    cross_attentions: tuple[torch.FloatTensor, ...] | None = None


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Unpack[TransformersKwargs],
) -> tuple[torch.Tensor, torch.Tensor]:
    attn_weights = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        attn_weights = attn_weights.masked_fill(~attention_mask, torch.finfo(attn_weights.dtype).min)
    elif attention_mask is not None:
        attn_weights = attn_weights + attention_mask
    attn_weights = fast_softmax(attn_weights).to(query.dtype)
    attn_weights = fast_dropout(attn_weights, dropout, module.training)
    attn_output = torch.matmul(attn_weights, value).transpose(1, 2).contiguous()
    return attn_output, attn_weights


class TimeMAEAttention(nn.Module):
    """Multi-head attention: self-attention, or cross-attention if `encoder_hidden_states` is given."""

    def __init__(self, config: TimeMAEConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_probs_dropout_prob
        self.is_causal = False
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        # No bias: it would shift all scores of a query alike, which the softmax cancels.
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        key_value_states = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = self.q_proj(hidden_states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        key = self.k_proj(key_value_states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        value = self.v_proj(key_value_states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

        implementation = self.config._attn_implementation
        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        dropout = self.attention_dropout if self.training else 0.0
        returns_weights = kwargs.get("output_attentions", self.config.output_attentions)
        if returns_weights and implementation not in ("eager", "sdpa"):
            raise ValueError(
                "expected attention by 'eager' or 'sdpa' for `output_attentions`, as others return no weights, got "
                f"{implementation!r}; see `set_attn_implementation`"
            )
        if implementation == "sdpa" and (returns_weights or (dropout and query.device.type == "cpu")):
            # SDPA returns no weights; it has no kernel for dropout on a CPU and would take the same steps with slower
            # masks.
            attention_interface = eager_attention_forward
        attn_output, attn_weights = attention_interface(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=self.scaling,
            **kwargs,
        )
        return self.o_proj(attn_output.flatten(-2)), attn_weights


class TimeMAEMLP(nn.Module):
    def __init__(self, config: TimeMAEConfig):
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation_fn = ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.activation_fn(self.fc1(hidden_states)))


class TimeMAEResidual(nn.Module):
    """Residual sum and layer normalisation: LayerNorm(x + dropout(gate · y)), the gate a learned scalar."""

    def __init__(self, config: TimeMAEConfig):
        super().__init__()
        self.dropout_prob = config.hidden_dropout_prob
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        # One element, not a scalar: FSDP cannot shard tensors without dimensions.
        self.gate = None if config.residual_gate_init is None else nn.Parameter(torch.empty(1))

    def forward(self, residual: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
        if self.gate is not None:
            hidden_states = self.gate * hidden_states
        return self.layer_norm(residual + fast_dropout(hidden_states, self.dropout_prob, self.training))


class TimeMAELayer(GradientCheckpointingLayer):
    """Transformer layer; with `encoder_hidden_states`, queries attend to those and not to each other."""

    def __init__(self, config: TimeMAEConfig):
        super().__init__()
        self.attention = TimeMAEAttention(config)
        self.attention_residual = TimeMAEResidual(config)
        self.mlp = TimeMAEMLP(config)
        self.mlp_residual = TimeMAEResidual(config)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        attn_output, _ = self.attention(hidden_states, attention_mask, encoder_hidden_states, **kwargs)
        hidden_states = self.attention_residual(hidden_states, attn_output)
        return self.mlp_residual(hidden_states, self.mlp(hidden_states))


class TimeMAEEncoder(nn.Module):
    """The visible encoder H_θ (Section 3.4.1); its momentum copy is the target encoder H_ξ (Section 3.5.2)."""

    def __init__(self, config: TimeMAEConfig):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList([TimeMAELayer(config) for _ in range(config.num_hidden_layers)])

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
                patch embeddings with positions; all patches of a series or a subset.
            patch_ids (`torch.LongTensor` of shape `(batch_size, n)`): which patches these are; not used here.
            patch_mask (`torch.BoolTensor` of shape `(batch_size, n)`, *optional*): False at padding.

        Returns:
            [`~transformers.modeling_outputs.BaseModelOutput`]: `last_hidden_state` of the shape of `hidden_states`,
            zero at padding; with `config.num_pooled_layers` above 1 also `hidden_states`, those of all layers.
        """
        attention_mask = create_bidirectional_mask(self.config, hidden_states, patch_mask)
        states = [hidden_states]
        for layer in self.layers:
            hidden_states = layer(hidden_states, attention_mask, **kwargs)
            states.append(hidden_states)
        return BaseModelOutput(
            last_hidden_state=zero_padding(hidden_states, patch_mask),
            hidden_states=tuple(states) if self.config.num_pooled_layers > 1 else None,
        )


def make_encoder(config: TimeMAEConfig) -> TimeMAEEncoder | TimeMAETextEncoder:
    return TimeMAEEncoder(config) if config.encoder_config is None else TimeMAETextEncoder(config)


class TimeMAEDecoder(nn.Module):
    """The decoupled encoder F_φ (Section 3.4.2): masked positions query what the visible encoder has seen."""

    def __init__(self, config: TimeMAEConfig):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList([TimeMAELayer(config) for _ in range(config.decoder_num_hidden_layers)])
        # With TimeMAE's own encoder both read the table of its embeddings.
        self.register_parameter("position_embeddings", None)
        if config.encoder_config is not None:
            self.position_embeddings = nn.Parameter(torch.empty(config.num_patches, config.hidden_size))

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        patch_mask: torch.Tensor | None = None,
        encoder_patch_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        """
        Args:
            hidden_states (`torch.Tensor` of shape `(batch_size, num_masked, hidden_size)`):
                the mask token with the positions of the masked patches.
            encoder_hidden_states (`torch.Tensor` of shape `(batch_size, num_visible, hidden_size)`):
                what the visible encoder returned.
            patch_mask, encoder_patch_mask (`torch.BoolTensor`, *optional*): False at padding, for each of the two.

        Returns:
            hidden states of the shape of the first argument, zero at padding.
        """
        attention_mask = create_bidirectional_mask(
            self.config, hidden_states, encoder_patch_mask, encoder_hidden_states=encoder_hidden_states
        )
        for layer in self.layers:
            hidden_states = layer(hidden_states, attention_mask, encoder_hidden_states, **kwargs)
        return zero_padding(hidden_states, patch_mask)


def zero_padding(hidden_states: torch.Tensor, patch_mask: torch.Tensor | None) -> torch.Tensor:
    if patch_mask is None:
        return hidden_states
    return hidden_states.masked_fill(~patch_mask[..., None], 0.0)


def gather_patches(hidden_states: torch.Tensor, patch_ids: torch.Tensor) -> torch.Tensor:
    """Picks patches `(batch_size, n)` out of `(batch_size, num_patches, hidden_size)`."""
    batch_size, num_patches, _ = hidden_states.shape
    rows = patch_ids + num_patches * torch.arange(batch_size, device=patch_ids.device)[:, None]
    return hidden_states.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, patch_ids.shape)


class TimeMAEPreTrainedModel(TextEncoderMixin, PreTrainedModel):
    """Base class: weight initialisation, loading, saving and what the library must know of the architecture."""

    config_class = TimeMAEConfig
    config: TimeMAEConfig
    base_model_prefix = "timemae"
    main_input_name = "past_values"
    input_modalities = ("time",)
    supports_gradient_checkpointing = True
    # The loss is a mean over the batch, so Trainer has to divide it by the gradient accumulation steps.
    accepts_loss_kwargs = False
    _no_split_modules = ["TimeMAEEmbeddings", "TimeMAELayer"]
    _supports_sdpa = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {
        "hidden_states": OutputRecorder(TimeMAELayer, layer_name="encoder"),
        "attentions": OutputRecorder(TimeMAEAttention, index=1, layer_name="encoder"),
    }
    _input_embed_layer = "patch_embeddings"

    def __init__(self, config: TimeMAEConfig):
        if config.encoder_config is not None:
            # A transformers encoder records its own hidden states and attentions, and returns them.
            recorded = {**self._can_record_outputs}
            self._can_record_outputs = {name: recorded[name] for name in recorded if name == "cross_attentions"}
        super().__init__(config)

    @torch.no_grad()
    def _init_weights(self, module):
        std = self.config.initializer_range
        if isinstance(module, (TimeMAEStatisticsEmbedding, RandomProjectionTokenizer)):
            module.init_weights()
        elif isinstance(module, nn.Linear):
            init.xavier_normal_(module.weight) if std is None else init.normal_(module.weight, std=std)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Conv1d):
            init.kaiming_uniform_(module.weight, a=5**0.5) if std is None else init.normal_(module.weight, std=std)
            init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, (TimeMAEEmbeddings, TimeMAEDecoder)) and module.position_embeddings is not None:
            own_std = self.config.position_initializer_range
            init.normal_(module.position_embeddings, std=own_std if own_std is not None else std or 1.0)
        elif isinstance(module, TimeMAEResidual) and module.gate is not None:
            init.constant_(module.gate, self.config.residual_gate_init)
        elif isinstance(module, TimeMAEPooling) and module.query is not None:
            init.zeros_(module.query)
        elif isinstance(module, TimeMAEForPreTraining):
            init.normal_(module.mask_token, std=1.0 if std is None else std)

    def requested_hidden_states(self, outputs: BaseModelOutput, **kwargs) -> tuple[torch.Tensor, ...] | None:
        """Returns the hidden states of an encoder if the caller asks for them, and not only the pooling."""
        requested = kwargs.get("output_hidden_states", self.config.output_hidden_states)
        return outputs.hidden_states if requested else None

    @torch.no_grad()
    def resize_position_embeddings(self, sequence_length: int) -> None:
        """
        Stretches or shrinks the position table for series of up to `sequence_length` time steps, by linear
        interpolation between its rows; the first and the last row keep their values. Sets `config.sequence_length`.

        Raises:
            ValueError: `sequence_length` is smaller than a patch, or a transformers encoder has fewer positions.
        """
        if sequence_length < self.config.patch_length:
            raise ValueError(
                f"expected `sequence_length` of at least `patch_length`, {self.config.patch_length}, "
                f"got {sequence_length}"
            )
        if self.config.encoder_config is not None:
            self.base_model.encoder.check_length(sequence_length)
        self.config.sequence_length = sequence_length
        for module in self.modules():
            if isinstance(module, (TimeMAEEmbeddings, TimeMAEDecoder)) and module.position_embeddings is not None:
                table = module.position_embeddings
                resized = F.interpolate(table.T[None], self.config.num_patches, mode="linear", align_corners=True)[0].T
                module.position_embeddings = nn.Parameter(resized.contiguous(), requires_grad=table.requires_grad)


class TimeMAEModel(TimeMAEPreTrainedModel):
    """The visible encoder over all patches of a series, for features."""

    _keys_to_ignore_on_load_unexpected = [
        r"^(decoder|target_encoder|(random_)?tokenizer)\.",
        r"^mask_token$",
        r"^classifier\.",
    ]

    def __init__(self, config: TimeMAEConfig):
        super().__init__(config)
        self.embeddings = TimeMAEEmbeddings(config)
        self.encoder = make_encoder(config)
        self.pooling = TimeMAEPooling(config)
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        past_values: torch.FloatTensor,
        past_observed_mask: torch.BoolTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        r"""
        Args:
            past_values (`torch.FloatTensor` of shape `(batch_size, time, num_channels)`):
                Normalised series of at most `sequence_length` time steps; what stands where nothing was observed
                does not matter.
            past_observed_mask (`torch.BoolTensor` of shape `(batch_size, time, num_channels)`, *optional*):
                True where a value was observed; if not given, all were. A patch without an observed value is padding.

        Returns:
            [`~transformers.modeling_outputs.BaseModelOutputWithPooling`]: `last_hidden_state` of shape
            `(batch_size, num_patches, hidden_size)`, zero at padding; `pooler_output` of shape
            `(batch_size, pooled_size)`, see [`TimeMAEPooling`]; `hidden_states` and `attentions` on request.

        Raises:
            ValueError: wrong shape, type or number of channels, a series that is too long, empty or without an
                observed value, NaN or infinity that the mask does not declare missing.
        """
        kwargs = {name: value for name, value in kwargs.items() if value is not None}  # PEFT gives what is for text
        if "attention_mask" in kwargs:
            raise ValueError("expected a mask of the values as past_observed_mask, got attention_mask")
        _, hidden_states, patch_mask = self.embeddings(past_values, past_observed_mask)
        patch_ids = torch.arange(hidden_states.shape[1], device=hidden_states.device).expand(
            hidden_states.shape[0], -1
        )
        outputs = self.encoder(hidden_states, patch_ids, patch_mask, **kwargs)
        return BaseModelOutputWithPooling(
            last_hidden_state=outputs.last_hidden_state,
            pooler_output=self.pooling(outputs.last_hidden_state, outputs.hidden_states, patch_mask),
            hidden_states=self.requested_hidden_states(outputs, **kwargs),
            attentions=outputs.attentions,
        )


class TimeMAEForPreTraining(TargetEncoderMixin, TimeMAEPreTrainedModel):
    """
    TimeMAE with its two pretext tasks: masked codeword classification (MCC) and masked representation regression
    (MRR), Section 3.5.

    The target encoder follows the visible encoder by itself: after each step of any `torch.optim` optimizer that
    holds the visible encoder's weights, it moves by 1 - `momentum` towards them. Where weights are changed by other
    means, call [`~TimeMAEForPreTraining.update_target_encoder`] once a step; a model that trains while its target
    stands still warns.
    """

    _can_record_outputs = {
        "hidden_states": OutputRecorder(TimeMAELayer, layer_name="timemae.encoder"),
        "attentions": OutputRecorder(TimeMAEAttention, index=1, layer_name="timemae.encoder"),
        "cross_attentions": OutputRecorder(TimeMAEAttention, index=1, layer_name="decoder"),
    }
    _keys_to_ignore_on_load_unexpected = [r"^classifier\."]

    def __init__(self, config: TimeMAEConfig):
        super().__init__(config)
        self._check_mask_ratio(config.num_patches)
        self.timemae = TimeMAEModel(config)
        self.timemae.pooling.requires_grad_(False)  # nothing trains it here
        self.mask_token = nn.Parameter(torch.empty(config.hidden_size))
        self.decoder = TimeMAEDecoder(config)
        # Scores codewords for predicted representations and, if it is learned, also assigns them to patches.
        self.tokenizer = nn.Linear(config.hidden_size, config.codebook_size)
        self.random_tokenizer = (
            RandomProjectionTokenizer(config) if config.tokenizer_type == "random_projection" else None
        )
        self.target_encoder = make_encoder(config).requires_grad_(False).eval()
        self.register_target_encoder()
        self.post_init()

    @torch.no_grad()
    def initialize_weights(self):
        super().initialize_weights()
        # The target encoder starts as a copy of the visible encoder, also where a checkpoint lacks it.
        for target, online in zip(self.target_encoder.parameters(), self.timemae.encoder.parameters(), strict=True):
            init.copy_(target, online)

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        past_values: torch.FloatTensor,
        past_observed_mask: torch.BoolTensor | None = None,
        masking_noise: torch.FloatTensor | None = None,
        return_loss: bool = True,
        **kwargs: Unpack[TransformersKwargs],
    ) -> TimeMAEForPreTrainingOutput:
        r"""
        Args:
            past_values (`torch.FloatTensor` of shape `(batch_size, time, num_channels)`):
                Normalised series of at most `sequence_length` time steps.
            past_observed_mask (`torch.BoolTensor` of shape `(batch_size, time, num_channels)`, *optional*):
                True where a value was observed; if not given, all were. A patch without an observed value is padding.
            masking_noise (`torch.FloatTensor` of shape `(batch_size, num_patches)`, *optional*):
                The ⌊`mask_ratio` · n⌋ patches with the highest noise, of the n real patches of a series, are masked.
                Drawn uniformly if not given; pass it to repeat a mask.
            return_loss (`bool`, defaults to True):
                Whether to compute the losses.

        Returns:
            [`TimeMAEForPreTrainingOutput`]

        Raises:
            ValueError: input that [`TimeMAEModel`] refuses; noise of another shape; series so short that none of
                their patches can be masked.
        """
        if self.training and not torch.compiler.is_compiling():
            self.check_target_encoder()

        # Patches, and which of them are hidden (Sections 3.3.1 and 3.3.2)
        patch_embeddings, hidden_states, patch_mask = self.timemae.embeddings(past_values, past_observed_mask)
        len(range(past_values.shape[1]))  # makes the length a constant of compiled code, for that of `num_masked`
        mask, visible_ids, masked_ids, visible_mask, masked_mask = self.random_masking(
            patch_embeddings, patch_mask, masking_noise
        )

        # Visible encoder, then the decoupled encoder for the masked positions (Sections 3.4.1 and 3.4.2)
        visible = self.timemae.encoder(gather_patches(hidden_states, visible_ids), visible_ids, visible_mask, **kwargs)
        positions = self.timemae.embeddings.position_embeddings
        if positions is None:
            positions = self.decoder.position_embeddings
        predicted_hidden = self.decoder(
            self.mask_token + positions[masked_ids], visible.last_hidden_state, masked_mask, visible_mask, **kwargs
        )
        codeword_logits = zero_padding(self.tokenizer(predicted_hidden), masked_mask)

        # Targets: codewords of the masked patches, equations (1) to (4), and the target encoder (Section 3.5.2)
        codewords, codeword_targets = self.assign_codewords(
            patch_embeddings, past_values, past_observed_mask, masked_ids, masked_mask
        )
        with torch.no_grad():
            target_hidden = self.target_encoder(
                gather_patches(hidden_states, masked_ids), masked_ids, masked_mask, **kwargs
            ).last_hidden_state

        loss = mcc_loss = mrr_loss = None
        if return_loss:
            mcc_loss = self.masked_codeword_classification(codeword_logits, codewords, codeword_targets)
            mrr_loss = self.masked_representation_regression(predicted_hidden, target_hidden, masked_mask)
            loss = self.config.mcc_loss_weight * mcc_loss + self.config.mrr_loss_weight * mrr_loss

        return TimeMAEForPreTrainingOutput(
            loss=loss,
            mcc_loss=mcc_loss,
            mrr_loss=mrr_loss,
            codeword_logits=codeword_logits,
            codewords=codewords,
            mask=mask,
            predicted_hidden=predicted_hidden,
            target_hidden=target_hidden,
            codebook_perplexity=codebook_perplexity(codewords, self.config.codebook_size),
            hidden_states=self.requested_hidden_states(visible, **kwargs),
            attentions=visible.attentions,
        )

    def _check_mask_ratio(self, num_patches: int) -> None:
        num_masked = self.config.num_masked_patches(num_patches)
        if not 0 < num_masked < num_patches:
            raise ValueError(
                f"expected `mask_ratio` to leave at least one masked and one visible patch, got {num_masked} masked "
                f"of {num_patches} patches at a ratio of {self.config.mask_ratio}"
            )

    def count_masked_patches(
        self, past_values: torch.Tensor, past_observed_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        Returns how many patches of a batch are masked, an integer without dimensions: the losses are means over them.
        Where a batch comes in several parts, `loss` times this number, summed over the parts and divided by the sum
        of these numbers, is the loss of the whole. The arguments are those of the model.
        """
        if past_observed_mask is None:
            past_observed_mask = torch.ones_like(past_values, dtype=torch.bool)
        return self._count_masked(self.timemae.embeddings.find_patches(past_observed_mask)).sum()

    def _count_masked(self, patch_mask: torch.Tensor) -> torch.Tensor:
        """Returns how many of the real patches of each series are masked, of shape `(batch_size,)`."""
        counts = [self.config.num_masked_patches(n) for n in range(patch_mask.shape[1] + 1)]
        return torch.tensor(counts, device=patch_mask.device)[patch_mask.sum(1)]

    def random_masking(
        self, patch_embeddings: torch.Tensor, patch_mask: torch.Tensor | None, masking_noise: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """
        Chooses the patches to hide (Section 3.3.2).

        Returns:
            the mask `(batch_size, num_patches)`, True at masked patches; the ids of the visible and of the masked
            patches, `(batch_size, num_visible)` and `(batch_size, num_masked)`, in the order of time; and for each of
            the two a bool mask of its shape that is False where a shorter series is filled up, or None.
        """
        batch_size, num_patches, _ = patch_embeddings.shape
        device = patch_embeddings.device
        self._check_mask_ratio(num_patches)
        check_tensors(masking_noise=masking_noise)
        num_masked = self.config.num_masked_patches(num_patches)
        if masking_noise is None:
            rows = batch_size if self.config.mask_scope == "sample" else 1
            masking_noise = torch.rand(rows, num_patches, device=device).expand(batch_size, -1)
        elif masking_noise.shape != (batch_size, num_patches):
            raise ValueError(
                f"expected masking_noise of shape {(batch_size, num_patches)}, got {tuple(masking_noise.shape)}"
            )

        if patch_mask is None:
            order = masking_noise.argsort(dim=1)
            visible_ids = order[:, : num_patches - num_masked].sort(dim=1).values
            masked_ids = order[:, num_patches - num_masked :].sort(dim=1).values
            mask = torch.zeros(batch_size, num_patches, dtype=torch.bool, device=device).scatter(1, masked_ids, True)
            return mask, visible_ids, masked_ids, None, None

        # Padding goes to the end; of the n real patches of a series the last num_masked_patches(n) are masked.
        rank = masking_noise.masked_fill(~patch_mask, torch.inf).argsort(dim=1).argsort(dim=1)
        mask = patch_mask & (rank >= (patch_mask.sum(1) - self._count_masked(patch_mask))[:, None])
        visible = patch_mask & ~mask
        visible_ids = (~visible).int().argsort(dim=1, stable=True)[:, : num_patches - num_masked]
        masked_ids = (~mask).int().argsort(dim=1, stable=True)[:, :num_masked]
        return mask, visible_ids, masked_ids, visible.gather(1, visible_ids), mask.gather(1, masked_ids)

    def assign_codewords(
        self,
        patch_embeddings: torch.Tensor,
        past_values: torch.Tensor,
        past_observed_mask: torch.Tensor | None,
        masked_ids: torch.Tensor,
        masked_mask: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What [`~TimeMAEForPreTraining.tokenize`] returns for the masked patches, by the tokenizer of the model."""
        if self.random_tokenizer is None:
            return self.tokenize(gather_patches(patch_embeddings, masked_ids), masked_mask)
        patches = self.timemae.embeddings.cut_patches(past_values, past_observed_mask)
        codewords = self.random_tokenizer(*patches).gather(1, masked_ids)
        if masked_mask is not None:
            codewords = codewords.masked_fill(~masked_mask, -100)
        return codewords, None

    def tokenize(
        self, patch_embeddings: torch.Tensor, patch_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Assigns a codeword to each patch by the learned tokenizer (Section 3.5.1): the best-scoring one, in training
        after Gumbel noise.

        Args:
            patch_embeddings (`torch.Tensor` of shape `(batch_size, n, hidden_size)`): patches without positions.
            patch_mask (`torch.BoolTensor` of shape `(batch_size, n)`, *optional*): False at padding.

        Returns:
            codewords `(batch_size, n)`, -100 at padding; and, in training with `codeword_gradient` =
            "straight_through", the same as one-hot vectors `(batch_size, n, codebook_size)` with the gradient of
            equation (4), else None.
        """
        scores = self.tokenizer(patch_embeddings)
        straight_through = self.config.codeword_gradient == "straight_through"
        targets = None
        if self.training and not straight_through and scores.device.type == "cpu":
            codewords = sample_codewords(scores, self.config.gumbel_noise_scale)
        else:
            if self.training:
                gumbel_noise = -torch.empty_like(scores).exponential_().log()
                scores = (scores + self.config.gumbel_noise_scale * gumbel_noise) / self.config.gumbel_temperature
            codewords = scores.argmax(-1)
            if self.training and straight_through:
                soft = scores.softmax(-1)
                targets = soft + (F.one_hot(codewords, self.config.codebook_size) - soft).detach()
        if patch_mask is not None:
            codewords = codewords.masked_fill(~patch_mask, -100)
        return codewords, targets

    def masked_codeword_classification(
        self, codeword_logits: torch.Tensor, codewords: torch.Tensor, codeword_targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """L_cls, a mean over masked patches; `codeword_targets` takes the place of `codewords` where it is given."""
        targets = codewords if codeword_targets is None else codeword_targets
        losses = F.cross_entropy(
            codeword_logits.flatten(0, 1).float(),
            targets.flatten(0, 1),
            reduction="none",
            label_smoothing=self.config.label_smoothing,
        )
        masked = codewords.flatten() != -100
        return (losses * masked).sum() / masked.sum().clamp(min=1)

    def masked_representation_regression(
        self, predicted_hidden: torch.Tensor, target_hidden: torch.Tensor, masked_mask: torch.Tensor | None
    ) -> torch.Tensor:
        """L_align, the mean squared error over masked patches and dimensions; both arguments are zero at padding."""
        errors = (predicted_hidden.float() - target_hidden.float()).square()
        if masked_mask is None:
            return errors.mean()
        return errors.sum() / (masked_mask.sum() * errors.shape[-1]).clamp(min=1)


def codebook_perplexity(codewords: torch.Tensor, codebook_size: int) -> torch.Tensor:
    """Exponential of the entropy of the frequencies of `codewords`, of any shape; -100 does not count."""
    shifted = codewords.flatten() + 100
    counts = shifted.new_zeros(codebook_size + 100).scatter_add(0, shifted, torch.ones_like(shifted))[100:]
    frequencies = counts / counts.sum().clamp(min=1)
    return torch.special.entr(frequencies).sum().exp()


class TimeMAEForTimeSeriesClassification(TimeMAEPreTrainedModel):
    """
    The visible encoder with a linear head on its pooled patches: FineAll, or FineLast after
    [`~TimeMAEForTimeSeriesClassification.freeze_encoder`]. `config.problem_type` chooses between single-label and
    multi-label classification and regression; if not set, it follows from `num_labels` and the type of the labels.
    """

    _keys_to_ignore_on_load_unexpected = [r"^(decoder|target_encoder|(random_)?tokenizer)\.", r"^mask_token$"]

    def __init__(self, config: TimeMAEConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.timemae = TimeMAEModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.pooled_size, config.num_labels)
        self.post_init()

    def freeze_encoder(self) -> None:
        """
        Trains the head only (FineLast), and the query of attention pooling: no gradient for the encoder, and no
        dropout in it.
        """
        self.timemae.requires_grad_(False)
        self.timemae.pooling.requires_grad_(True)
        self.timemae.eval()

    def train(self, mode: bool = True):
        super().train(mode)
        parts = (self.timemae.embeddings, self.timemae.encoder)
        if not any(parameter.requires_grad for part in parts for parameter in part.parameters()):
            self.timemae.eval()
        return self

    @can_return_tuple
    def forward(
        self,
        past_values: torch.FloatTensor,
        past_observed_mask: torch.BoolTensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SequenceClassifierOutput:
        r"""
        Args:
            past_values (`torch.FloatTensor` of shape `(batch_size, time, num_channels)`):
                Normalised series of at most `sequence_length` time steps.
            past_observed_mask (`torch.BoolTensor` of shape `(batch_size, time, num_channels)`, *optional*):
                True where a value was observed; if not given, all were. A patch without an observed value is padding.
            labels (`torch.Tensor`, *optional*):
                Single-label: integers of shape `(batch_size,)` in [0, num_labels). Multi-label: zeros and ones of
                shape `(batch_size, num_labels)`. Regression: numbers of shape `(batch_size,)` or
                `(batch_size, num_labels)`.

        Returns:
            [`~transformers.modeling_outputs.SequenceClassifierOutput`]: `loss` if labels are given, `logits` of shape
            `(batch_size, num_labels)`, `hidden_states` and `attentions` on request.

        Raises:
            ValueError: input that [`TimeMAEModel`] refuses; labels of a wrong shape or out of range.
        """
        outputs = self.timemae(past_values, past_observed_mask, **kwargs | {"return_dict": True})
        logits = self.classifier(self.dropout(outputs.pooler_output))
        loss = None if labels is None else self.compute_loss(logits, labels)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )

    def compute_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """
        Cross-entropy, binary cross-entropy or squared error, by `config.problem_type`, which the labels set where it
        is None, as in the classifiers of transformers; a mean over the batch.
        """
        check_tensors(labels=labels)
        problem_type = self.config.problem_type
        if problem_type is None:
            if self.num_labels == 1:
                problem_type = "regression"
            elif labels.is_floating_point():
                problem_type = "multi_label_classification"
            else:
                problem_type = "single_label_classification"
            self.config.problem_type = problem_type  # so that a pipeline knows it

        if problem_type == "single_label_classification":
            self._check_class_labels(labels, len(logits))
            return F.cross_entropy(logits.float(), labels.long())
        if problem_type == "regression" and self.num_labels == 1:
            labels = labels.reshape(-1, 1)
        if labels.shape != logits.shape:
            raise ValueError(f"expected labels of shape {tuple(logits.shape)}, got {tuple(labels.shape)}")
        check_all(torch.isfinite(labels), "finite labels", lambda: "NaN or infinity")
        if problem_type == "regression":
            return F.mse_loss(logits.float(), labels.float())
        return F.binary_cross_entropy_with_logits(logits.float(), labels.float())

    def _check_class_labels(self, labels: torch.Tensor, batch_size: int) -> None:
        if labels.shape != (batch_size,) or labels.is_floating_point():
            raise ValueError(
                f"expected integer labels of shape {(batch_size,)}, got {labels.dtype} of shape {tuple(labels.shape)}"
            )
        check_all(
            (labels >= 0) & (labels < self.num_labels),
            f"labels from 0 to {self.num_labels - 1}",
            lambda: f"{labels.min().item()} to {labels.max().item()}",
        )


TimeMAEModel.register_for_auto_class("AutoModel")
TimeMAEForPreTraining.register_for_auto_class("AutoModelForPreTraining")
TimeMAEForTimeSeriesClassification.register_for_auto_class("AutoModelForSequenceClassification")


__all__ = ["TimeMAEForPreTraining", "TimeMAEForTimeSeriesClassification", "TimeMAEModel", "TimeMAEPreTrainedModel"]
