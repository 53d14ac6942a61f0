"""The networks of torchvision and transformers in eager PyTorch, timed beside ours.

usage: vision.py THREADS RESNET.safetensors DETECTOR.safetensors PICTURE…
Waits for lines on standard input, `resnet BATCHES`, `clip BATCHES` or `detect PICTURES`, and answers each with pictures a second; `memory 0`
with the most memory in megabytes since that was asked before, or `nan`.
"""

import sys
import time
from pathlib import Path

import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d
from torchvision.transforms.functional import to_tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

BATCH = 8


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
    pictures = [Image.open(path).convert("RGB") for path in paths]
    batch = torch.randn(BATCH, 3, 224, 224)
    for line in sys.stdin:
        mode, count = line.split()
        count = int(count)
        start = time.perf_counter()
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
