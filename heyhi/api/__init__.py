"""HeyHi from Python: configs, single runs and batches, under the names of the original.

configs      load, change and save a config
experiments  maybe_launch, and a run folder as an object
batch        a batch made by a program, in place of a script
"""
