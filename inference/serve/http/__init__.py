"""HTTP: connections, who may ask, what is sent, the addresses and their description."""
