"""The course's way with features: a file of PyTorch for each picture, read one by one.

`features.py THREADS FOLDER PICTURES REGIONS WIDTH`. Waits for lines on standard input, and answers each with pictures a second:
`write 0` writes the files, `read COUNT` reads so many in shuffled batches of 256, as the same tensors as ours.
"""
import os
import random
import sys
import time

import torch

BATCH = 256


def main():
    threads, folder, pictures, regions, width = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    torch.set_num_threads(int(threads))
    order = list(range(pictures))

    def path(number):
        return os.path.join(folder, f"{number}.pt")

    def write():
        features, boxes = torch.randn(regions, width).half(), torch.rand(regions - 1, 4)
        for number in order:
            torch.save({"features": features, "boxes": boxes}, path(number))

    def read(count):
        random.shuffle(order)
        for start in range(0, count, BATCH):
            numbers = order[start : min(start + BATCH, count)]
            features = torch.zeros(len(numbers), regions, width)
            mask = torch.zeros(len(numbers), regions)
            for place, number in enumerate(numbers):
                rows = torch.load(path(number), weights_only=True)["features"]
                features[place, : len(rows)] = rows
                mask[place, : len(rows)] = 1

    for line in sys.stdin:
        mode, count = line.split()
        start = time.perf_counter()
        if mode == "write":
            write()
        else:
            read(int(count))
        print((int(count) or pictures) / (time.perf_counter() - start), flush=True)


main()
