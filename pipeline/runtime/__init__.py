"""What every floor asks of the machine: files written whole, progress, wording, cores, checks. Nothing about signs."""
