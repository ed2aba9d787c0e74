"""What many examples say: means, intervals and tests. Not what is measured of one example (`metrics`)."""
