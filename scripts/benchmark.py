#!/usr/bin/env python
"""
What gradient checkpointing saves: memory and time of a pre-training step on long series.

    python scripts/benchmark.py --output_dir outputs/benchmark

Each step runs in a process of its own, on random series of 9 channels with the default model (width 64, patches of 8).
Memory is the peak of the process over what it held before the first step, read from /proc (Linux). Writes results.json
and prints a table.
"""

import argparse
import json
import subprocess
import sys
import time

from training_timemae import prepare_output_dir, write_results


PROGRAM = """
import json, sys, time
import torch
from timemae import TimeMAEConfig, TimeMAEForPreTraining

def memory(name):
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith(name))

length, batch_size, repeats, checkpointing = json.loads(sys.argv[1])
torch.manual_seed(0)
model = TimeMAEForPreTraining(TimeMAEConfig(num_channels=9, sequence_length=length)).train()
if checkpointing:
    model.activation_checkpointing_enable()
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
series = torch.randn(batch_size, length, 9)
open("/proc/self/clear_refs", "w").write("5")  # forgets the peak so far
before = memory("VmRSS")
seconds = []
for _ in range(repeats):
    start = time.perf_counter()
    optimizer.zero_grad()
    model(series).loss.backward()
    optimizer.step()
    seconds.append(time.perf_counter() - start)
print(json.dumps({"peak_mb": memory("VmHWM") - before, "seconds": sorted(seconds)[len(seconds) // 2]}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096, 8192])
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    started = time.time()
    prepare_output_dir(arguments.output_dir)
    rows = []
    for length in arguments.lengths:
        for checkpointing in (False, True):
            settings = json.dumps([length, arguments.batch_size, arguments.repeats, checkpointing])
            printed = subprocess.run(
                [sys.executable, "-c", PROGRAM, settings], check=True, capture_output=True, text=True
            ).stdout
            rows.append({"length": length, "gradient_checkpointing": checkpointing, **json.loads(printed)})
    write_results(arguments.output_dir, {"steps": rows}, vars(arguments), started)
    print("| time steps | gradient checkpointing | peak, MB | a step, s |\n|---|---|---|---|")
    for row in rows:
        checkpointing = "yes" if row["gradient_checkpointing"] else "no"
        print(f"| {row['length']} | {checkpointing} | {row['peak_mb']:.0f} | {row['seconds']:.2f} |")


if __name__ == "__main__":
    main()
