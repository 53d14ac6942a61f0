"""The course's captioner in eager PyTorch, timed beside ours.

Waits for lines on standard input, `train STEPS`, `caption PICTURES`, `one PICTURES` or `beam PICTURES`, and answers each with items
a second.
"""
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

VOCABULARY, SIZE, BATCH, TOKENS, WIDTH = 5000, 512, 100, 20, 5


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

    @torch.no_grad()
    def one(pictures):
        """The course's loop: one picture after the other, TOKENS words each, drawn at temperature 0.3."""
        model.eval()
        for _ in range(pictures):
            image = F.relu(model.image_projection(torch.randn(1, SIZE))).unsqueeze(1)
            state, word = None, torch.tensor([[1]])
            for _ in range(TOKENS):
                output, state = model.lstm(torch.cat((model.word_embedding(word), image), 2), state)
                word = torch.multinomial(F.softmax(model.output(output.squeeze(1)) / 0.3, -1), 1)
                word.item()

    @torch.no_grad()
    def beam(pictures):
        """One picture after the other, a beam of WIDTH for TOKENS words, its hypotheses read together."""
        model.eval()
        for _ in range(pictures):
            image = F.relu(model.image_projection(torch.randn(1, SIZE))).unsqueeze(1)
            state, words, sums = None, torch.tensor([[1]]), torch.zeros(1, 1)
            captions = [[]]
            for _ in range(TOKENS):
                rows = words.size(0)
                inputs = torch.cat((model.word_embedding(words), image.expand(rows, -1, -1)), 2)
                output, state = model.lstm(inputs, state)
                sums = (sums + F.log_softmax(model.output(output.squeeze(1)), -1)).flatten()
                best, places = sums.topk(WIDTH)
                before, words = places // VOCABULARY, (places % VOCABULARY).unsqueeze(1)
                captions = [captions[row] + [word] for row, word in zip(before.tolist(), words.flatten().tolist())]
                state, sums = tuple(part[:, before] for part in state), best.unsqueeze(1)

    loops = {"caption": caption, "one": one, "beam": beam}
    for line in sys.stdin:
        mode, count = line.split()
        count = int(count)
        start = time.perf_counter()
        if mode == "train":
            for _ in range(count):
                train()
            count *= BATCH
        else:
            loops[mode](count)
        print(count / (time.perf_counter() - start), flush=True)


main()
