"""What the figures of the paper vary, and what each of them asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Variant:
    """
    A pre-training with something changed about the recipe.

    Args:
        config: fields of `TimeMAEConfig`.
        recipe: `"default"` or `"paper"` in the place of that of the command line.
        model: the model that is trained; one of `figures.MODELS`.
        block_length: windows that are hidden together.
        series: part of the series of train that pre-training sees, in as many steps as with all of them.
        training: `"usual"`, `"none"`, or `"long"` with the probe in its course.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    recipe: Literal["default", "paper"] | None = None
    model: str = "decoupled"
    block_length: int = 1
    series: float = 1.0
    training: Literal["usual", "none", "long"] = "usual"


@dataclass(frozen=True)
class FigureSpec:
    """
    A figure.

    Args:
        title: of its page.
        claim: what the paper says, or what is asked.
        axis: what the variants differ in.
        variants: by their name on the axis.
        across: what the horizontal axis is: the variants, parts of the labels, or epochs of pre-training.
        codebook: whether the perplexity of the codebook in the course of training is drawn beside.
        maps: whether representations (t-SNE) are drawn instead of accuracies.
    """

    title: str
    claim: str
    axis: str
    variants: Mapping[str, Variant]
    across: Literal["variants", "labels", "epochs"] = "variants"
    codebook: bool = False
    maps: bool = False


def vary(name: str, values: list[Any]) -> dict[str, Variant]:
    """Returns a variant for each value of a field of `TimeMAEConfig`."""
    return {f"{value:g}": Variant({name: value}) for value in values}


PRETRAINED, UNTRAINED = Variant(), Variant(training="none")
MCC_ALONE, MRR_ALONE = Variant({"mrr_loss_weight": 0.0}), Variant({"mcc_loss_weight": 0.0})
LEARNED = {"tokenizer_type": "learned"}

FIGURES: dict[str, FigureSpec] = {
    "mask_ratio": FigureSpec(
        "Mask ratio",
        "The paper finds the best representations with about 60% of the windows hidden, far more than BERT's 15%.",
        "share of the windows that is hidden",
        vary("mask_ratio", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
    ),
    "masking": FigureSpec(
        "Masking at random or in blocks",
        "The paper hides windows at random, as this trains the representation of each position; blocks of neighbours "
        "would be an alternative.",
        "windows that are hidden together",
        {str(length): Variant(block_length=length) for length in (1, 2, 4, 8)},
    ),
    "codebook_size": FigureSpec(
        "Codebook size",
        "The paper chooses the size for each set among 64, 96, 128, 192, 256 and 512.",
        "codewords",
        vary("codebook_size", [64, 96, 128, 192, 256, 512]),
        codebook=True,
    ),
    "window": FigureSpec(
        "Window length",
        "The paper argues that windows carry more meaning than single points, and chooses their length among 4, 8, 12 "
        "and 16.",
        "time steps of a window",
        vary("patch_length", [2, 4, 8, 12, 16, 32]),
    ),
    "width": FigureSpec(
        "Width",
        "The paper has 64 throughout; its analysis of model size says that larger models do better. Does the codebook "
        "live at all widths? That can be asked of a learned tokenizer only (--recipe paper): codewords by random "
        "projection do not know the width.",
        "width of all layers",
        vary("hidden_size", [64, 128, 256]),
        codebook=True,
    ),
    "depth": FigureSpec(
        "Depth",
        "The paper has 8 layers in the visible encoder; its analysis of model size says that larger models do better.",
        "layers of the visible encoder",
        vary("num_hidden_layers", [1, 2, 4, 8, 12]),
    ),
    "labels": FigureSpec(
        "Part of the labels",
        "The paper says that pre-training helps most where labels are few.",
        "labels",
        {"pre-trained": PRETRAINED, "untrained": UNTRAINED},
        across="labels",
    ),
    "series": FigureSpec(
        "Part of the series of pre-training",
        "The paper says that more series without labels make better representations.",
        "part of the series that pre-training sees",
        {f"{part:g}": Variant(series=part) for part in (0.05, 0.1, 0.25, 0.5, 1.0)},
    ),
    "loss_weights": FigureSpec(
        "Weights of the two tasks",
        "The paper keeps the weight of one task at 1 and chooses that of the other from 1 to 10; without either task "
        "it does worse.",
        "weight of MRR beside MCC",
        {
            "MCC alone": MCC_ALONE,
            **vary("mrr_loss_weight", [1.0, 2.0, 5.0, 10.0]),
            "MRR alone": MRR_ALONE,
        },
    ),
    "decoupling": FigureSpec(
        "Decoupled or coupled encoder",
        "The paper decouples the encoders, so that the visible encoder never sees mask tokens, which no series has "
        "after pre-training.",
        "encoder",
        {"decoupled": PRETRAINED, "coupled: sees mask tokens": Variant(model="coupled")},
    ),
    "epochs": FigureSpec(
        "Epochs of pre-training",
        "The paper pre-trains for 100 epochs. How fast do the recipe of the paper and ours learn? An epoch of ours "
        "has four times the steps. The rate falls over all of the training, so that one of 30 epochs is better than "
        "these after 30.",
        "epoch",
        {
            "ours": Variant(recipe="default", training="long"),
            "recipe of the paper": Variant(recipe="paper", training="long"),
        },
        across="epochs",
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
        "Equation (4) of the paper passes the gradient of the codeword labels straight through to the tokenizer. Read "
        "so, the tokenizer learns to give codewords that are easy to predict. The published code takes the labels by "
        "argmax, through which no gradient goes. A tokenizer that is frozen cannot give way at all.",
        "gradient of the codeword labels",
        {
            "straight through, equation (4)": Variant(LEARNED | {"codeword_gradient": "straight_through"}),
            "stopped, as in the published code": Variant(LEARNED | {"codeword_gradient": "detached"}),
            "frozen random projection": Variant({"tokenizer_type": "random_projection"}),
        },
        codebook=True,
    ),
    "why_codewords": FigureSpec(
        "Why codewords at all",
        "The paper classifies discrete codewords beside regressing representations, as raw values are noisy. Unlike "
        "product quantisation, the codewords are learned along with the encoder.",
        "what is predicted of hidden windows",
        {
            "codewords (MCC)": MCC_ALONE,
            "representations (MRR)": MRR_ALONE,
            "both": PRETRAINED,
            "raw values": Variant(model="raw values"),
        },
        codebook=True,
    ),
}
