"""Passes: rewrites of a graph that preserve every decoded value, exactly or up to a stated quantisation.

One pass per file: `fuse_batch_norm.py`, class `FuseBatchNorm`, name `fuse-batch-norm`. `base` says what a
pass is; `rewriter` applies patterns; `analysis` answers questions about a graph; `pipeline` reads
`name{option=value},name`; `registry` finds passes by name; `manager` runs and verifies them.
"""

from snnc.passes.base import Pass, PassContext, Preserves
from snnc.passes.rewriter import Rewriter, rewrite

__all__ = ["Pass", "PassContext", "Preserves", "Rewriter", "rewrite"]
