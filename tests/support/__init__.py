"""What the tests stand on: wheels, an index, environments and processes, all of them real.

Nothing here replaces a part of the product; only what cannot be had (a GPU build of
torch, a registry that fails on demand) is made here.
"""
