"""Video files and labels in, preprocessed clips out. No torch here or in `cache_builder`, and no cache."""
