"""Writes features in the layout of the course's Python original, right ones and wrong ones: `features_reference.py FOLDER`."""

import os
import pathlib
import sys
import zipfile

import torch
from safetensors.torch import save_file

WIDTH = 32


class Hostile:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def main(folder):
    features_folder = folder / "cached_features"
    features_folder.mkdir()
    generator = torch.Generator().manual_seed(1)
    expected = {}
    for number in range(40):
        regions = 1 + number % 20
        # What half precision keeps exactly.
        features = torch.randn(regions, WIDTH, generator=generator).half().float()
        boxes = 100 * torch.rand(regions - 1, 4, generator=generator)
        name = str(1000 + number)
        torch.save({"features": features, "boxes": boxes}, features_folder / f"{name}.pt")
        expected[f"{name}.features"], expected[f"{name}.boxes"] = features, boxes
    save_file(expected, folder / "expected.safetensors")

    features, boxes = torch.ones(5, WIDTH), torch.ones(4, 4)
    wrong = {
        "hostile": {"features": features, "boxes": boxes, "more": Hostile(f"touch {folder / 'hostile'}")},
        "nan": {"features": features * float("nan"), "boxes": boxes},
        "narrow": {"features": torch.ones(5, WIDTH // 2), "boxes": boxes},
        "boxes": {"features": features, "boxes": torch.ones(7, 4)},
        "keys": {"features": features},
    }
    # Behind the right ones in the alphabet, so that these say how wide features are.
    for name, content in wrong.items():
        torch.save(content, features_folder / f"{name}.pt")
    (features_folder / "text.pt").write_text("no weights at all")
    whole = (features_folder / "1000.pt").read_bytes()
    (features_folder / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (features_folder / "readme.txt").write_text("not a picture")

    with zipfile.ZipFile(folder / "cached_features.zip", "w") as archive:
        for path in sorted(features_folder.iterdir()):
            archive.write(path, f"cached_features/{path.name}")


main(pathlib.Path(sys.argv[1]))
