"""Answers over HTTP: requests, their queue, processes that decode, the page; what is answered is of `videos`."""
