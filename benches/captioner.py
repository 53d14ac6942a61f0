"""The course's captioner in eager PyTorch, timed beside ours.

Waits for lines on standard input, `train STEPS` or `caption PICTURES`, and answers each with items a second.
"""
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

VOCABULARY, SIZE, BATCH, TOKENS = 5000, 512, 100, 20


class Captioner(nn.Module):
    def __init__(self):
        super().__init__()
        self.image_projection = nn.Linear(SIZE, SIZE)
        self.word_embedding = nn.Embedding(VOCABULARY, SIZE)
        self.lstm = nn.LSTM(2 * SIZE, SIZE, batch_first=True)
        self.output = nn.Linear(SIZE, VOCABULARY)
        self.dropout = nn.Dropout(0.5)

    def forward(self, features, words):
        image = F.relu(self.image_projection(features))
        words = self.dropout(self.word_embedding(words))
        image = image.unsqueeze(1).expand(-1, words.size(1), -1)
        return self.output(self.lstm(torch.cat((words, image), 2))[0])


def main():
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(0)
    model = Captioner()
    optimiser = torch.optim.RMSprop(model.parameters(), 1e-4)
    cross_entropy = nn.CrossEntropyLoss(ignore_index=0)
    features = torch.randn(BATCH, SIZE)
    captions = torch.randint(4, VOCABULARY, (BATCH, TOKENS + 1))

    def train():
        model.train()
        optimiser.zero_grad()
        scores = model(features, captions[:, :-1])
        loss = cross_entropy(scores.reshape(-1, VOCABULARY), captions[:, 1:].reshape(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        loss.item()

    @torch.no_grad()
    def caption(pictures):
        """All pictures at once, TOKENS words each, drawn at temperature 0.3."""
        model.eval()
        image = F.relu(model.image_projection(torch.randn(pictures, SIZE))).unsqueeze(1)
        state, words = None, torch.full((pictures, 1), 1)
        for _ in range(TOKENS):
            output, state = model.lstm(torch.cat((model.word_embedding(words), image), 2), state)
            words = torch.multinomial(F.softmax(model.output(output.squeeze(1)) / 0.3, -1), 1)

    for line in sys.stdin:
        mode, count = line.split()
        count = int(count)
        start = time.perf_counter()
        if mode == "train":
            for _ in range(count):
                train()
            count *= BATCH
        else:
            caption(count)
        print(count / (time.perf_counter() - start), flush=True)


main()
