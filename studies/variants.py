"""What the figures of the paper vary, and what each of them asks."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


# What an encoder is made of that nobody has trained: fields of `TimeMAEConfig`.
OF_ENCODER = ("patch_length", "hidden_size", "num_hidden_layers")


@dataclass(frozen=True)
class Variant:
    """
    A pre-training with something changed about the recipe.

    Args:
        config: fields of `TimeMAEConfig`.
        recipe: `"default"`, `"paper"`, or `"original"`, that of the published code on raw values, in the place of that
            of the command line.
        model: the model that is trained; one of `figures.MODELS`.
        block_length: windows that are hidden together.
        series: part of the series of train that pre-training sees, in as many steps as with all of them.
        training: `"usual"`, `"none"`, or `"long"` with the probe in its course.
        learning_rate: in the place of that of the recipe.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    recipe: Literal["default", "paper", "original"] | None = None
    model: str = "decoupled"
    block_length: int = 1
    series: float = 1.0
    training: Literal["usual", "none", "long"] = "usual"
    learning_rate: float | None = None

    @property
    def untrained(self) -> "Variant":
        """The same encoder without pre-training; variants that differ in nothing else have the same."""
        config = {name: value for name, value in self.config.items() if name in OF_ENCODER}
        return Variant(config, self.recipe, training="none")

    @property
    def has_codewords(self) -> bool:
        """Whether it learns to predict codewords."""
        learns = self.model not in ("raw values", "projection") and self.config.get("mcc_loss_weight", 1) > 0
        return learns and self.training != "none"


@dataclass(frozen=True)
class FigureSpec:
    """
    A figure.

    Args:
        title: of its page.
        claim: what the paper says, or what is asked.
        axis: what the variants differ in.
        variants: by their name on the axis.
        reference: that with which the others are compared; None: the figure compares nothing.
        across: what the horizontal axis is: the variants, parts of the labels, or epochs of pre-training.
        scale: of that axis; `"words"`: what is on it has names and no numbers, and stands below each other.
        codebook: whether the perplexity of the codebook in the course of training is drawn beside.
        maps: whether representations (t-SNE) are drawn instead of accuracies.
    """

    title: str
    claim: str
    axis: str
    variants: Mapping[str, Variant]
    reference: str | None = None
    across: Literal["variants", "labels", "epochs"] = "variants"
    scale: Literal["words", "linear", "log", "symlog"] = "words"
    codebook: bool = False
    maps: bool = False


def vary(name: str, values: list[Any]) -> dict[str, Variant]:
    """Returns a variant for each value of a field of `TimeMAEConfig`."""
    return {f"{value:g}": Variant({name: value}) for value in values}


PRETRAINED, UNTRAINED = Variant(), Variant(training="none")
MCC_ALONE, MRR_ALONE = {"mrr_loss_weight": 0.0}, {"mcc_loss_weight": 0.0}
LEARNED = {"tokenizer_type": "learned", **MCC_ALONE}
RANDOM = {"tokenizer_type": "random_projection"}
NO_NOISE = {"gumbel_noise_scale": 0.0}
STRAIGHT_THROUGH, DETACHED = {"codeword_gradient": "straight_through"}, {"codeword_gradient": "detached"}
# Where the gradient of the codeword labels goes, from all the way to nowhere.
GRADIENTS = {
    "straight through, equation (4)": Variant(LEARNED | STRAIGHT_THROUGH),
    "into the tokenizer only": Variant(LEARNED | STRAIGHT_THROUGH, model="gradient stops at the embedding"),
    "stopped, as in the published code": Variant(LEARNED | DETACHED),
    "stopped, labels by a frozen tokenizer": Variant(LEARNED | DETACHED, model="frozen tokenizer"),
}

