"""A quantised copy of a toy model: int8 weights for each output channel, int8 activations for each token
(compressed-tensors)."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from organisms import shipped

INT8 = {"num_bits": 8, "type": "int", "symmetric": True}
CONFIG = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {**INT8, "strategy": "channel", "dynamic": False},
            "input_activations": {**INT8, "strategy": "token", "dynamic": True},
        }
    },
}


def write_quantised(folder: Path, organism: str = "steps") -> Path:
    shutil.copytree(shipped.FOLDER / organism, folder)
    weights, quantised = load_file(folder / "model.safetensors"), {}
    for name, weight in weights.items():
        if not name.endswith("_proj.weight"):
            quantised[name] = weight
            continue
        scale = weight.float().abs().amax(dim=1, keepdim=True) / 127
        quantised[name] = (weight.float() / scale).round().to(torch.int8)
        quantised[f"{name}_scale"] = scale
    save_file(quantised, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": CONFIG}))
    return folder
