"""
Runs scripts, one after the other, under FSDP on CPUs, for dry runs: accelerate keeps FSDP for accelerators.

    torchrun --nproc_per_node 2 fsdp_on_cpu.py SCRIPT --fsdp --fsdp_config FILE ... [--then SCRIPT ...]
"""

import itertools
import runpy
import sys

from accelerate.state import AcceleratorState, DistributedType, PartialState


make_state = AcceleratorState.__init__


def make_state_with_fsdp(self, *args, fsdp_plugin=None, **kwargs):
    make_state(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None:
        self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP


AcceleratorState.__init__ = make_state_with_fsdp
for is_next, words in itertools.groupby(sys.argv[1:], lambda word: word == "--then"):
    if not is_next:
        sys.argv = list(words)
        runpy.run_path(sys.argv[0], run_name="__main__")
        AcceleratorState._reset_state(reset_partial_state=True)
