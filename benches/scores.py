"""The peer of benches/scores.rs: pycocoevalcap.

usage: scores.py METRICS REFERENCES.json RESULTS.json
METRICS: bleu,meteor,rouge-l,cider-d, or cider-batch-N: the seconds that CIDEr-D of the first N captions takes, the references
of all images made ready before. Prints JSON.
"""

import contextlib
import io
import json
import sys
import time

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.cider.cider_scorer import CiderScorer
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

metrics, references_file, results_file = sys.argv[1:]
references = {}
for record in json.load(open(references_file))["annotations"]:
    references.setdefault(record["image_id"], []).append({"caption": record["caption"]})
hypotheses = {record["image_id"]: [{"caption": record["caption"]}] for record in json.load(open(results_file))}
references = {image: references[image] for image in hypotheses}
tokenizer = PTBTokenizer()
references, hypotheses = tokenizer.tokenize(references), tokenizer.tokenize(hypotheses)


def batch_seconds(size):
    scorer = CiderScorer()
    for image in hypotheses:
        scorer += (hypotheses[image][0], references[image])
    scorer.compute_doc_freq()
    scorer.crefs, scorer.ctest = scorer.crefs[:size], scorer.ctest[:size]
    start = time.perf_counter()
    scorer.compute_cider()
    return time.perf_counter() - start


if metrics.startswith("cider-batch-"):
    answer = {"seconds": batch_seconds(int(metrics.removeprefix("cider-batch-")))}
else:
    scorers = {
        "bleu": (Bleu, ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"]),
        "meteor": (Meteor, ["METEOR"]),
        "rouge-l": (Rouge, ["ROUGE-L"]),
        "cider-d": (Cider, ["CIDEr-D"]),
    }
    answer = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for metric in metrics.split(","):
            scorer, names = scorers[metric]
            score, _ = scorer().compute_score(references, hypotheses)
            answer.update(zip(names, score if isinstance(score, list) else [score]))
print(json.dumps(answer))
