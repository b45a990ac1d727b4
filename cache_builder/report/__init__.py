"""What a cache holds, made visible: statistics, findings, pictures, the page that shows them. No torch, no Pillow."""
