"""The peer of benches/image_loader.rs: torchvision transforms in a torch DataLoader.

    image_loader.py FOLDER WORKERS BATCH_SIZE

For every line on standard input, loads all pictures of FOLDER once and answers with a line: pictures a second.
"""

import sys
import time
from pathlib import Path

from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T


class Pictures(Dataset):
    def __init__(self, folder):
        self.paths = sorted(Path(folder).glob("*.jpg"))
        self.transform = T.Compose([
            T.Resize(256),
            T.CenterCrop(224),
            T.ToTensor(),
            T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ])

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        # As torchvision.datasets.folder.pil_loader.
        with open(self.paths[index], "rb") as file:
            return self.transform(Image.open(file).convert("RGB"))


def main():
    folder, workers, batch_size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    # Workers stay between rounds, so that starting them is not counted. Two batches a worker are made ahead (the default).
    loader = DataLoader(Pictures(folder), batch_size=batch_size, num_workers=workers, persistent_workers=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        count = sum(batch.shape[0] for batch in loader)
        print(count / (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main()
