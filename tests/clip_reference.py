"""What transformers, torchvision and open_clip make of CLIP, for tests/clip.rs to compare with.

    clip_reference.py golden FILE        computes the features of a golden file anew, from the sizes that it names
    clip_reference.py files FOLDER       writes small models in every format, and the features that they are to give
    clip_reference.py pictures FOLDER FILE…   what CLIPImageProcessor makes of pictures, to FOLDER/K.f32
    clip_reference.py vocabulary FOLDER  writes vocab.json, merges.txt and tokenizer.json of the published vocabulary
    clip_reference.py tokens FOLDER      for each line of FOLDER/texts.txt the tokens, to transformers.json and open_clip.json

Weights and inputs are not stored: both sides fill them with the random numbers of src/data/random.rs, by name.
"""

import json
import sys
from pathlib import Path

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MASK = (1 << 64) - 1


def mix(state):
    with np.errstate(over="ignore"):
        z = np.asarray(state, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def draws(seed, index, count):
    """The first numbers of Random::stream(seed, index)."""
    first = lambda state: int(mix((state + int(GOLDEN)) & MASK))
    state = first(first(seed) ^ ((index * 0xD1342543DE82EF95) & MASK))
    with np.errstate(over="ignore"):
        return mix(np.uint64(state) + GOLDEN * np.arange(1, count + 1, dtype=np.uint64))


def between(seed, index, shape, bound):
    unit = (draws(seed, index, int(np.prod(shape))) >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)
    bound = np.float32(bound)
    return (-bound + (bound - -bound) * unit).reshape(shape)


def name_hash(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def filled(name, shape):
    index = name_hash(name)
    if name == "logit_scale":
        return np.float32(2.5).reshape(())
    if len(shape) == 1:
        values = between(1, index, shape, 0.1)
        return values + np.float32(1) if "norm" in name and name.endswith("weight") else values
    if name.endswith("embedding.weight") and len(shape) == 2:
        return between(1, index, shape, 0.5)
    return between(1, index, shape, 1.7 / np.sqrt(np.prod(shape[1:])))


def model_of(config):
    import torch
    from transformers import CLIPConfig, CLIPModel

    def tower(sizes, **more):
        return {
            "hidden_size": sizes["width"],
            "num_hidden_layers": sizes["layers"],
            "num_attention_heads": sizes["heads"],
            "intermediate_size": sizes["hidden_size"],
            "hidden_act": config["activation"],
            "layer_norm_eps": config["norm_epsilon"],
            "projection_dim": config["embedding_size"],
            **more,
        }

    image, text = config["image"], config["text"]
    theirs = CLIPConfig(
        vision_config=tower(image["transformer"], image_size=image["image_size"], patch_size=image["patch_size"]),
        text_config=tower(
            text["transformer"],
            vocab_size=text["vocabulary_size"],
            max_position_embeddings=text["context"],
            eos_token_id=text["end_token"],
            bos_token_id=0,
        ),
        projection_dim=config["embedding_size"],
    )
    model = CLIPModel(theirs).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(torch.from_numpy(np.array(filled(name, tuple(weight.shape)))))
    return model


def inputs_of(config):
    import torch

    side, text = config["image"]["image_size"], config["text"]
    pictures = between(2, 0, (2, 3, side, side), 2.0)
    highest, context = text["vocabulary_size"] - 1, text["context"]
    tokens = np.full((3, context), highest, dtype=np.int64)
    for row, length in enumerate([context - 1, context // 2, 1]):
        # Neither the end nor, where the highest number ends a text, anything behind it.
        tokens[row, :length] = (draws(3, row, length) % np.uint64(highest)).astype(np.int64)
    return torch.from_numpy(pictures), torch.from_numpy(tokens)


def features(model, config):
    import torch

    pictures, tokens = inputs_of(config)
    with torch.no_grad():
        output = model(input_ids=tokens, pixel_values=pictures)
        pooled = lambda result: result if isinstance(result, torch.Tensor) else result.pooler_output
        images = pooled(model.get_image_features(pixel_values=pictures))
        texts = pooled(model.get_text_features(input_ids=tokens))
    rows = lambda tensor: [[float(f"{value:.8g}") for value in row] for row in tensor.tolist()]
    return {"images": rows(images), "texts": rows(texts), "logits": rows(output.logits_per_image)}


def golden(path):
    cases = json.load(open(path, encoding="utf-8"))
    cases = [{"config": case["config"], **features(model_of(case["config"]), case["config"])} for case in cases]
    with open(path, "w", encoding="utf-8") as file:
        file.write("[" + ",\n".join(json.dumps(case) for case in cases) + "]\n")


def openai_names(weights):
    """The same weights, named and laid out as OpenAI does."""
    import torch

    layers = {}
    renamed = {}
    whole = {
        "vision_model.embeddings.class_embedding": "visual.class_embedding",
        "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
        "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "logit_scale": "logit_scale",
    }
    for name, weight in weights.items():
        if name in whole:
            renamed[whole[name]] = weight
        elif name == "visual_projection.weight":
            renamed["visual.proj"] = weight.T.contiguous()
        elif name == "text_projection.weight":
            renamed["text_projection"] = weight.T.contiguous()
        elif ".self_attn." in name and ".out_proj." not in name:
            layers[name] = weight
        else:
            for theirs, ours in [
                ("vision_model.pre_layrnorm", "visual.ln_pre"),
                ("vision_model.post_layernorm", "visual.ln_post"),
                ("text_model.final_layer_norm", "ln_final"),
                ("vision_model.encoder.layers", "visual.transformer.resblocks"),
                ("text_model.encoder.layers", "transformer.resblocks"),
                ("self_attn", "attn"),
                ("layer_norm1", "ln_1"),
                ("layer_norm2", "ln_2"),
                ("mlp.fc1", "mlp.c_fc"),
                ("mlp.fc2", "mlp.c_proj"),
            ]:
                name = name.replace(theirs, ours)
            renamed[name] = weight
    for name in [name for name in layers if ".q_proj." in name]:
        fused = torch.cat([layers[name.replace("q_proj", part)] for part in ["q_proj", "k_proj", "v_proj"]])
        name = name.replace("vision_model.encoder.layers", "visual.transformer.resblocks")
        name = name.replace("text_model.encoder.layers", "transformer.resblocks")
        renamed[name.replace("self_attn.q_proj.", "attn.in_proj_")] = fused
    return renamed


def archive(weights, path):
    """A TorchScript archive with these parameters, as OpenAI's are."""
    import torch

    class Node(torch.nn.Module):
        def forward(self, x):
            return x

    root = Node()
    for name, weight in weights.items():
        *parents, last = name.split(".")
        node = root
        for parent in parents:
            if not hasattr(node, parent):
                node.add_module(parent, Node())
            node = getattr(node, parent)
        node.register_parameter(last, torch.nn.Parameter(weight, requires_grad=False))
    torch.jit.script(root).save(path)


def files(folder):
    import torch
    from safetensors.torch import save_file

    config = json.load(open(folder / "config.in.json", encoding="utf-8"))
    model = model_of(config)
    # What half precision can hold, so that all files hold the same.
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.half().float())
    published = folder / "published"
    model.save_pretrained(published)
    # Old files hold the buffers too.
    weights = {name: weight.detach().contiguous() for name, weight in model.named_parameters()}
    count = weights["vision_model.embeddings.position_embedding.weight"].shape[0]
    buffers = {"vision_model.embeddings.position_ids": torch.arange(count).unsqueeze(0)}
    old = folder / "old"
    old.mkdir()
    save_file({**weights, **buffers}, old / "model.safetensors", metadata={"format": "pt"})
    half = {name: weight.half() for name, weight in openai_names(weights).items()}
    save_file({name: weight.clone() for name, weight in half.items()}, folder / "openai.safetensors")
    # As open_clip's training saves it, and as its models are published.
    opened = folder / "open_clip"
    opened.mkdir()
    settings = {"model_cfg": {"embed_dim": config["embedding_size"], "quick_gelu": config["activation"] == "quick_gelu"}}
    (opened / "open_clip_config.json").write_text(json.dumps(settings))
    save_file({name: weight.clone() for name, weight in half.items()}, opened / "open_clip_model.safetensors")
    wrapped = {f"module.{name}": weight for name, weight in half.items()}
    torch.save({"epoch": 1, "name": "run", "state_dict": wrapped, "optimizer": {}}, opened / "epoch_1.pt")
    archive(half, folder / "ViT.pt")
    torch.save(half, folder / "state_dict.pt")
    json.dump(features(model, config), open(folder / "features.json", "w"))


def pictures(folder, names):
    from PIL import Image
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil()
    for number, name in enumerate(names):
        values = processor(Image.open(name), return_tensors="np")["pixel_values"][0]
        np.ascontiguousarray(values, dtype="<f4").tofile(folder / f"{number}.f32")


def published_tokenizer():
    import gzip
    import importlib.util

    from transformers import CLIPTokenizer

    place = Path(importlib.util.find_spec("open_clip").origin).with_name("bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.open(place).read().decode("utf-8").split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = [chr(byte) for byte in seen] + [chr(256 + number) for number in range(256 - len(seen))]
    tokens = letters + [letter + "</w>" for letter in letters] + ["".join(merge) for merge in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return place, vocabulary, merges, CLIPTokenizer(vocab=vocabulary, merges=merges)


def vocabulary(folder):
    place, numbers, merges, tokenizer = published_tokenizer()
    (folder / place.name).write_bytes(place.read_bytes())
    two = folder / "two"
    two.mkdir()
    (two / "vocab.json").write_text(json.dumps(numbers), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (two / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder / "one")


def tokens(folder):
    texts = (folder / "texts.txt").read_text(encoding="utf-8").split("\n")
    tokenizer = published_tokenizer()[-1]
    ids = tokenizer(texts, truncation=True, max_length=77)["input_ids"]
    json.dump(ids, open(folder / "transformers.json", "w"))

    # The module alone: the package would import models that are not needed.
    import importlib.util

    place = Path(importlib.util.find_spec("open_clip").origin).with_name("tokenizer.py")
    spec = importlib.util.spec_from_file_location("open_clip_tokenizer", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    theirs = module.SimpleTokenizer()
    start, end = theirs.encoder["<start_of_text>"], theirs.encoder["<end_of_text>"]
    json.dump([[start, *theirs.encode(text)[:75], end] for text in texts], open(folder / "open_clip.json", "w"))


if __name__ == "__main__":
    what, path, *rest = sys.argv[1:]
    commands = {"files": files, "vocabulary": vocabulary, "tokens": tokens}
    if what == "golden":
        golden(path)
    elif what == "pictures":
        pictures(Path(path), rest)
    else:
        commands[what](Path(path))
