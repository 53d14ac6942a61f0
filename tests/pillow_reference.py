"""What Pillow and torchvision make of pictures, for tests/images.rs to compare with.

    pillow_reference.py make FOLDER           writes pictures of many kinds into FOLDER
    pillow_reference.py decode FOLDER FILE…   writes each FILE, upright and as RGB, to FOLDER/K.rgb
    pillow_reference.py resize FOLDER FILE WIDTHxHEIGHT:FILTER…   each resized to FOLDER/K.rgb
    pillow_reference.py preprocess FOLDER PRESET FILE…   the normalised float32 tensor to FOLDER/K.f32

Raw files hold nothing but the numbers. One line "WIDTH HEIGHT" a result goes to standard output.
"""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}


def picture(width, height, seed=1):
    """Smooth shapes with some grain, as a photograph has."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.BICUBIC).filter(ImageFilter.GaussianBlur(2))
    grain = random.normal(0, 4, (height, width, 3))
    return Image.fromarray((np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8))


def jpeg_with_adobe_transform(image, transform):
    """A four-channel JPEG whose Adobe marker names this colour transform, or that has no such marker (None)."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    data = bytearray(buffer.getvalue())
    marker = data.index(b"\xff\xee\x00\x0eAdobe")
    if transform is None:
        del data[marker : marker + 16]
    else:
        data[marker + 15] = transform
    return bytes(data)


def make(folder):
    photo = picture(203, 151)
    for name, options in {
        "444": {"subsampling": "4:4:4"},
        "422": {"subsampling": "4:2:2"},
        "420": {"subsampling": "4:2:0"},
        "progressive": {"progressive": True},
        "progressive-444": {"progressive": True, "subsampling": "4:4:4"},
        "coarse": {"quality": 20},
        "fine": {"quality": 98},
        "optimised": {"optimize": True},
        "restarts": {"restart_marker_rows": 1},
        "rgb": {"keep_rgb": True},
    }.items():
        photo.save(folder / f"jpeg-{name}.jpg", **{"quality": 90, **options})
    for width, height in [(1, 1), (2, 3), (7, 9), (16, 16), (17, 33), (1, 500), (500, 1), (8, 1000)]:
        picture(width, height).save(folder / f"jpeg-{width}x{height}.jpg", quality=90)
    photo.convert("L").save(folder / "jpeg-grey.jpg", quality=90)
    photo.convert("L").save(folder / "jpeg-grey-progressive.jpg", quality=90, progressive=True)
    cmyk = Image.fromarray(np.dstack([np.asarray(picture(203, 151, 2)), np.asarray(photo.convert("L"))]), "CMYK")
    cmyk.save(folder / "jpeg-cmyk.jpg", quality=90)
    (folder / "jpeg-cmyk-no-adobe.jpg").write_bytes(jpeg_with_adobe_transform(cmyk, None))
    (folder / "jpeg-ycck.jpg").write_bytes(jpeg_with_adobe_transform(cmyk, 2))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        photo.save(folder / f"jpeg-orientation-{orientation}.jpg", quality=90, exif=exif)
        photo.save(folder / f"png-orientation-{orientation}.png", exif=exif)

    photo.save(folder / "png-rgb.png")
    photo.convert("L").save(folder / "png-grey.png")
    photo.convert("1").save(folder / "png-two-tone.png")
    palette = photo.quantize(64)
    palette.save(folder / "png-palette.png")
    palette.save(folder / "png-palette-16.png", bits=4)
    palette.save(folder / "png-palette-transparent.png", transparency=bytes(range(0, 256, 4)))
    photo.save(folder / "png-colour-key.png", transparency=photo.getpixel((0, 0)))
    photo.convert("L").save(folder / "png-grey-key.png", transparency=100)
    alpha = Image.linear_gradient("L").resize(photo.size)
    transparent = photo.copy()
    transparent.putalpha(alpha)
    transparent.save(folder / "png-alpha.png")
    grey = photo.convert("L")
    grey.putalpha(alpha)
    grey.save(folder / "png-grey-alpha.png")


def show(folder, results):
    for number, (image, size) in enumerate(results):
        suffix = "f32" if image.dtype == np.float32 else "rgb"
        (folder / f"{number}.{suffix}").write_bytes(np.ascontiguousarray(image).tobytes())
        print(*size)


def read(file):
    return ImageOps.exif_transpose(Image.open(file)).convert("RGB")


def main():
    command, folder, *rest = sys.argv[1:]
    folder = Path(folder)
    if command == "make":
        make(folder)
    elif command == "decode":
        images = (read(file) for file in rest)
        show(folder, ((np.asarray(image), image.size) for image in images))
    elif command == "resize":
        image = read(rest[0])
        wanted = (entry.replace("x", ":").split(":") for entry in rest[1:])
        images = (image.resize((int(width), int(height)), FILTERS[name]) for width, height, name in wanted)
        show(folder, ((np.asarray(image), image.size) for image in images))
    elif command == "preprocess":
        from torchvision import transforms as T

        if rest[0] == "imagenet":
            resize, mean, deviation = T.Resize(256), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        else:
            mean, deviation = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
            resize = T.Resize(224, interpolation=T.InterpolationMode.BICUBIC)
        steps = T.Compose([resize, T.CenterCrop(224), T.ToTensor(), T.Normalize(mean, deviation)])
        show(folder, ((steps(read(file)).numpy(), (224, 224)) for file in rest[1:]))


main()
