"""Small images of one's own, 32 x 32 in colour, with a ViT-tiny on patches of 4 x 4.

Evidence: none measured yet beyond that it trains; the starting point for a folder of small pictures.
Deviations from the paper: small network and decoder, batch 256 with the paper's rule for the learning rate at ten
times its base, as small networks take it.
"""

from keras_mae.trainers.config import PretrainConfig


def config() -> PretrainConfig:
    """ViT-tiny (192 wide, 12 deep), decoder 96 wide and 2 deep."""
    return PretrainConfig(
        preset="vit_tiny_patch16",
        image_size=(32, 32),
        patch_size=(4, 4),
        decoder_hidden_dim=96,
        decoder_num_layers=2,
        decoder_num_heads=3,
        epochs=100,
        warmup_epochs=10.0,
        batch_size=256,
        base_learning_rate=1.5e-3,
        jit_compile=True,
    )