FIGURES: dict[str, FigureSpec] = {
    "mask_ratio": FigureSpec(
        "Mask ratio",
        "The paper finds the best representations with about 60% of the windows hidden, far more than BERT's 15%. "
        "How many windows a ratio hides is rounded down.",
        "mask ratio",
        vary("mask_ratio", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
        reference="0.6",
        scale="linear",
    ),
    "masking": FigureSpec(
        "Masking at random or in blocks",
        "The paper hides windows at random, as this trains the representation of each position; blocks of neighbours "
        "would be an alternative.",
        "windows that are hidden together",
        {str(length): Variant(block_length=length) for length in (1, 2, 4, 8)},
        reference="1",
        scale="log",
    ),
    "codebook_size": FigureSpec(
        "Codebook size",
        "The paper chooses the size for each set among 64, 96, 128, 192, 256 and 512.",
        "codewords",
        vary("codebook_size", [64, 96, 128, 192, 256, 512]),
        reference="192",
        codebook=True,
        scale="log",
    ),
    "window": FigureSpec(
        "Window length",
        "The paper argues that windows carry more meaning than single points, and chooses their length among 4, 8, 12 "
        "and 16. Half of the windows are hidden here, so that the share is nearly the same for all lengths.",
        "time steps of a window",
        {str(length): Variant({"patch_length": length, "mask_ratio": 0.5}) for length in (2, 4, 8, 12, 16, 32)},
        reference="8",
        scale="log",
    ),
    "width": FigureSpec(
        "Width",
        "The paper has 64 throughout; its analysis of model size says that larger models do better. Two of the widths "
        "are tried with a second rate. Does the codebook live at all widths? That can be asked of a learned tokenizer "
        "only (--recipe paper): codewords by random projection do not know the width.",
        "width of all layers",
        {
            **vary("hidden_size", [64, 128, 256]),
            "64, rate of 3e-4": Variant({"hidden_size": 64}, learning_rate=3e-4),
            "256, rate of 3e-4": Variant({"hidden_size": 256}, learning_rate=3e-4),
        },
        reference="64",
        codebook=True,
    ),
    "depth": FigureSpec(
        "Depth",
        "The paper has 8 layers in the visible encoder; its analysis of model size says that larger models do better.",
        "layers of the visible encoder",
        vary("num_hidden_layers", [1, 2, 4, 8, 12]),
        reference="8",
        scale="log",
    ),
    "labels": FigureSpec(
        "Part of the labels",
        "The paper says that pre-training helps most where labels are few; it fine-tunes all weights, where here a "
        "linear probe reads the frozen encoder.",
        "labels",
        {"pre-trained": PRETRAINED, "untrained": UNTRAINED},
        across="labels",
        scale="log",
    ),
    "series": FigureSpec(
        "Part of the series of pre-training",
        "The paper says that more series without labels make better representations. Here all parts train for the "
        "same number of steps.",
        "part of the series that pre-training sees",
        {f"{part:g}": Variant(series=part) for part in (0.05, 0.1, 0.25, 0.5, 1.0)},
        reference="1",
        scale="log",
    ),
    "loss_weights": FigureSpec(
        "Weights of the two tasks",
        "The paper keeps the weight of one task at 1 and chooses that of the other from 1 to 10; without either task "
        "it does worse.",
        "weight of MRR beside MCC",
        {
            "MCC alone": Variant(MCC_ALONE),
            **vary("mrr_loss_weight", [1.0, 2.0, 5.0, 10.0]),
            "MRR alone": Variant(MRR_ALONE),
        },
        reference="5",
    ),
    "decoupling": FigureSpec(
        "Decoupled or coupled encoder",
        "The paper decouples the encoders, so that the visible encoder never sees mask tokens, which no series has "
        "after pre-training. A coupled encoder sees them and predicts by itself; between the two stands one that sees "
        "them and leaves the prediction to the decoupled encoder.",
        "encoder",
        {
            "decoupled": PRETRAINED,
            "sees mask tokens, decoder predicts": Variant(model="coupled, with decoder"),
            "coupled: sees mask tokens, predicts": Variant(model="coupled"),
        },
        reference="decoupled",
    ),
    "epochs": FigureSpec(
        "Epochs of pre-training",
        "The paper pre-trains for 100 epochs. How fast do ours, the recipe of the paper as we run it, and that of the "
        "published code (raw values, constant rate) learn? An epoch of ours has four times the steps. Our rates fall "
        "over all of the training, so that one of 30 epochs is better than these after 30.",
        "epoch",
        {
            "ours": Variant(recipe="default", training="long"),
            "recipe of the paper": Variant(recipe="paper", training="long"),
            "published code": Variant(recipe="original", training="long"),
        },
        across="epochs",
        scale="symlog",
    ),
    "maps": FigureSpec(
        "Representations before and after pre-training",
        "The paper shows by t-SNE that classes come apart in pre-training.",
        "encoder",
        {"untrained": UNTRAINED, "pre-trained": PRETRAINED},
        maps=True,
    ),
    "stop_gradient": FigureSpec(
        "Where the gradient stops",
        "Equation (4) of the paper passes the gradient of the codeword labels straight through. Read so, it reaches "
        "the tokenizer and the embedding of the windows, which learn to give codewords that are easy to predict; a "
        "reader of the paper expected it to stop before the embedding. The published code takes labels by argmax, "
        "through which no gradient goes; its tokenizer still learns, as it also predicts. One that is frozen cannot "
        "give way, whether it reads the embedding or the raw windows. Codewords are the only task here.",
        "gradient of the codeword labels",
        {
            **GRADIENTS,
            **{
                f"{title}, no noise": dataclasses.replace(variant, config={**variant.config, **NO_NOISE})
                for title, variant in GRADIENTS.items()
            },
            "frozen random projection of raw windows": Variant(RANDOM | MCC_ALONE),
        },
        reference="stopped, as in the published code",
        codebook=True,
    ),
    "why_codewords": FigureSpec(
        "Why codewords at all",
        "The paper classifies discrete codewords beside regressing representations, as raw values are noisy. Each "
        "target stands alone here, but for the last. The projection that draws our codewords can be regressed before "
        "they are drawn, which shows what it is worth to be discrete. k-means of the projected windows is what "
        "quantisation in two stages would give: a codebook fitted before and then frozen. That of the paper is "
        "learned along with the encoder.",
        "what is predicted of hidden windows",
        {
            "codewords by random projection": Variant(RANDOM | MCC_ALONE),
            "the projection, before it is quantised": Variant(RANDOM, model="projection"),
            "codewords by k-means": Variant(RANDOM | MCC_ALONE, model="k-means"),
            "learned codewords": Variant(LEARNED),
            "learned codewords, no noise": Variant(LEARNED | NO_NOISE),
            "raw values": Variant(model="raw values"),
            "representations (MRR)": Variant(MRR_ALONE),
            "codewords and representations": PRETRAINED,
        },
        reference="codewords by random projection",
        codebook=True,
    ),
}
