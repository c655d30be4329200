"""The Lava backend: an integer network as a folder of Lava processes.

`partition` cuts a graph into layers, one Lava process each; `emit` writes the folder, `closure` finds the
modules of snnc that go with it, `session` runs it in a Python with Lava. Nothing here imports Lava; what
does is in `runtime`, which is copied into the folder.
"""
