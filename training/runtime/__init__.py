"""What the machine needs for training: torchvision's operators, memory, health checks."""
