"""The networks of torchvision and transformers in eager PyTorch, timed beside ours.

usage: vision.py THREADS RESNET.safetensors DETECTOR.safetensors PICTURE…
Waits for lines on standard input, `resnet BATCHES`, `clip BATCHES`, `detect PICTURES`, or `efficientnet FOLDER` for the package
efficientnet-lite-pytorch on all JPEG files of a folder, and answers each with pictures a second; `memory 0` with the most memory in megabytes since that was asked before, or `nan`.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from safetensors.torch import load_file
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d
from torchvision.transforms.functional import to_tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

BATCH = 8


def described(network, folder):
    """Features of the photographs in a folder, decoded by Pillow."""
    paths = sorted(Path(folder).glob("*.jpg"))
    for first in range(0, len(paths), 2 * BATCH):
        batch = []
        for path in paths[first : first + 2 * BATCH]:
            picture = Image.open(path).convert("RGB").resize((224, 224), Image.BICUBIC)
            batch.append((torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() - 127) / 128)
        network.extract_features(torch.stack(batch)).mean((2, 3))
    return len(paths)


@torch.inference_mode()
def main(threads, resnet_file, detector_file, *paths):
    torch.set_num_threads(int(threads))
    resnet = torchvision.models.resnet50(weights=None)
    resnet.load_state_dict(load_file(resnet_file), strict=False)
    resnet.eval()
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d)
    detector = FasterRCNN(backbone, 91)
    detector.load_state_dict(load_file(detector_file))
    detector.eval()
    # Its usual sizes are those of ViT-B/32.
    clip = CLIPVisionModelWithProjection(CLIPVisionConfig()).eval()
    efficientnet = EfficientNet.from_name("efficientnet-lite0").eval()
    pictures = [Image.open(path).convert("RGB") for path in paths]
    batch = torch.randn(BATCH, 3, 224, 224)
    for line in sys.stdin:
        mode, count = line.rstrip("\n").split(" ", 1)
        start = time.perf_counter()
        if mode == "efficientnet":
            print(described(efficientnet, count) / (time.perf_counter() - start), flush=True)
            continue
        count = int(count)
        if mode == "memory":
            try:
                status = Path("/proc/self/status").read_text().split()
                Path("/proc/self/clear_refs").write_text("5")
                print(int(status[status.index("VmHWM:") + 1]) * 1024 / 1e6, flush=True)
            except OSError:
                print("nan", flush=True)
            continue
        if mode in ("resnet", "clip"):
            for _ in range(count):
                resnet(batch) if mode == "resnet" else clip(batch)
            count *= BATCH
        else:
            for picture in pictures[:count]:
                detector([to_tensor(picture)])
        print(count / (time.perf_counter() - start), flush=True)


main(*sys.argv[1:])
