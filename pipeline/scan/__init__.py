"""What a data root holds and what is wrong with it, in minutes and in memory that does not grow with the data."""
