"""The page of `serve`: its template and scripts, and what makes one text of them."""
