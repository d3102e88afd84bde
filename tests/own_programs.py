"""Sweep files of programs of the user's, and trainers for them."""

TRAINER = """\
import argparse, json, math, os, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--size", type=int)
parser.add_argument("--rate", type=float)
parser.add_argument("--out")
given = parser.parse_args()
best = -6 - math.log2(given.size / 64)
loss = 2 + 10 / given.size + 0.1 * (math.log2(given.rate) - best) ** 2
if given.rate > 0.1:
    loss = math.nan
for step in range(3):
    print(f"step {step} val loss {loss + 1 - step / 2}", flush=True)
with open(os.path.join(given.out, "metrics.jsonl"), "w") as file:
    for step in range(3):
        file.write(json.dumps({"step": step, "val": loss + 1 - step / 2}) + chr(10))
with open(os.path.join(given.out, "log.csv"), "w") as file:
    file.write("step,val" + chr(10) + f"0,{loss + 1}" + chr(10) + f"2,{loss}" + chr(10))
"""
SWEEP = """\
name: own
fixed: {note: plain}
axes: {size: [64, 128, 256], rate: {log2: [-9, -3], step: 1}}
scale: size
hyperparameter: rate
program:
  command: [PYTHON, train.py, --size, "{size}", --rate, "{rate}", --out, "{files}"]
  directory: trainer
  identity: [train.py]
  loss: {pattern: 'val loss (\\S+)'}
"""
ONE = """\
name: own
axes: {rate: [0.5, 0.25]}
program:
  command: [PYTHON, train.py, "{rate}"]
  directory: trainer
  loss: {pattern: 'loss (\\S+)'}
"""
VALLEY = "import math, sys\nprint('loss', 2 + 0.1 * (math.log2(float(sys.argv[1])) + 6) ** 2)\n"
"""A trainer whose loss is lowest at 2^-6."""
