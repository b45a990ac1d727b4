"""MediaPipe's models run by LiteRT: from pictures to the points of body and hands. No files of landmarks here."""
