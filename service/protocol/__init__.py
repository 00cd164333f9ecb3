"""What the API and an engine say to each other, whichever engine it is. Imports no torch."""
