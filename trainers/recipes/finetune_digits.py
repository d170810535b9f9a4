"""Fine-tuning on digits, of the encoder in `--run`, whatever its size.

Evidence: `python -m benchmarks.digits_evaluation`, which runs it with 10 labels a class (100 epochs) and with all
(10 epochs), pretrained and not, over three seeds.
Command: `keras-mae finetune --recipe=finetune_digits --run=runs/digits --data=digits --output=runs/finetuned`.
Deviations from the paper: batches of 50, as there may be few labels, with a base learning rate ten times that of
ViT-B; 50 epochs; layer-wise decay of 0.75, no drop path, and no augmentation, as a mirrored digit is none.
"""

from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.settings import replaced


def config() -> FinetuneConfig:
    """The peak learning rate is 1e-3."""
    return replaced(
        FinetuneConfig(),
        epochs=50,
        warmup_epochs=5.0,
        batch_size=50,
        base_learning_rate=5.12e-3,
        layer_decay=0.75,
        drop_path_rate=0.0,
        mixup=0.0,
        cutmix=0.0,
        rand_augment=None,
        random_erasing=0.0,
        crop_scale=None,
        flip=False,
        crop_ratio=1.0,
        dtype_policy="float32",
        jit_compile=True,
    )
