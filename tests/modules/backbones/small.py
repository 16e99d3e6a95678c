"""Families of networks in a small size, untrained, made by arguments of timm's constructors."""

from typing import Any

import timm

TOKENS = {"embed_dim": 24, "depth": 4, "num_heads": 2}
ROTARY = {"embed_dim": 32, "depth": 4, "num_heads": 2}
WINDOWS = {"embed_dim": 12, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 2, 2)}
# Name of a plain ViT: side of a patch and arguments.
PLAIN: dict[str, tuple[int, dict[str, Any]]] = {
    "vit_tiny_patch16_224": (16, TOKENS | {"depth": 6}),
    "deit_tiny_distilled_patch16_224": (16, TOKENS),
    "deit3_small_patch16_224": (16, TOKENS),
    "vit_small_patch14_dinov2": (14, TOKENS),
    "vit_small_patch14_reg4_dinov2": (14, TOKENS),
    "vit_small_patch16_dinov3": (16, ROTARY),
    "eva02_tiny_patch14_224": (14, ROTARY),
    "vit_base_patch16_clip_224": (16, TOKENS),
    "vit_base_patch16_siglip_224": (16, TOKENS),
    "xcit_nano_12_p16_224": (16, {"embed_dim": 24, "depth": 4, "num_heads": 2}),
    "test_vit2": (16, {}),
}
# Name of a hierarchical network: arguments.
PYRAMIDS: dict[str, dict[str, Any]] = {
    "swin_tiny_patch4_window7_224": WINDOWS,
    "swinv2_tiny_window8_256": WINDOWS,
    "convnextv2_atto": {"depths": (1, 1, 2, 1), "dims": (8, 12, 16, 24)},
    "hieradet_small": {"embed_dim": 16, "num_heads": 1, "stages": (1, 1, 2, 1)},
    "mvitv2_tiny": {},
    "pvt_v2_b0": {},
    "mambaout_femto": {"depths": (1, 1, 2, 1), "dims": (8, 12, 16, 24)},
    "test_convnext": {},
}
ARGUMENTS = {name: arguments for name, (_, arguments) in PLAIN.items()} | PYRAMIDS


def shrink(monkeypatch) -> None:
    """Let timm make the small networks in place of those of these names."""
    create = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda name, **options: create(name, **arguments(name), **options)
    )


def arguments(name: str) -> dict[str, Any]:
    return ARGUMENTS.get(name.partition(".")[0], {})
