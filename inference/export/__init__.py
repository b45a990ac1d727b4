"""From a checkpoint to one file that answers without signprep, and back: routes, formats, proof, report."""
