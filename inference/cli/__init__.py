"""The commands that predict, evaluate and export; they parse options and print, and work is of the other rooms."""
