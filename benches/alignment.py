"""The course's alignment model and loss in eager PyTorch, as one would write it: beside `alignment.rs`.

Reads lines `train STEPS` on standard input and answers each with pairs a second, or with `memory 0` with the most memory in MB.
"""
import resource
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)
torch.set_num_threads(int(sys.argv[1]))
VOCABULARY, SIZE, FEATURES, BATCH, REGIONS, WORDS, MARGIN = 5000, 512, 2048, 256, 20, 20, 0.5


class Alignment(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = nn.Linear(FEATURES, SIZE)
        self.words = nn.Embedding(VOCABULARY, 300)
        self.word_layer = nn.Linear(300, SIZE)
        self.lstm = nn.LSTM(SIZE, SIZE, batch_first=True, bidirectional=True)
        self.text = nn.Linear(2 * SIZE, SIZE)

    def forward(self, regions, captions):
        image = F.relu(self.image(regions))
        text = F.relu(self.text(self.lstm(F.relu(self.word_layer(self.words(captions))))[0]))
        return F.normalize(image, dim=-1), F.normalize(text, dim=-1)


def loss(image, text):
    scores = torch.einsum("bih,cjh->bcij", image, text).max(2)[0].sum(2)
    own = scores.diag().view(-1, 1)
    same = torch.eye(len(scores)) > 0.5
    rows = (MARGIN + scores - own).clamp(min=0).masked_fill(same, 0)
    columns = (MARGIN + scores - own.t()).clamp(min=0).masked_fill(same, 0)
    return rows.sum() + columns.sum()


model = Alignment()
optimiser = torch.optim.Adam(model.parameters(), 1e-4)
regions = torch.randn(BATCH, REGIONS, FEATURES)
captions = torch.randint(4, VOCABULARY, (BATCH, WORDS))


def step():
    optimiser.zero_grad()
    value = loss(*model(regions, captions))
    value.backward()
    optimiser.step()
    value.item()


for line in sys.stdin:
    mode, count = line.split()
    if mode == "memory":
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)
        continue
    start = time.perf_counter()
    for _ in range(int(count)):
        step()
    print(BATCH * int(count) / (time.perf_counter() - start), flush=True)
