"""Turn the newest whole checkpoint of a training into a model folder: config.json and model.safetensors."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import checkpoints
import numpy as np
from language_model import VOCABULARY


def write_safetensors(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays in the safetensors format: the length of a JSON header, the header, the bytes."""
    header, end = {}, 0
    for name, value in arrays.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [end, end + 4 * value.size]}
        end += 4 * value.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for value in arrays.values():
            stream.write(value.astype("<f4").tobytes())


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file that write_safetensors has made, in double precision."""
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    arrays = {}
    for name, entry in json.loads(content[8:begin]).items():
        first, last = entry["data_offsets"]
        values = np.frombuffer(content[begin + first : begin + last], dtype="<f4")
        arrays[name] = values.reshape(entry["shape"]).astype(np.float64)
    return arrays


def convert(source: Path, target: Path, iteration: int | None) -> int:
    """Write the folder `target`, whole or not at all; returns the iteration. Raises Unusable without a checkpoint."""
    iteration = checkpoints.newest(source) if iteration is None else iteration
    if iteration is None:
        raise checkpoints.Unusable(f"no {checkpoints.TRACKER} in {source}: nothing has been saved there")
    arrays, state = checkpoints.load(source, iteration)
    shape = state["shape"]
    config = {
        "architectures": ["SmallNumpyGpt"],
        "num_hidden_layers": shape["layers"],
        "hidden_size": shape["hidden"],
        "num_attention_heads": shape["heads"],
        "max_position_embeddings": shape["positions"],
        "vocab_size": VOCABULARY,
        "iteration": iteration,
        "consumed_train_samples": state["consumed_train_samples"],
    }
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.mkdir(parents=True)
    model = {name.removeprefix("model/"): value for name, value in arrays.items() if name.startswith("model/")}
    write_safetensors(temporary / "model.safetensors", model)
    (temporary / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    if target.is_dir():
        shutil.rmtree(target)  # of an attempt before
    temporary.rename(target)
    return iteration


def main() -> int:
    """Read the command line and convert; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", type=Path, required=True, help="folder with checkpoints")
    parser.add_argument("--save", type=Path, required=True, help="folder of the model")
    parser.add_argument("--ckpt-step", type=int, help="the iteration; default: the newest whole one")
    options = parser.parse_args()
    try:
        iteration = convert(options.load, options.save, options.ckpt_step)
    except checkpoints.Unusable as err:
        print(f"convert.py: {err}", file=sys.stderr)
        return 1
    print(f"converted iteration {iteration} of {options.load} to {options.save}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
