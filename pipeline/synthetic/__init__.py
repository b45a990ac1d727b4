"""Generated signing videos in AIHub's form: figures with known motion, since real footage may not be shipped."""
