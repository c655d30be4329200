"""What `snnc emit --backend lava` copies into the folder it writes: runs there with numpy and Lava alone.

`units`, `synapses` and `neurons` hold the integer arithmetic of one layer, `program` strings them together,
`clock` says when a layer does what; `processes` holds the Lava processes, in a folder of their own because
Lava executes every module beside a process. `host` runs what is real-valued with copies of snnc's kernels.
`worker` builds and runs the Lava network; `supervisor` watches over it and cleans up. Everything here must
run on Python 3.10 with numpy 1.26.
"""
