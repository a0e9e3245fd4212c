"""Base classes of models, and the pieces that models of several tasks share."""

from vidcore.nn.checkpointing import checkpointed, run_blocks
from vidcore.nn.model import FeatureModel, ImageWeights, JoinedNetwork, Model, Preprocessor, image_weights
from vidcore.nn.parts import average_views, chunked, make_divisible, pool_positions, require, require_type
from vidcore.nn.positions import (
    PositionTables,
    guess_grid,
    resize_positions,
    resize_tables,
    rotary_angles,
    rotate,
    sinusoids,
)
from vidcore.nn.transformer import (
    Attention,
    ClipBlock,
    DropPath,
    Mlp,
    PackedAttention,
    PatchEmbed,
    QuickGELU,
    attend,
    drop_path_rates,
    init_transformer,
    layer_by_name,
)

__all__ = [
    "Attention",
    "ClipBlock",
    "DropPath",
    "FeatureModel",
    "ImageWeights",
    "JoinedNetwork",
    "Mlp",
    "Model",
    "PackedAttention",
    "PatchEmbed",
    "PositionTables",
    "Preprocessor",
    "QuickGELU",
    "attend",
    "average_views",
    "checkpointed",
    "chunked",
    "drop_path_rates",
    "guess_grid",
    "image_weights",
    "init_transformer",
    "layer_by_name",
    "make_divisible",
    "pool_positions",
    "require",
    "require_type",
    "resize_positions",
    "resize_tables",
    "rotary_angles",
    "rotate",
    "run_blocks",
    "sinusoids",
]
