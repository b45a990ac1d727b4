"""The processes and the folder of a run, and probes of the machine, below everything that knows of clips or models."""
