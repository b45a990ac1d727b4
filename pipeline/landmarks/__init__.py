"""Where a signer's body, hands and face are in pictures: the points' order, and MediaPipe's models that find them.

Neither caches nor label files here; videos only as far as their decoded frames are scaled for the models.
"""
