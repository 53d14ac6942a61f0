"""What torchvision makes of pictures with given weights, for tests/vision.rs to compare with.

Each line of standard input is a call, a list of texts in JSON:

    resnet CONFIG.json WEIGHTS.safetensors OUT.safetensors PICTURE…
    efficientnet CONFIG.json WEIGHTS.safetensors OUT.safetensors PICTURE…
    detector CONFIG.json WEIGHTS.safetensors OUT.safetensors PICTURE…
    published FOLDER
    classes OUT.json
    precision FOUND.json OUT.json
    losses CONFIG.json WEIGHTS.safetensors OUT.safetensors PICTURES.safetensors

It is answered by a line when its files are written: a text in JSON, empty, or what went wrong.
CONFIG.json is the configuration as captionlab writes it. The networks are put together from torchvision's parts;
`efficientnet` is the package efficientnet-lite-pytorch, whose pictures have the size that it reads.
`published` writes files with drawn weights such as torchvision publishes: Faster R-CNN's in the format and with the names of 2019.
"""

import contextlib
import functools
import json
import os
import sys
import traceback

import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign
from torchvision.transforms.functional import to_tensor

torch.set_grad_enabled(False)


class AnyWidth(ResNet):
    """torchvision's ResNet, which has 64 channels in its first stage, with any number of them."""

    def __init__(self, config):
        nn.Module.__init__(self)
        normalisation = config["normalisation"]
        if normalisation == "batch":
            self._norm_layer = nn.BatchNorm2d
        else:
            self._norm_layer = functools.partial(FrozenBatchNorm2d, eps=normalisation["frozen"]["epsilon"])
        block = {"basic": BasicBlock, "bottleneck": Bottleneck}[config["block"]]
        width, layers = config["width"], config["layers"]
        self.inplanes, self.dilation, self.groups, self.base_width = width, 1, 1, 64
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = self._norm_layer(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, width, layers[0])
        self.layer2 = self._make_layer(block, 2 * width, layers[1], stride=2)
        self.layer3 = self._make_layer(block, 4 * width, layers[2], stride=2)
        self.layer4 = self._make_layer(block, 8 * width, layers[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.channels = [factor * width * block.expansion for factor in (1, 2, 4, 8)]
        if config["classes"] is not None:
            self.fc = nn.Linear(self.channels[-1], config["classes"])


def detector(config):
    body = AnyWidth(config["backbone"])
    maps = {f"layer{stage + 1}": str(stage) for stage in range(4)}
    backbone = BackboneWithFPN(body, maps, body.channels, config["pyramid_channels"])
    shapes = tuple(config["anchor_shapes"])
    anchors = AnchorGenerator(tuple((size,) for size in config["anchor_sizes"]), (shapes,) * len(config["anchor_sizes"]))
    cells, size = config["region_cells"], config["head_size"]
    proposals, detections, sampling = config["proposals"], config["detections"], config["sampling"]
    return FasterRCNN(
        backbone,
        min_size=config["shorter_side"],
        max_size=config["longest_side"],
        image_mean=config["mean"],
        image_std=config["standard_deviation"],
        rpn_anchor_generator=anchors,
        rpn_pre_nms_top_n_train=sampling["proposals"]["pre_nms_top_n"],
        rpn_pre_nms_top_n_test=proposals["pre_nms_top_n"],
        rpn_post_nms_top_n_train=sampling["proposals"]["post_nms_top_n"],
        rpn_post_nms_top_n_test=proposals["post_nms_top_n"],
        rpn_nms_thresh=proposals["iou_threshold"],
        rpn_fg_iou_thresh=sampling["anchor_fg_iou"],
        rpn_bg_iou_thresh=sampling["anchor_bg_iou"],
        rpn_batch_size_per_image=sampling["anchors"],
        rpn_positive_fraction=sampling["anchor_positive_fraction"],
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], cells, 2),
        box_head=TwoMLPHead(config["pyramid_channels"] * cells**2, size),
        box_predictor=FastRCNNPredictor(size, len(config["classes"])),
        box_score_thresh=detections["score_threshold"],
        box_nms_thresh=detections["iou_threshold"],
        box_detections_per_img=detections["max_detections"],
        box_fg_iou_thresh=sampling["region_fg_iou"],
        box_bg_iou_thresh=sampling["region_fg_iou"],
        box_batch_size_per_image=sampling["regions"],
        box_positive_fraction=sampling["region_positive_fraction"],
    )


def efficientnet(config):
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_name(
        "efficientnet-lite0",
        width_coefficient=config["width"],
        depth_coefficient=config["depth"],
        image_size=config["image_size"],
        num_classes=config["classes"],
    )


def classes(out):
    """The names of ImageNet's classes."""
    names = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    json.dump(names, open(out, "w", encoding="utf-8"))


