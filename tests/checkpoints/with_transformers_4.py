"""Run by transformers 4: reads each folder of a directory, and leaves there what it computes, and its own copy."""

import json
import pathlib
import sys

import numpy as np
import torch
import transformers


def main(root):
    """Reads the folders in `root`, and prints for each the keys that were missing, unexpected or mismatched."""
    pixels = torch.tensor(np.load(root / "pixels.npy"))
    for path in sorted(root.glob("*/config.json")):
        folder, name = path.parent, json.loads(path.read_text())["architectures"][0]
        options = {"add_pooling_layer": False} if name == "ViTModel" else {}
        model, info = getattr(transformers, name).from_pretrained(folder, output_loading_info=True, **options)
        print(folder.name, *(key for keys in info.values() for key in keys))
        everything = {"noise": torch.arange(16.0).expand(len(pixels), -1)} if name == "ViTMAEForPreTraining" else {}
        with torch.no_grad():
            outputs = model.eval()(pixels, output_hidden_states=True, **everything)
        np.save(folder / "outputs.npy", outputs.hidden_states[-1].numpy())
        model.save_pretrained(folder / "again")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
