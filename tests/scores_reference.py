"""Scores the captions of a golden file anew with the reference scorers (pycocoevalcap), and writes the file.

usage: .venv/bin/python tests/scores_reference.py tests/golden_scores.json
The file: {"corpus": …, "captions": [{"id", "hypothesis", "references", …}]}. To add captions, add their id, hypothesis and
references, and run this. Needs Java.
"""

import contextlib
import io
import json
import sys

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

path = sys.argv[1]
rows = json.load(open(path, encoding="utf-8"))["captions"]
tokenizer = PTBTokenizer()
references = tokenizer.tokenize({row["id"]: [{"caption": text} for text in row["references"]] for row in rows})
hypotheses = tokenizer.tokenize({row["id"]: [{"caption": row["hypothesis"]}] for row in rows})
scorers = [
    (Bleu(4), ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"]),
    (Meteor(), ["METEOR"]),
    (Rouge(), ["ROUGE-L"]),
    (Cider(), ["CIDEr-D"]),
]
corpus, scores = {}, {row["id"]: {} for row in rows}
for scorer, names in scorers:
    with contextlib.redirect_stdout(io.StringIO()):
        of_corpus, of_captions = scorer.compute_score(references, hypotheses)
    if len(names) == 1:
        of_corpus, of_captions = [of_corpus], [of_captions]
    for name, score, each in zip(names, of_corpus, of_captions):
        corpus[name] = float(score)
        for row, value in zip(rows, each):
            scores[row["id"]][name] = float(value)
captions = [
    {
        "id": row["id"],
        "hypothesis": row["hypothesis"],
        "references": row["references"],
        "hypothesis_tokens": hypotheses[row["id"]][0],
        "references_tokens": references[row["id"]],
        "scores": scores[row["id"]],
    }
    for row in rows
]
with open(path, "w", encoding="utf-8") as file:
    json.dump({"corpus": corpus, "captions": captions}, file, indent=1, ensure_ascii=False)
    file.write("\n")