def published(folder):
    torch.manual_seed(1)
    torch.save(torchvision.models.resnet50(weights=None).state_dict(), f"{folder}/resnet50.pth")
    network = torchvision.models.detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    old = {}
    for name, tensor in network.state_dict().items():
        if name.startswith("rpn.head.conv.0.0."):
            name = name.replace("conv.0.0.", "conv.")
        if "_blocks." in name:
            name = name.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        # Frozen normalisation counted no batches.
        if not name.endswith("num_batches_tracked"):
            old[name] = tensor
    assert "backbone.fpn.inner_blocks.0.weight" in old and "rpn.head.conv.weight" in old
    torch.save(old, f"{folder}/fasterrcnn.pth", _use_new_zipfile_serialization=False)


def precision(found, out):
    """Average precision by pycocotools of {"truth": [[image, label, x, y, width, height]], "found": [[…, score]]}."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rows = json.load(open(found, encoding="utf-8"))
    truth, labels = COCO(), sorted({row[1] for row in rows["truth"]})
    truth.dataset = {
        "images": [{"id": image} for image in range(rows["images"])],
        "categories": [{"id": label} for label in labels],
        "annotations": [
            {"id": k + 1, "image_id": row[0], "category_id": row[1], "bbox": row[2:6], "area": row[4] * row[5], "iscrowd": 0}
            for k, row in enumerate(rows["truth"])
        ],
    }
    truth.createIndex()
    results = [{"image_id": r[0], "category_id": r[1], "bbox": r[2:6], "score": r[6]} for r in rows["found"]]
    evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    # The first overlap is 0.5; all sizes; 100 detections.
    table = evaluation.eval["precision"][0, :, :, 0, 2]
    json.dump({"labels": labels, "precision": [float(table[:, k].mean()) for k in range(len(labels))]}, open(out, "w"))


def main(mode, config, weights, out, *pictures):
    config = json.load(open(config, encoding="utf-8"))
    network = {"resnet": AnyWidth, "efficientnet": efficientnet}.get(mode, detector)(config)
    missing, unexpected = network.load_state_dict(load_file(weights), strict=False)
    # Frozen normalisation has no such count, and ours keeps none.
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), (missing, unexpected)
    results = {}
    if mode == "losses":
        # Pictures as the network reads them, and what is in them.
        tensors = load_file(pictures[0])
        network.train()
        network.transform._skip_resize = True
        network.transform.image_mean, network.transform.image_std = [0.0] * 3, [1.0] * 3
        count = len(tensors["pictures"])
        targets = [{"boxes": tensors[f"{k}.boxes"], "labels": tensors[f"{k}.labels"]} for k in range(count)]
        losses = network(list(tensors["pictures"]), targets)
        results = {name: loss.reshape(1) for name, loss in losses.items()}
    else:
        network.eval()
        pictures = [to_tensor(Image.open(picture).convert("RGB")) for picture in pictures]
    if mode == "resnet":
        for number, picture in enumerate(pictures):
            picture = (picture[None] - 0.5) / 0.25
            map_ = network.maxpool(network.relu(network.bn1(network.conv1(picture))))
            for stage in range(4):
                map_ = getattr(network, f"layer{stage + 1}")(map_)
                results[f"{number}.stage{stage}"] = map_
            results[f"{number}.scores"] = network(picture)
    if mode == "efficientnet":
        for number, picture in enumerate(pictures):
            # As the network's authors scale the bytes.
            picture = (picture[None] * 255 - 127) / 128
            results |= {f"{number}.map": network.extract_features(picture), f"{number}.scores": network(picture)}
    if mode == "detector":
        for number, picture in enumerate(pictures):
            batch, _ = network.transform([picture])
            maps = network.backbone(batch.tensors)
            proposals, _ = network.rpn(batch, maps)
            vectors = network.roi_heads.box_roi_pool(maps, proposals, batch.image_sizes)
            vectors = network.roi_heads.box_head(vectors)
            found = network([picture])[0]
            size = picture.shape[-2:]
            sent = network.transform.postprocess([{"boxes": proposals[0]}], batch.image_sizes, [size])[0]["boxes"]
            results |= {f"{number}.proposals": sent, f"{number}.vectors": vectors}
            results |= {f"{number}.{name}": found[name] for name in ("boxes", "labels", "scores")}
    save_file({name: tensor.contiguous() for name, tensor in results.items()}, out)


OTHERS = {"published": published, "precision": precision, "classes": classes}

for line in sys.stdin:
    mode, *arguments = json.loads(line)
    problem = ""
    try:
        # pycocotools prints what it does.
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            OTHERS.get(mode, functools.partial(main, mode))(*arguments)
    except Exception:
        problem = traceback.format_exc()
    print(json.dumps(problem), flush=True)
