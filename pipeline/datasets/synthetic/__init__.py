"""Generated signing videos in AIHub's form, for trials and tests: real footage may not be shipped. No reading here."""
