"""Where segments come from: AIHub's labels, tables and class folders; plain files and files inside zips."""
