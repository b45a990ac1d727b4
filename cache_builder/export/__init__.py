"""Caches in forms that other libraries read: Hugging Face's datasets, tars of WebDataset, folders of videos."""
