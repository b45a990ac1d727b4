"""Generated signing videos in AIHub's shape: figures with known motion, since real footage may not be shipped."""
