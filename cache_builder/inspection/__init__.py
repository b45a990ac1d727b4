"""What the data is, made visible: figures, findings, pictures, and the page that shows them. No torch, no Pillow."""
